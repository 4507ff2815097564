"""One ARL file for a scene: the part of its source files that its simulations read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.crop import Box
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
    receptors = scene.receptor_list
    window = Window.of(receptors, scene.transport.n_hours)
    names = file_names(scene.meteorology, archive)
    headers = find_files(names, window, archive)
    steps = select_steps(headers, window, names.spacing(window))
    if not forecasts:
        _refuse_forecasts(headers, steps)
    first = headers[steps[0][0]]
    outside = _receptors_outside(receptors, first, scene.max_failed_fraction)
    used = {name for name, _ in steps}
    settings = scene.meteorology
    destination.unlink(missing_ok=True)
    with writing(destination):
        arl.aggregate(
            [(headers[name].path, times) for name, times in steps],
            destination,
            box=scene_box(receptors, scene.footprint.grid) if settings.crop else None,
            n_levels=None if settings.n_levels == "all" else settings.n_levels,
            margin=settings.margin,
        )
    made = arl.read_header(destination)
    lon, lat = arl.grid_lonlat(made.grid)
    return Description(
        key=meteorology_key(scene),
        sha256=sha256_of(destination),
        sources=[{"name": name, "sha256": sha256_of(h.path)} for name, h in headers.items() if name in used],
        extent=[round(float(v), 4) for v in (lon.min(), lat.min(), lon.max(), lat.max())],
        nx=made.grid.nx,
        ny=made.grid.ny,
        times=[f"{t:%Y-%m-%dT%H:%MZ}" for t in made.times],
        levels=list(made.levels),
        model=made.source,
        outside=outside,
    )


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
            f"{header.path.name}: choose a source that covers them, or raise max_failed_fraction"
            if len(outside) > 1
            else f"receptor {outside[0]} lies outside the meteorology {header.path.name}: choose a source that covers "
            "it, or raise max_failed_fraction"
        )
    return outside
