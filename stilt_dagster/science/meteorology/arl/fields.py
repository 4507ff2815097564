"""Records of an ARL file, and fields, read by range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from arlmet import ARLFormatError
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.index import RECORD_HEADER, Header, Record, Step, damaged
from stilt_dagster.science.meteorology.arl.packing import Field, values

#: Bytes of a request at most, where records lie side by side.
_REQUEST = 4 << 20

#: Bytes between two records that are read along with them, rather than with a request of their own: a share of theirs.
_GAP = 0.04


def read_records(
    header: Header, wanted: Sequence[tuple[Step, Record]], n_rows: int | None = None
) -> Iterator[tuple[Step, Record, Field]]:
    """Yield records of a file, in the order given, each checked against its index.

    Parameters
    ----------
    header : Header
        The file.
    wanted : sequence of (Step, Record)
        In the order of the file.
    n_rows : int, optional
        Rows from the south that are needed; all by default. Of a file of this machine records are read whole, since
        that costs little, and only a whole record can be held against its checksum.

    Raises
    ------
    MeteorologyError
        Naming the file and the record that is damaged, or what keeps the file from being read.
    """
    ny = header.grid.ny
    rows, groups = _requests(header, wanted, n_rows)
    length = RECORD_HEADER + rows * header.grid.nx
    data = header.file.read([_range(group, length) for group in groups])
    for group, block in zip(groups, data, strict=True):
        for step, record in group:
            start = record.position - group[0][1].position
            yield step, record, _checked(header, step, record, block[start : start + length], rows == ny)


def count_bytes(header: Header, wanted: Sequence[tuple[Step, Record]], n_rows: int | None = None) -> int:
    """Return how many bytes :func:`read_records` reads for the same, without reading them."""
    rows, groups = _requests(header, wanted, n_rows)
    length = RECORD_HEADER + rows * header.grid.nx
    return sum(stop - start for start, stop in (_range(group, length) for group in groups))


def _requests(
    header: Header, wanted: Sequence[tuple[Step, Record]], n_rows: int | None
) -> tuple[int, list[list[tuple[Step, Record]]]]:
    """Return how many rows of a record are read, and the records that each request asks for."""
    rows = header.grid.ny if n_rows is None or header.file.is_local else n_rows
    return rows, list(_side_by_side(wanted, RECORD_HEADER + rows * header.grid.nx))


def _range(group: Sequence[tuple[Step, Record]], length: int) -> tuple[int, int]:
    return group[0][1].position, group[-1][1].position + length


def _side_by_side(wanted: Sequence[tuple[Step, Record]], length: int) -> Iterator[list[tuple[Step, Record]]]:
    """Yield the records that one request asks for."""
    group: list[tuple[Step, Record]] = []
    for item in wanted:
        position = item[1].position
        if group:
            first, end = group[0][1].position, group[-1][1].position + length
            if position + length - first > _REQUEST or not 0 <= position - end <= _GAP * (end - first):
                yield group
                group = []
        group.append(item)
    if group:
        yield group


def _checked(header: Header, step: Step, record: Record, data: bytes, whole: bool) -> Field:
    """Return a record's field.

    Raises
    ------
    MeteorologyError
        If it is not what the index says.
    """
    try:
        field = Field.of(data, header.grid.nx)
    except (ARLFormatError, ValueError) as error:
        raise damaged(header.file, f"{_called(step, record)} cannot be read ({error})") from error
    text = field.header
    # A record's text has the hour; minutes are in the index record alone.
    if (text.level, text.time) != (record.level, step.time.floor("h")) or text.variable not in (
        record.variable,
        "NULL",
    ):
        raise damaged(header.file, f"where {_called(step, record)} should be, {text.variable} at level {text.level} is")
    if whole and not field.is_missing and field.checksum != record.checksum:
        raise damaged(header.file, f"{_called(step, record)} does not match its checksum")
    return field


def _called(step: Step, record: Record) -> str:
    return f"{record.variable} at level {record.level}, {step.time:%Y-%m-%d %H:%M} UTC,"


def read_fields(
    header: Header, wanted: Sequence[tuple[pd.Timestamp, int, str]], stride: int = 1
) -> dict[tuple[pd.Timestamp, int, str], NDArray[np.float32]]:
    """Return fields of a file, shape ``(ny, nx)``; what the file does not have is left out.

    Parameters
    ----------
    header : Header
        The file.
    wanted : sequence of (Timestamp, int, str)
        Time, level and variable. Difference records are not added.
    stride : int
        Keep every so many cells of each side.
    """
    window = (0, header.grid.nx, 0, header.grid.ny)
    asked = set(wanted)
    found = [
        (step, record)
        for step in header.steps
        if any(time == step.time for time, _, _ in asked)
        for record in step.records(header.record_length)
        if (step.time, record.level, record.variable) in asked
    ]
    return {
        (step.time, record.level, record.variable): values(field, window)[::stride, ::stride].copy()
        for step, record, field in read_records(header, found)
    }
