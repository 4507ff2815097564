"""One ARL file for a scene: the part of its source files that its simulations read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.extent.crop import Box
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.meteorology.files import Archive, file_names, find_files
from stilt_dagster.science.meteorology.time_steps import select_steps
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import writing
from stilt_dagster.science.versions import meteorology_key


def scene_box(receptors: Receptors, grid: Grid) -> Box:
    """Return the box that holds the receptors and the footprint's grid together, degrees.

    West lies over east where the box crosses the antimeridian.
    """
    west, east = (grid.xmin, grid.xmax) if grid.xmin <= grid.xmax else (grid.xmin, grid.xmax + 360)
    lons, lats = receptors.longitude, receptors.latitude
    # Bring receptors to the side of the antimeridian the grid is on.
    centre = (west + east) / 2
    lons = (lons - centre + 180) % 360 - 180 + centre
    west, east = min(west, float(lons.min())), max(east, float(lons.max()))
    south, north = min(grid.ymin, float(lats.min())), max(grid.ymax, float(lats.max()))
    if east - west >= 360:
        return -180.0, south, 180.0, north
    return (west + 180) % 360 - 180, south, (east + 180) % 360 - 180 if east > 180 else east, north


def build_aggregate(scene: Scene, archive: Archive, destination: Path, *, forecasts: bool = False) -> Description:
    """Write the one ARL file a scene's simulations read.

    Parameters
    ----------
    scene : Scene
        The scene.
    archive : Archive
        Where source files come from.
    destination : Path
        The file to write, on this machine.
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
        too small.
    EngineError
        For forecast files, which the bundled hycs_std refuses.
    """
    receptors, settings = scene.receptor_list, scene.meteorology
    window = Window.of(receptors, scene.transport.n_hours)
    counted = CountedArchive(archive)
    names = file_names(settings, counted)
    headers = find_files(names, window, counted)
    steps = select_steps(headers, window, names.spacing(window))
    used = {name: headers[name] for name, _ in steps}
    arl.require_one_grid(used.values())
    if not forecasts:
        _refuse_forecasts(headers, steps)
    outside = _receptors_outside(receptors, headers[steps[0][0]], scene.max_failed_fraction)
    wanted = [(headers[name], times) for name, times in steps]
    limits = Limits(settings.margin, settings.n_levels, settings.max_bytes)
    extent = select(wanted, _needs(scene, receptors), limits) if settings.crop else whole(wanted)
    destination.unlink(missing_ok=True)
    with writing(destination):
        repacked = arl.join(wanted, destination, extent.selection)
    made = arl.read_header(destination)
    lon, lat = arl.grid_lonlat(made.grid)
    return Description(
        key=meteorology_key(scene),
        sha256=sha256_of(destination),
        sources=[{"name": name, "sha256": _index_digest(h), "state": h.file.state} for name, h in used.items()],
        extent=[round(float(v), 4) for v in (lon.min(), lat.min(), lon.max(), lat.max())],
        nx=made.grid.nx,
        ny=made.grid.ny,
        times=[f"{t:%Y-%m-%dT%H:%MZ}" for t in made.times],
        levels=list(made.levels),
        model=made.source,
        outside=outside,
        crop=extent.crop,
        kept_levels=extent.levels,
        repacked=repacked,
        bytes_read=counted.bytes_read,
        bytes_of_sources=sum(h.file.size for h in used.values()),
    )


def _needs(scene: Scene, receptors: Receptors) -> Needs:
    """Return what a scene needs of its meteorology."""
    times = np.unique(receptors.time)
    picked = times[np.unique(np.linspace(0, len(times) - 1, 5).round().astype(int))]
    grid = scene.footprint.grid
    return Needs(
        receptors=scene_box(receptors, None),
        box=scene_box(receptors, grid),
        releases=[pd.Timestamp(time) for time in picked],
        n_hours=scene.transport.n_hours,
        top=float(receptors.height.max()),
    )


def _index_digest(header: arl.Header) -> str:
    """Return a checksum of a file's content: of the checksums that its index has of every record."""
    return hashlib.sha256(repr([(step.time, step.content) for step in header.steps]).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_forecasts(headers: dict[str, arl.Header], steps: list[tuple[str, list[pd.Timestamp]]]) -> None:
    """Refuse what hycs_std would: a forecast hour of a time that lies ahead of the clock (measured on v5.1.0)."""
    now = pd.Timestamp.now("UTC").tz_localize(None)
    for name, times in steps:
        header = headers[name]
        hours = dict(zip(header.times, header.forecasts, strict=True))
        for time in times:
            if hours[time] > 0 and time > now:
                raise EngineError(
                    f"{name} is a forecast ({hours[time]} h, for {time:%Y-%m-%d %H:%M} UTC), which an unregistered "
                    "hycs_std refuses: wait for the analysis, or register with NOAA ARL and set exe_dir of the "
                    "transport engine to that build"
                )


def _receptors_outside(receptors: Receptors, header: arl.Header, tolerated: float) -> list[str]:
    """Return the receptors off the source grid.

    Raises
    ------
    MeteorologyError
        Naming the first, when they are more than the scene may lose, so that no simulation is paid for in vain.
    """
    inside = header.contains(receptors.longitude[:, 0], receptors.latitude[:, 0])
    outside = [receptors.ids[k] for k in np.flatnonzero(~inside)]
    if len(outside) > tolerated * len(receptors):
        raise MeteorologyError(
            f"receptor {outside[0]} and {len(outside) - 1} more of {len(receptors)} lie outside the meteorology "
            f"{header.file.name}: choose a source that covers them, or raise max_failed_fraction"
            if len(outside) > 1
            else f"receptor {outside[0]} lies outside the meteorology {header.file.name}: choose a source that covers "
            "it, or raise max_failed_fraction"
        )
    return outside
