"""Whether the files of an aggregate hold what the scene's simulations read: every hour, and winds on every level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from stilt_dagster.science.meteorology.archive import LocalFile, MeteorologyFile
from stilt_dagster.science.meteorology.arl.index import Header, read_header
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scratch import Source, size_of

#: What hycs_std cannot advect particles without, on every level above the surface.
WINDS = ("UWND", "VWND")


class _StoredFile:
    """An open file of the store, read by ranges."""

    is_local = False
    state = ""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = self.location = name
        self.size = size_of(file)

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes from each first to each last but one place."""
        for start, stop in ranges:
            self._file.seek(start)
            yield self._file.read(stop - start)


def read_stored_header(source: Source) -> Header:
    """Read the index records of a stored aggregate, and nothing else of it.

    Raises
    ------
    MeteorologyError
        If it is not an ARL file, or is truncated.
    """
    file: MeteorologyFile = LocalFile(source) if isinstance(source, Path) else _StoredFile(source, "the aggregate")
    return read_header(file)


def missing_hours(headers: Sequence[Header], window: Window) -> list[str]:
    """Return the times of a window that no grid has a step at or around, a line each.

    Parameters
    ----------
    headers : sequence of Header
        The grids of an aggregate. Where one begins late or ends early, those around it count.
    window : Window
        What the simulations run through.

    Returns
    -------
    list of str
        Empty if the steps reach from the window's first time or before to its last or after, without a gap: no two
        are farther apart than the widest regular step of a grid.
    """
    times = sorted({time for header in headers for time in header.times})
    step = max((min(b - a for a, b in pairwise(h.times)) for h in headers if len(h.times) > 1), default=pd.Timedelta(0))
    lines = []
    if not times or times[0] > window.first:
        lines.append(f"nothing at or before {window.first:%Y-%m-%d %H:%M} UTC")
    if not times or times[-1] < window.last:
        lines.append(f"nothing at or after {window.last:%Y-%m-%d %H:%M} UTC")
    lines += [
        f"nothing between {a:%Y-%m-%d %H:%M} and {b:%Y-%m-%d %H:%M} UTC" for a, b in pairwise(times) if b - a > step
    ]
    return lines


def missing_winds(header: Header) -> list[str]:
    """Return the steps and levels of a file that lack winds, a line each."""
    lines = []
    expected = range(1, len(header.levels))
    for step in header.steps:
        found = {level.level: {name for name, _ in level.variables} for level in step.index.levels}
        lacking = [k for k in expected if not found.get(k, set()).issuperset(WINDS)]
        if lacking:
            levels = ", ".join(str(k) for k in lacking)
            lines.append(f"{step.time:%Y-%m-%d %H:%M} UTC has no winds on level {levels} of {len(expected)}")
    return lines
