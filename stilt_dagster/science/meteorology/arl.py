"""ARL meteorology files through arlmet: reading headers, cutting and joining, and writing new ones.

The only module that knows arlmet. Files are read and written a record at a time, so memory does not grow with them.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arlmet import ARLFormatError, File, Grid, Projection, SigmaAxis
from arlmet.archives import ARCHIVES
from arlmet.grid import GridWindow
from arlmet.vertical import VerticalAxis
from numpy.typing import NDArray

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.crop import Box, crop_window

__all__ = ["ARCHIVES", "Box", "Header", "aggregate", "archive_url", "create", "lambert", "read_header"]

#: Bytes of an index record's fixed part, and of each level and variable it lists.
_INDEX_FIXED, _INDEX_ENTRY = 108, 8

#: What arlmet finds in a file that an aggregate of it does not have. It is written a time step at a time, in order, and
#: each once: steps that a file repeats, has in another order or leaves out elsewhere are not in it.
_NOT_IN_AN_AGGREGATE = ("flagged missing", "is repeated at byte", "comes after", "the first two time steps are")

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def archive_url(source: str) -> str:
    """Return the public root of NOAA's ARL archives."""
    return f"s3://{ARCHIVES[source].S3_BUCKET}"


@dataclass(frozen=True)
class Header:
    """What the index records of an ARL file say.

    Attributes
    ----------
    path : Path
        The file.
    source : str
        Model id, such as ``HRRR``.
    times : tuple of Timestamp
        Valid times, naive UTC, ascending.
    forecasts : tuple of int
        Forecast hour of each time; 0 for an analysis.
    grid : arlmet.Grid
        Horizontal grid.
    levels : tuple of float
        Heights of the levels, the surface first, in the units of the vertical coordinate.
    """

    path: Path
    source: str
    times: tuple[pd.Timestamp, ...]
    forecasts: tuple[int, ...]
    grid: Grid
    levels: tuple[float, ...]

    def contains(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which positions lie on the grid, a cell from its edge, where HYSPLIT can still interpolate."""
        x, y = self.grid.fractional_indices(lon, lat)
        inside_x = np.ones(len(x), bool) if self.grid.wraps_lon else (x >= 1) & (x <= self.grid.nx - 2)
        return np.asarray(inside_x & (y >= 1) & (y <= self.grid.ny - 2))


@contextmanager
def _reading(path: Path) -> Iterator[File]:
    """Open an ARL file, turning what arlmet says of a damaged one into an error that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeated steps and lone DIF records, which reading leaves out
            with File(path) as file:
                if not file.times:
                    raise MeteorologyError(f"{path} holds no meteorology: it is empty; download it again")
                yield file
    except (ARLFormatError, EOFError, UnicodeError, IndexError, OverflowError) as error:
        raise MeteorologyError(f"{path} is damaged: {error}; download it again") from error
    except ValueError as error:
        raise MeteorologyError(f"{path} is not an ARL meteorology file: {error}") from error
    except OSError as error:
        if error.errno in _DISK_FULL:  # of the file that is written, not of this one
            raise
        raise MeteorologyError(f"{path} cannot be read: {error.strerror or error}") from error


def read_header(path: Path) -> Header:
    """Read the index records of an ARL file.

    Raises
    ------
    MeteorologyError
        If the file is empty, truncated or not ARL.
    """
    with _reading(path) as file:
        return _header_of(file)


def _header_of(file: File) -> Header:
    times = tuple(file.times)
    return Header(
        path=file.path,
        source=file.source,
        times=times,
        forecasts=tuple(int(file[t].forecast or 0) for t in times),
        grid=file.grid,
        levels=tuple(float(v) for v in file.vertical_axis.levels),
    )


def aggregate(
    steps: Sequence[tuple[Path, list[pd.Timestamp]]],
    destination: Path,
    *,
    box: Box | None,
    n_levels: int | None = None,
    margin: float | None = None,
) -> None:
    """Write time steps of several ARL files as one, cropped to a box.

    Parameters
    ----------
    steps : sequence of (Path, list of Timestamp)
        Files and times wanted of them, in the order of time; a file may come more than once.
    destination : Path
        The file to write.
    box : tuple of float or None
        Kept with a margin around it; None copies whole records, unchanged. A crop requantises them, since ARL packs
        differences between neighbours: winds change by up to 0.03 m/s.
    n_levels : int, optional
        Keep this many of the lowest levels, the surface counted.
    margin : float, optional
        Degrees kept around *box*.

    Raises
    ------
    MeteorologyError
        Naming the file, and the record or the time step: a damaged record, files on different grids, a crop too small
        to be a file.
    """
    out: Any = None
    reference: Header | None = None
    try:
        for path, times in steps:
            with _reading(path) as file:
                header = _header_of(file)
                reference = reference or header
                if (header.grid, header.levels) != (reference.grid, reference.levels):
                    raise MeteorologyError(
                        f"{path} and {reference.path} are on different grids or levels: use files of one model version"
                    )
                if problems := [p for p in file.check() if not any(words in p for words in _NOT_IN_AN_AGGREGATE)]:
                    raise MeteorologyError(f"{path} is damaged: {problems[0]}; download it again")
                if box is None:
                    with destination.open("ab") as raw:
                        for time in times:
                            _copy_step(file, time, raw)
                    continue
                levels = min(n_levels or len(header.levels), len(header.levels))
                if out is None:
                    window = GridWindow(*crop_window(header.grid, box, _index_cells(file, times[0], levels), margin))
                    out = File(
                        destination,
                        mode="w",
                        source=file.source,
                        grid=header.grid.subset(window),
                        vertical_axis=VerticalAxis.from_flag(
                            file.vertical_axis.flag,
                            levels=list(header.levels[:levels]),
                            offset=file.vertical_axis.offset,
                        ),
                    )
                for time in times:
                    _crop_step(file, time, window, levels, out)
                    out.flush()  # memory stays at one time step
    finally:
        if out is not None:
            out.close()


def _index_cells(file: File, time: pd.Timestamp, levels: int) -> int:
    """Return how many cells a grid needs for its index record to fit into a record."""
    entries = sum(1 + len(r.diffs) for r in file[time].records if r.level < levels)
    return _INDEX_FIXED + _INDEX_ENTRY * (levels + entries)


def _crop_step(file: File, time: pd.Timestamp, window: GridWindow, levels: int, out: File) -> None:
    """Write the window of every record of a time step."""
    step = file[time]
    new = out.create_recordset(time, forecast=step.forecast)
    for record in step.records:
        if record.level >= levels:
            continue
        for part in (record, *record.diffs):
            if not part.verify_checksum():
                raise _bad_checksum(file, time, part)
        new.create_datarecord(
            variable=record.variable,
            level=record.level,
            forecast=record.forecast,
            data=record.read(window=window),
            diff=[d.variable for d in record.diffs],
        )


def _bad_checksum(file: File, time: pd.Timestamp, record: Any) -> MeteorologyError:
    return MeteorologyError(
        f"{file.path} is damaged: {record.variable} at level {record.level}, {time:%Y-%m-%d %H:%M} UTC, does not match "
        "its checksum; download it again"
    )


def _copy_step(file: File, time: pd.Timestamp, out: Any) -> None:
    """Copy a time step's records, unchanged."""
    step = file[time]
    for record in step.records:
        for part in (record, *record.diffs):
            if not part.verify_checksum():
                raise _bad_checksum(file, time, part)
    position, n_bytes = next((p, n) for t, p, n in file._steps if t == time)
    length = file.record_length
    for offset in range(position, position + n_bytes, length):
        out.write(file._read_at(offset, length))


# -- writing new meteorology ---------------------------------------------------------------------------------------


def lambert(bbox: Box, spacing_km: float) -> Grid:
    """Return a Lambert conformal grid on HRRR's cone (38.5 N, 97.5 W) that covers a box."""
    from pyproj import CRS, Transformer

    west, south, east, north = bbox
    crs = CRS.from_user_input("+proj=lcc +lat_1=38.5 +lat_0=38.5 +lon_0=262.5 +R=6371200 +units=m")
    to_grid = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    along = np.linspace(0, 1, 21)
    lon = np.concatenate([west + (east - west) * along] * 2 + [np.full(21, west), np.full(21, east)])
    lat = np.concatenate([np.full(21, south), np.full(21, north)] + [south + (north - south) * along] * 2)
    x, y = to_grid.transform(lon, lat)
    lon0, lat0 = to_grid.transform(x.min(), y.min(), direction="INVERSE")
    step = spacing_km * 1000
    return Grid(
        Projection(
            pole_lat=90.0,
            pole_lon=0.0,
            tangent_lat=38.5,
            tangent_lon=262.5,
            grid_size=float(spacing_km),
            orientation=0.0,
            cone_angle=38.5,
            sync_x=1.0,
            sync_y=1.0,
            # An index record has seven characters a value: rounded, so that writer and reader agree.
            sync_lat=round(float(lat0), 4),
            sync_lon=round(float(lon0), 3),
        ),
        nx=int(np.ceil((x.max() - x.min()) / step)) + 1,
        ny=int(np.ceil((y.max() - y.min()) / step)) + 1,
    )


def grid_lonlat(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude (-180 to 180) and latitude of every grid point, shape ``(ny, nx)``."""
    coords = grid.calculate_coords()
    lon, lat = np.asarray(coords["lon"][1]), np.asarray(coords["lat"][1])
    if lon.ndim == 1:
        lon, lat = np.meshgrid(lon, lat)
    return (lon + 180) % 360 - 180, lat


def create(
    path: Path,
    source: str,
    grid: Grid,
    sigma: list[float],
    steps: Iterable[tuple[pd.Timestamp, Mapping[tuple[str, int, str | None], Any]]],
) -> None:
    """Write an ARL file on sigma levels.

    Parameters
    ----------
    path : Path
        The file.
    source : str
        Model id of four letters.
    grid : arlmet.Grid
        Horizontal grid.
    sigma : list of float
        Levels, 1 (the surface) first.
    steps : iterable of (Timestamp, mapping)
        Each time and its fields by ``(name, level, name of a difference record or None)``, shape ``(ny, nx)``.
    """
    with File(path, mode="w", source=source, grid=grid, vertical_axis=SigmaAxis(levels=sigma)) as file:
        for time, fields in steps:
            step = file.create_recordset(time, forecast=0)
            for (name, level, diff), values in fields.items():
                data = np.broadcast_to(np.asarray(values, np.float32), (grid.ny, grid.nx)).copy()
                step.create_datarecord(name, level=level, forecast=0, data=data, diff=diff)
            file.flush()
