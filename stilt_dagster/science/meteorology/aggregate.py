"""One ARL file for a scene, or one a grid: the part of its source files that its simulations read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.archive import Archive, CountedArchive
from stilt_dagster.science.meteorology.arl.index import RECORD_HEADER
from stilt_dagster.science.meteorology.arl.joining import bytes_to_join, n_records
from stilt_dagster.science.meteorology.choice import choose_sources
from stilt_dagster.science.meteorology.description import Description, GridDescription, file_name
from stilt_dagster.science.meteorology.extent.crop import rectangle_of
from stilt_dagster.science.meteorology.extent.envelope import Winds, share_inside
from stilt_dagster.science.meteorology.extent.needs import Needs, scene_box
from stilt_dagster.science.meteorology.extent.selection import Extent, Limits, Steps, select, whole
from stilt_dagster.science.meteorology.extent.survey import Survey
from stilt_dagster.science.meteorology.file_names import FileNames
from stilt_dagster.science.meteorology.files import file_names, find_files
from stilt_dagster.science.meteorology.time_steps import select_steps
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import writing
from stilt_dagster.science.versions import meteorology_key


def build_aggregate(scene: Scene, archive: Archive, destination: Path, *, forecasts: bool = False) -> Description:
    """Write the ARL file a scene's simulations read, or one for each of several nested grids.

    Parameters
    ----------
    scene : Scene
        The scene.
    archive : Archive
        Where source files come from.
    destination : Path
        The file to write, on this machine; those of further grids are named after it by :func:`file_name`.
    forecasts : bool
        Whether the engine reads forecast meteorology (a registered HYSPLIT build).

    Returns
    -------
    Description
        What it is made of.

    Raises
    ------
    MeteorologyError
        Naming the file, hour or receptor: a missing or damaged file, a gap in time, receptors outside the grid, a crop
        too small or too large.
    EngineError
        For forecast files, which the bundled hycs_std refuses.
    """
    receptors = scene.receptor_list
    grids, why = _find_grids(scene, archive, forecasts=forecasts)
    outside = _receptors_outside(receptors, [steps[0][0] for _, steps in grids], scene.max_failed_fraction)
    described = []
    for number, (counted, steps) in enumerate(grids, 1):
        path = destination.with_name(file_name(destination.stem, number))
        path.unlink(missing_ok=True)
        with writing(path):
            described.append(_write_grid(scene, steps, counted, path, why))
    return Description.of(meteorology_key(scene), described, outside)


@dataclass(frozen=True)
class Foreseen:
    """What an aggregate will be.

    Attributes
    ----------
    bytes_read : int or None
        Bytes of the archive that are read for it; None where that is not known.
    bytes_written : int
        Its own.
    inside : float
        Share of a run that air spends on its grids, about: particles that leave them cost no more.
    """

    bytes_read: int | None
    bytes_written: int
    inside: float = 1.0


def foresee_aggregate(scene: Scene, archive: Archive) -> Foreseen:
    """Return what :func:`build_aggregate` would read and write for a scene.

    The index records and the coarse look at winds and mixing heights, some hundredths of it, are read to find out.

    Raises
    ------
    MeteorologyError, EngineError
        As :func:`build_aggregate`.
    """
    read, written, inside = 0, 0, 0.0
    for counted, steps in _find_grids(scene, archive, forecasts=True)[0]:
        arl.require_one_grid(header for header, _ in steps)
        selection = _extent(scene, steps).selection
        grid, window = steps[0][0].grid, selection.window
        cells = grid.nx * grid.ny if window is None else (window[1] - window[0]) * (window[3] - window[2])
        kept = [header.step(time) for header, times in steps for time in times]
        records = sum(n_records(step, selection.n_levels) for step in kept)
        read += counted.bytes_read + bytes_to_join(steps, selection)
        written += records * (RECORD_HEADER + cells)
        inside = max(inside, _share_inside(scene, steps, selection.n_levels))
    return Foreseen(read, written, inside)


def _share_inside(scene: Scene, steps: Steps, n_levels: int) -> float:
    """Return the share of a run that air spends on a source's grid."""
    needs, survey = Needs.of(scene), Survey.of(steps)
    winds = Winds.of(survey, n_levels)
    if winds is None:
        return 1.0
    receptors = rectangle_of(survey.header.grid, needs.receptors)
    releases = [(time - survey.steps[0][1]) / pd.Timedelta(hours=1) for time in needs.releases]
    return share_inside(winds, receptors, releases, needs.n_hours)


