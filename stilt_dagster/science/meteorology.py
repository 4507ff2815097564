"""One ARL file for a scene: which hours and files it needs, whether they are whole, and the part it keeps."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from stilt_dagster.science import arl
from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.grid import Grid
from stilt_dagster.science.receptors import Receptor
from stilt_dagster.science.scene import MeteorologySettings, Scene
from stilt_dagster.science.scratch import writing
from stilt_dagster.science.spec import digest


@dataclass(frozen=True)
class Window:
    """The time a scene's simulations run through, naive UTC."""

    first: pd.Timestamp
    last: pd.Timestamp

    @classmethod
    def of(cls, receptors: Sequence[Receptor], n_hours: int) -> Window:
        """Return the time from the earliest end to the latest start of backward runs."""
        times = [pd.Timestamp(r.time.replace(tzinfo=None)) for r in receptors]
        return cls(min(times) + pd.Timedelta(hours=n_hours), max(times))


@dataclass(frozen=True)
class Found:
    """An archive file made available on this machine, and the name it goes by."""

    path: Path
    name: str


class Archive(Protocol):
    """Where meteorology files are found; the resource ``meteorology_archive`` is one."""

    def names(self, directory: str) -> list[str]:
        """Return the names of the files of a directory or bucket prefix."""

    def has(self, locations: Sequence[str]) -> bool:
        """Return whether a file is at one of the locations, as far as that is known without asking the network."""

    def fetch(self, locations: Sequence[str]) -> Found | None:
        """Return the first location that exists, copied here if it is elsewhere, or None."""


@dataclass(frozen=True)
class Description:
    """What a meteorology aggregate is made of; stored beside it as JSON.

    Attributes
    ----------
    key : str
        Hash of the settings that made it.
    sha256 : str
        Checksum of the aggregate: what trajectories record as their meteorology.
    sources : list of dict
        ``name`` and ``sha256`` of each source file.
    extent : list of float
        West, south, east, north of the grid's corners, degrees.
    nx, ny : int
        Grid size.
    times : list of str
        Valid times, UTC.
    levels : list of float
        Heights of the levels, in the file's vertical coordinate.
    model : str
        Model id, such as ``HRRR``.
    outside : list of str
        Receptors that lie outside the source files' grid.
    """

    key: str
    sha256: str
    sources: list[dict[str, str]]
    extent: list[float]
    nx: int
    ny: int
    times: list[str]
    levels: list[float]
    model: str
    outside: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def meteorology_key(scene: Scene) -> str:
    """Return the hash of everything in a scene that decides its meteorology."""
    receptors = [r.id for r in scene.receptor_list]
    return digest(
        [scene.meteorology.model_dump(), scene.footprint.grid.__dict__.copy(), scene.transport.n_hours, receptors]
    )


def scene_box(receptors: Sequence[Receptor], grid: Grid) -> arl.Box:
    """Return the box that holds the receptors and the footprint's grid together, degrees.

    West lies over east where the box crosses the antimeridian.
    """
    west, east = (grid.xmin, grid.xmax) if grid.xmin <= grid.xmax else (grid.xmin, grid.xmax + 360)
    lons = np.array([v for r in receptors for v in r.longitudes])
    lats = np.array([v for r in receptors for v in r.latitudes])
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


# -- finding files -------------------------------------------------------------------------------------------------


def find_files(settings: MeteorologySettings, window: Window, archive: Archive) -> list[Found]:
    """Return the files whose names say they hold the window's hours, in the order of time.

    Raises
    ------
    MeteorologyError
        Naming the file or pattern that is missing.
    """
    found = []
    for locations in _locations(settings, window, archive):
        file = archive.fetch(locations)
        if file is None:
            raise _missing(settings, locations[0], window)
        found.append(file)
    return found


def require_files(settings: MeteorologySettings, window: Window, archive: Archive) -> None:
    """Make sure that there are files for the window's hours, by their names alone.

    Raises
    ------
    MeteorologyError
        Naming the file or pattern that is missing.
    """
    for locations in _locations(settings, window, archive):
        if not archive.has(locations):
            raise _missing(settings, locations[0], window)


