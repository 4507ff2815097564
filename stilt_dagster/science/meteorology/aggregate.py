"""One ARL file for a scene: the part of its source files that its simulations read."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.crop import Box
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.meteorology.files import Archive, Window, find_files
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
    files = find_files(scene.meteorology, window, archive)
    headers = {f.name: arl.read_header(f.path) for f in files}
    steps = select_steps(headers, window)
    if not forecasts:
        _refuse_forecasts(headers, steps)
    first = headers[next(iter(steps))]
    outside = _receptors_outside(receptors, first, scene.max_failed_fraction)
    settings = scene.meteorology
    destination.unlink(missing_ok=True)
    with writing(destination):
        arl.aggregate(
            {headers[name].path: times for name, times in steps.items()},
            destination,
            box=scene_box(receptors, scene.footprint.grid) if settings.crop else None,
            n_levels=settings.n_levels,
            margin=settings.margin,
        )
    made = arl.read_header(destination)
    lon, lat = arl.grid_lonlat(made.grid)
    return Description(
        key=meteorology_key(scene),
        sha256=sha256_of(destination),
        sources=[{"name": f.name, "sha256": sha256_of(f.path)} for f in files if f.name in steps],
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


def select_steps(headers: dict[str, arl.Header], window: Window) -> dict[str, list[pd.Timestamp]]:
    """Return the time steps to keep of each file: those of the window and the ones that bracket it.

    Parameters
    ----------
    headers : dict of str to Header
        The files, by name.
    window : Window
        The time needed.

    Returns
    -------
    dict of str to list of Timestamp
        Files without a needed step are left out; files come in the order of time.

    Raises
    ------
    MeteorologyError
        Naming the first hour without meteorology and the files that were read.
    """
    owner: dict[pd.Timestamp, str] = {}
    for name, header in headers.items():
        for time in header.times:
            owner.setdefault(time, name)  # files of one archive repeat the hour they share
    times = sorted(owner)
    read = ", ".join(f"{n} ({h.times[0]:%Y-%m-%d %H:%M} to {h.times[-1]:%Y-%m-%d %H:%M})" for n, h in headers.items())
    before = [t for t in times if t <= window.first]
    after = [t for t in times if t >= window.last]
    for bracket, hour in ((before, window.first), (after, window.last)):
        if not bracket:
            raise MeteorologyError(f"no meteorology at {hour:%Y-%m-%d %H:%M} UTC, which the scene needs; read: {read}")
    kept = [t for t in times if before[-1] <= t <= after[0]]
    if len(kept) == 1:  # HYSPLIT reads the interval of the time steps from two of them
        following = [t for t in times if t > kept[0]]
        kept = [times[times.index(kept[0]) - 1], *kept] if not following else [*kept, following[0]]
    spacing = min((b - a for a, b in pairwise(kept)), default=pd.Timedelta(hours=1))
    for a, b in pairwise(kept):
        if b - a != spacing:
            raise MeteorologyError(
                f"meteorology has a gap: nothing at {a + spacing:%Y-%m-%d %H:%M} UTC, between {a:%Y-%m-%d %H:%M} in "
                f"{owner[a]} and {b:%Y-%m-%d %H:%M} in {owner[b]}; add the missing file"
            )
    steps: dict[str, list[pd.Timestamp]] = {}
    for time in kept:
        steps.setdefault(owner[time], []).append(time)
    return steps


def _refuse_forecasts(headers: dict[str, arl.Header], steps: dict[str, list[pd.Timestamp]]) -> None:
    """Refuse what hycs_std would: a forecast hour of a time that lies ahead of the clock (measured on v5.1.0)."""
    now = pd.Timestamp.now("UTC").tz_localize(None)
    for name, times in steps.items():
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
