"""One ARL file out of time steps of several, cut to a part of their grid and levels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from arlmet import Grid, IndexRecord
from arlmet import Header as RecordHeader
from arlmet.indexrecord import LvlInfo, VarInfo

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.arl.fields import count_bytes, read_records
from stilt_dagster.science.meteorology.arl.grids import Window, subset
from stilt_dagster.science.meteorology.arl.index import INDEX_FIXED, RECORD_HEADER, Header, Record, Step
from stilt_dagster.science.meteorology.arl.packing import Field, cut, repack, with_thousands

#: Bytes an index record has for each level, and for each variable of it.
_ENTRY = 8


@dataclass(frozen=True)
class Selection:
    """What is kept of a source's files.

    Attributes
    ----------
    window : tuple of int or None
        First and last but one column and row; None keeps the grid.
    n_levels : int
        The lowest levels, the surface counted.
    """

    window: Window | None
    n_levels: int


def index_cells(step: Step, n_levels: int) -> int:
    """Return how many cells a grid needs for the index record of a step's lowest levels to fit into a record.

    One more than its text: hycs_std looks for a second index record where the first is full.
    """
    return 1 + INDEX_FIXED + _ENTRY * sum(1 + len(level.variables) for level in step.index.levels[:n_levels])


def n_records(step: Step, n_levels: int) -> int:
    """Return how many records a step's lowest levels take, the index record among them."""
    return 1 + sum(len(level.variables) for level in step.index.levels[:n_levels])


def join(steps: Sequence[tuple[Header, list[pd.Timestamp]]], destination: Path, selection: Selection) -> int:
    """Write time steps of several ARL files as one.

    Parameters
    ----------
    steps : sequence of (Header, list of Timestamp)
        Files and times wanted of them, in the order of time; a file may come more than once.
    destination : Path
        The file to write.
    selection : Selection
        What is kept.

    Returns
    -------
    int
        How many records had to be packed anew; the others have the source's own values.

    Raises
    ------
    MeteorologyError
        Naming the file, and the record: a damaged record, files on different grids.
    """
    require_one_grid(header for header, _ in steps)
    repacked = 0
    with destination.open("wb") as out:
        for header, times in steps:
            for step, groups in groupby(_groups(header, times, selection), key=itemgetter(0)):
                repacked += _write_step(out, header, step, (fields for _, fields in groups), selection)
    return repacked


def require_one_grid(headers: Iterable[Header]) -> None:
    """Make sure that files can be joined.

    Raises
    ------
    MeteorologyError
        Naming two that cannot.
    """
    first, *others = headers
    for header in others:
        if (header.grid, header.axis) != (first.grid, first.axis):
            raise MeteorologyError(
                f"{header.file.location} and {first.file.location} are on different grids or levels: use files of one "
                "model version"
            )


def bytes_to_join(steps: Sequence[tuple[Header, list[pd.Timestamp]]], selection: Selection) -> int:
    """Return how many bytes :func:`join` reads for the same, without reading them."""
    total = 0
    for header, times in steps:
        total += count_bytes(header, _wanted(header, times, selection), _rows(selection))
        if selection.window is None:
            total += header.record_length * sum(step.time in times for step in header.steps)
    return total


def _wanted(header: Header, times: Sequence[pd.Timestamp], selection: Selection) -> list[tuple[Step, Record]]:
    """Return the records that are kept of the steps of *times*, in the order of the file."""
    return [
        (step, record)
        for step in header.steps
        if step.time in times
        for record in step.records(header.record_length)
        if record.level < selection.n_levels
    ]


def _rows(selection: Selection) -> int | None:
    """Return how many rows from the south are needed; None for all."""
    return None if selection.window is None else selection.window[3]


#: A record, and what it holds.
_Kept = tuple[Record, Field]


def _groups(header: Header, times: Sequence[pd.Timestamp], selection: Selection) -> Iterator[tuple[Step, list[_Kept]]]:
    """Yield what is kept of the steps of *times*: each field with the difference records right behind it."""
    group: tuple[Step, list[_Kept]] | None = None
    for step, record, field in read_records(header, _wanted(header, times, selection), _rows(selection)):
        if group and record.variable.startswith("DIF") and record.level == group[1][0][0].level:
            group[1].append((record, field))
            continue
        if group:
            yield group
        group = step, [(record, field)]
    if group:
        yield group


def _write_step(out: BinaryIO, header: Header, step: Step, groups: Iterable[list[_Kept]], selection: Selection) -> int:
    """Write a time step; return how many of its records had to be packed anew.

    Its index record is written last, since it has the checksums of the others, so that no more than one field is held.
    """
    window = selection.window
    grid = header.grid if window is None else subset(header.grid, window)
    length, position = RECORD_HEADER + grid.nx * grid.ny, out.tell()
    levels = [LvlInfo(level.level, level.height, []) for level in step.index.levels[: selection.n_levels]]
    out.seek(position + length)
    repacked = 0
    for group in groups:
        whole = [field for _, field in group]
        fields = whole if window is None else [part for field in whole if (part := cut(field, window)) is not None]
        if window is not None and len(fields) < len(whole):
            fields = repack(whole, window)
            repacked += len(fields)
        for (record, _), field in zip(group, fields, strict=True):
            levels[record.level].variables.append((record.variable, VarInfo(field.checksum, "")))
            out.write(field.tobytes())
    end = out.tell()
    out.seek(position)
    if window is None:  # as it is, to the byte
        [index] = header.file.read([(step.position, step.position + length)])
    else:
        index = with_thousands(_index_record(step.index, grid, levels).to_record_bytes(length))
    out.write(index)
    out.seek(end)
    return repacked


def _index_record(source: IndexRecord, grid: Grid, levels: list[LvlInfo]) -> IndexRecord:
    """Return a step's index record on another grid, with other levels."""
    place = grid.projection
    thousands = (grid.nx // 1000 * 1000, grid.ny // 1000 * 1000)
    text: RecordHeader = replace(source.header, grid=thousands)
    return replace(
        source,
        header=text,
        nx=grid.nx,
        ny=grid.ny,
        nz=len(levels),
        levels=levels,
        **{name: getattr(place, name) for name in _PROJECTION},
    )


_PROJECTION = (
    "pole_lat", "pole_lon", "tangent_lat", "tangent_lon", "grid_size", "orientation", "cone_angle",
    "sync_x", "sync_y", "sync_lat", "sync_lon",
)  # fmt: skip