def _locations(settings: MeteorologySettings, window: Window, archive: Archive) -> list[list[str]]:
    """Return where each file of the window may be, in the order of time.

    Raises
    ------
    MeteorologyError
        If no file of a directory has the window's hours.
    """
    first, last = window.first.floor("h"), window.last.ceil("h")
    if settings.source is not None:
        paths = dict.fromkeys(arl.archive_path(settings.source, t) for t in _hours(first, last))
        names = ((path, path.rsplit("/", 1)[-1]) for path in paths)
        return [[path, f"{settings.source}/{name}", name] for path, name in names]
    directory, pattern = str(settings.directory), str(settings.pattern)
    found = _names_in_window(pattern, archive.names(directory), first, last)
    if not found:
        raise MeteorologyError(
            f"no file in {directory} matches {pattern!r} for {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        )
    return [[f"{directory.rstrip('/')}/{name}"] for name in found]


def _missing(settings: MeteorologySettings, path: str, window: Window) -> MeteorologyError:
    first, last = window.first.floor("h"), window.last.ceil("h")
    return MeteorologyError(
        f"meteorology file {path} of source {settings.source or settings.directory} is missing: put it there under "
        f"STILT_MET, or choose a source that has {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    )


def _hours(first: pd.Timestamp, last: pd.Timestamp) -> list[pd.Timestamp]:
    return [first + pd.Timedelta(hours=h) for h in range(int((last - first) / pd.Timedelta(hours=1)) + 1)]


def _names_in_window(pattern: str, names: Sequence[str], first: pd.Timestamp, last: pd.Timestamp) -> list[str]:
    """Return the names whose time codes fall in the window, and the last before it, which may reach into it."""
    codes = {
        "%Y": r"\d{4}",
        "%y": r"\d\d",
        "%m": r"\d\d",
        "%d": r"\d\d",
        "%H": r"\d\d",
        "%j": r"\d{3}",
        "%b": "[a-zA-Z]{3}",
    }
    parts = re.split(r"(%[A-Za-z]|[*?])", pattern)
    regex = ""
    seen = []
    for part in parts:
        if part in codes:
            seen.append(part)
            regex += f"({codes[part]})"
        elif part in "*?" and part:
            regex += ".*" if part == "*" else "."
        elif part.startswith("%"):
            raise MeteorologyError(f"meteorology.pattern {pattern!r}: {part} is not supported; use {', '.join(codes)}")
        else:
            regex += re.escape(part)
    stamped = []
    for name in names:
        if match := re.fullmatch(regex, name):
            try:
                time = dt.datetime.strptime(" ".join(match.groups()), " ".join(seen))
            except ValueError:
                continue
            stamped.append((pd.Timestamp(time), name))
    stamped.sort()
    starts = sorted({t for t, _ in stamped if t <= first})
    reach = starts[-1] if starts else first
    return [name for time, name in stamped if reach <= time <= last]


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


def _receptors_outside(receptors: Sequence[Receptor], header: arl.Header, tolerated: float) -> list[str]:
    """Return the receptors off the source grid.

    Raises
    ------
    MeteorologyError
        Naming the first, when they are more than the scene may lose, so that no simulation is paid for in vain.
    """
    lon = np.array([r.longitudes[0] for r in receptors])
    lat = np.array([r.latitudes[0] for r in receptors])
    outside = [r.id for r, inside in zip(receptors, header.contains(lon, lat), strict=True) if not inside]
    if len(outside) > tolerated * len(receptors):
        raise MeteorologyError(
            f"receptor {outside[0]} and {len(outside) - 1} more of {len(receptors)} lie outside the meteorology "
            f"{header.path.name}: choose a source that covers them, or raise max_failed_fraction"
            if len(outside) > 1
            else f"receptor {outside[0]} lies outside the meteorology {header.path.name}: choose a source that covers "
            "it, or raise max_failed_fraction"
        )
    return outside
