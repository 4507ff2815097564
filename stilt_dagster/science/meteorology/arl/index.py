"""The index of an ARL file: which time steps, levels and variables it holds, and where each record begins.

A time step is an index record and, behind it, a record for every variable of every level: 50 bytes of text, then a byte
for each grid cell (NOAA ARL, HYSPLIT user's guide, "Meteorological data format"). So a file's index is read with a
small request a time step, and no field of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from arlmet import ARLFormatError, Grid, IndexRecord, SigmaAxis, VerticalAxis
from numpy.typing import NDArray

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.archive import LocalFile, MeteorologyFile

__all__ = ["INDEX_FIXED", "RECORD_HEADER", "Header", "Record", "SigmaAxis", "Step", "damaged", "read_header"]

#: Bytes of the text that every record begins with, and of an index record's fixed part behind it.
RECORD_HEADER, INDEX_FIXED = 50, 108

#: Bytes of an index record at most: it says its own length in four digits.
_INDEX_MOST = RECORD_HEADER + 9999


@dataclass(frozen=True)
class Record:
    """A record of a time step: a field, or a difference that is added to the field before it (``DIFW``).

    Attributes
    ----------
    level : int
        Index of its level; 0 is the surface.
    variable : str
        Four letters, such as ``UWND``.
    checksum : int
        Rolling sum of its bytes, as the index has it.
    position : int
        Its first byte in the file.
    """

    level: int
    variable: str
    checksum: int
    position: int


@dataclass(frozen=True)
class Step:
    """A time step of a file.

    Attributes
    ----------
    time : Timestamp
        Valid time, naive UTC.
    forecast : int
        Forecast hour; 0 for an analysis.
    position, length : int
        Its first byte in the file, and its bytes.
    index : arlmet.IndexRecord
        The index record.
    """

    time: pd.Timestamp
    forecast: int
    position: int
    length: int
    index: IndexRecord = field(repr=False)

    def records(self, record_length: int) -> Iterator[Record]:
        """Yield the records of the step, in the order of the file."""
        position = self.position + record_length
        for level in self.index.levels:
            for variable, info in level.variables:
                yield Record(level.level, variable, info.checksum, position)
                position += record_length

    @property
    def content(self) -> tuple[tuple[int, str, int], ...]:
        """Level, name and checksum of every record: what another content of the hour has otherwise."""
        return tuple(
            (level.level, name, info.checksum) for level in self.index.levels for name, info in level.variables
        )


@dataclass(frozen=True)
class Header:
    """What the index records of an ARL file say.

    Attributes
    ----------
    file : MeteorologyFile
        The file.
    source : str
        Model id, such as ``HRRR``.
    steps : tuple of Step
        Its time steps, ascending, each once.
    grid : arlmet.Grid
        Horizontal grid.
    axis : arlmet.VerticalAxis
        Vertical coordinate and its levels.
    """

    file: MeteorologyFile
    source: str
    steps: tuple[Step, ...]
    grid: Grid
    axis: VerticalAxis

    @property
    def levels(self) -> tuple[float, ...]:
        """Heights of the levels, the surface first, in the units of the vertical coordinate."""
        return tuple(float(level) for level in self.axis.levels)

    @property
    def times(self) -> tuple[pd.Timestamp, ...]:
        """Valid times, naive UTC, ascending."""
        return tuple(step.time for step in self.steps)

    @property
    def record_length(self) -> int:
        """Bytes of every record."""
        return RECORD_HEADER + int(self.grid.nx) * int(self.grid.ny)

    def step(self, time: pd.Timestamp) -> Step:
        """Return the step of a time."""
        return next(step for step in self.steps if step.time == time)

    def contains(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which positions lie on the grid, a cell from its edge, where HYSPLIT can still interpolate.

        A grid around the globe has no edge in the east and west, nor at a pole that it has a row of.
        """
        grid = self.grid
        x, y = grid.fractional_indices(lon, lat)
        if not grid.wraps_lon:
            return np.asarray((x >= 1) & (x <= grid.nx - 2) & (y >= 1) & (y <= grid.ny - 2))
        edges = grid.origin[1] + np.array([0, grid.ny - 1]) * grid.projection.tangent_lat
        free = np.abs(edges) < 90 - 1e-3
        return np.asarray((y >= free[0]) & (y <= grid.ny - 1 - free[1]))