def _find_grids(scene: Scene, archive: Archive, *, forecasts: bool) -> tuple[list[tuple[CountedArchive, Steps]], str]:
    """Return the time steps a scene needs of each of its sources, the finest first, and why it is these sources."""
    window = Window.of(scene.receptor_list, scene.transport.n_hours)
    sources, why = _sources(scene, window, archive, forecasts)
    grids: list[tuple[CountedArchive, Steps]] = []
    for names in sources:
        counted = CountedArchive(archive)
        headers = find_files(names, window, counted)
        steps = [(headers[name], times) for name, times in select_steps(headers, window, names.spacing(window))]
        if not forecasts:
            _refuse_forecasts(steps)
        grids.append((counted, steps))
    return grids, why


def _extent(scene: Scene, steps: Steps) -> Extent:
    """Return what a scene keeps of one source's time steps."""
    settings = scene.meteorology
    limits = Limits(settings.margin, settings.n_levels, settings.budget)
    return select(steps, Needs.of(scene), limits) if settings.crop else whole(steps)


def _sources(scene: Scene, window: Window, archive: Archive, forecasts: bool) -> tuple[Sequence[FileNames], str]:
    """Return the files of each source of a scene, the finest first, and why they are these."""
    if scene.meteorology.directory is not None:
        return [file_names(scene.meteorology, archive)], "the directory that the scene names"
    box = scene_box(scene.receptor_list, scene.footprint.grid)
    choice = choose_sources(scene.meteorology, box, window, archive, forecasts=forecasts)
    return choice.files, choice.text or "what the scene names"


def _write_grid(scene: Scene, steps: Steps, counted: CountedArchive, path: Path, why: str) -> GridDescription:
    """Write what a scene keeps of one source's time steps, and describe it."""
    arl.require_one_grid(header for header, _ in steps)
    extent = _extent(scene, steps)
    repacked = arl.join(steps, path, extent.selection)
    made = arl.read_header(path)
    files = {header.file.location: header for header, _ in steps}
    return GridDescription(
        sha256=sha256_of(path),
        sources=[
            {"name": header.file.name, "sha256": _content_digest(header), "state": header.file.state}
            for header in files.values()
        ],
        extent=[round(v, 4) for v in arl.grid_box(made.grid)],
        nx=made.grid.nx,
        ny=made.grid.ny,
        times=[f"{t:%Y-%m-%dT%H:%MZ}" for t in made.times],
        levels=list(made.levels),
        model=made.source,
        kept={
            "source": why,
            "crop": extent.crop,
            "levels": extent.levels,
            "records_packed_anew": repacked,
            "bytes_read": counted.bytes_read,
            "bytes_of_files": sum(header.file.size for header in files.values()),
        },
    )


def _content_digest(header: arl.Header) -> str:
    """Return a checksum of a file's content: of the checksums that its index has of every record."""
    return hashlib.sha256(repr([(step.time, step.content) for step in header.steps]).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_forecasts(steps: Steps) -> None:
    """Refuse what hycs_std would: a forecast hour of a time that lies ahead of the clock (measured on v5.1.0)."""
    now = pd.Timestamp.now("UTC").tz_localize(None)
    for header, times in steps:
        for step in header.steps:
            if step.time in times and step.forecast > 0 and step.time > now:
                raise EngineError(
                    f"{header.file.name} is a forecast ({step.forecast} h, for {step.time:%Y-%m-%d %H:%M} UTC), which "
                    "an unregistered hycs_std refuses: wait for the analysis, or register with NOAA ARL and set "
                    "STILT_EXE_DIR to the directory of that build"
                )


def _receptors_outside(receptors: Receptors, headers: Sequence[arl.Header], tolerated: float) -> list[str]:
    """Return the receptors off every source grid.

    Raises
    ------
    MeteorologyError
        Naming the first, when they are more than the scene may lose, so that no simulation is paid for in vain.
    """
    inside = np.zeros(len(receptors), bool)
    for header in headers:
        inside |= header.contains(receptors.longitude[:, 0], receptors.latitude[:, 0])
    outside = [receptors.ids[k] for k in np.flatnonzero(~inside)]
    if len(outside) > tolerated * len(receptors):
        who = f"receptor {outside[0]}"
        if len(outside) > 1:
            who += f" and {len(outside) - 1} more of {len(receptors)}"
        files = ", ".join(header.file.name for header in headers)
        raise MeteorologyError(
            f"{who} {'lies' if len(outside) == 1 else 'lie'} outside the meteorology {files}: choose a source that "
            "covers them, or raise max_failed_fraction"
        )
    return outside