def read_header(file: MeteorologyFile | Path) -> Header:
    """Read the index records of an ARL file.

    Raises
    ------
    MeteorologyError
        If the file is empty, truncated or not ARL, or has a time twice with different content.
    """
    file = LocalFile(file) if isinstance(file, Path) else file
    if not file.size:
        raise MeteorologyError(f"{file.location} holds no meteorology: it is empty; download it again")
    try:
        return _header_of(file)
    except ARLFormatError as error:
        raise damaged(file, str(error)) from error
    except (ValueError, IndexError, OverflowError) as error:  # text where numbers should be
        raise MeteorologyError(f"{file.location} is not an ARL meteorology file: {error}") from error


def damaged(file: MeteorologyFile, what: str) -> MeteorologyError:
    """Return the error of a file whose content cannot be right."""
    return MeteorologyError(f"{file.location} is damaged: {what}; download it again")


def _header_of(file: MeteorologyFile) -> Header:
    first = _parse_index(next(_index_bytes(file, [0])), 0)
    grid, axis = first.grid, first.vertical_axis
    record_length = RECORD_HEADER + grid.nx * grid.ny
    if file.size % record_length:
        raise ARLFormatError(
            f"its {file.size} bytes are no whole number of records of {record_length} ({grid.nx} x {grid.ny} cells): "
            "it is truncated"
        )
    steps: dict[pd.Timestamp, Step] = {}
    for position, index in _walk(file, first, record_length):
        if (index.source, index.grid) != (first.source, grid) or index.vertical_axis != axis:
            raise ARLFormatError(f"the index record of {index.time:%Y-%m-%d %H:%M} UTC is of another model or grid")
        step = Step(index.time, int(index.forecast or 0), position, step_length(index, record_length), index)
        known = steps.setdefault(step.time, step)
        if known.content != step.content:
            raise ARLFormatError(f"{step.time:%Y-%m-%d %H:%M} UTC is repeated with different content")
    ordered = tuple(steps[time] for time in sorted(steps))
    return Header(file, first.source, ordered, grid, axis)


def step_length(index: IndexRecord, record_length: int) -> int:
    """Return the bytes of a time step."""
    return record_length * (1 + sum(len(level.variables) for level in index.levels))


def _walk(file: MeteorologyFile, first: IndexRecord, record_length: int) -> Iterator[tuple[int, IndexRecord]]:
    """Yield each index record and where it begins.

    Steps are mostly of one length, so the index records that follow are asked for together, each where it would then
    be; behind one of another length they are asked for anew.
    """
    position, index = 0, first
    yield position, index
    while True:
        length = step_length(index, record_length)
        expected = range(position + length, file.size, length)
        if position + length > file.size:
            raise ARLFormatError(f"{index.time:%Y-%m-%d %H:%M} UTC is incomplete: the file is truncated")
        if not expected:
            return
        for position, data in zip(expected, _index_bytes(file, expected, record_length), strict=True):
            index = _parse_index(data, position)
            yield position, index
            if step_length(index, record_length) != length:
                break


def _index_bytes(file: MeteorologyFile, positions: Sequence[int], most: int = _INDEX_MOST) -> Iterator[bytes]:
    """Yield what an index record takes at most, from each position on; it is no longer than any other record."""
    return file.read([(p, min(p + min(most, _INDEX_MOST), file.size)) for p in positions])


def _parse_index(data: bytes, position: int) -> IndexRecord:
    try:
        return IndexRecord.from_position(io.BytesIO(data), 0)
    except (ARLFormatError, EOFError) as error:
        reason = str(error).removeprefix("Invalid index record at byte 0: ")
        raise ARLFormatError(f"no index record at byte {position}: {reason}") from error
