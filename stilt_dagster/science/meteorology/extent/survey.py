"""A coarse look at a source's files: enough of their winds and mixing heights to decide how much of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.fields import read_fields
from stilt_dagster.science.meteorology.arl.index import Header
from stilt_dagster.science.meteorology.extent.crop import Rectangle

#: Time steps that are looked at, at most.
_TIMES = 9

#: Of a field at least this many cells a side are kept in memory.
_CELLS = 100

Fields = NDArray[np.float32]


@dataclass(frozen=True)
class Survey:
    """Fields of a source at some of a scene's hours, every so many cells.

    Attributes
    ----------
    steps : sequence of (Header, Timestamp)
        The files and times looked at, ascending.
    stride : int
        Cells from one kept value to the next.
    """

    steps: Sequence[tuple[Header, pd.Timestamp]]
    stride: int

    @classmethod
    def of(cls, steps: Sequence[tuple[Header, Sequence[pd.Timestamp]]]) -> Survey:
        """Return the survey of some of a scene's time steps, the first and the last among them."""
        every = [(header, time) for header, times in steps for time in times]
        picked = sorted({int(k) for k in np.linspace(0, len(every) - 1, _TIMES).round()})
        grid = every[0][0].grid
        return cls([every[k] for k in picked], max(1, min(grid.nx, grid.ny) // _CELLS))

    @property
    def header(self) -> Header:
        """The first file."""
        return self.steps[0][0]

    @property
    def hours(self) -> NDArray[np.float64]:
        """Hours of the times looked at since the first."""
        times = [time for _, time in self.steps]
        return np.array([(time - times[0]) / pd.Timedelta(hours=1) for time in times])

    def fields(self, level: int, variable: str) -> Fields | None:
        """Return a variable of a level, shape ``(times, y, x)``; None where one of the times does not have it."""
        found = []
        for header, time in self.steps:
            field = read_fields(header, [(time, level, variable)], self.stride).get((time, level, variable))
            if field is None:
                return None
            found.append(field)
        return np.stack(found)

    def inside(self, fields: Fields, rectangle: Rectangle) -> Fields:
        """Return the part of fields that lies in a rectangle of the grid, one value at least a side."""
        ny, nx = fields.shape[1:]
        x0, x1, y0, y1 = (value / self.stride for value in rectangle)
        rows, columns = (np.arange(int(np.floor(a)), int(np.floor(b)) + 2) for a, b in ((y0, y1), (x0, x1)))
        columns = np.unique(columns % nx if self.header.grid.wraps_lon else np.clip(columns, 0, nx - 1))
        return fields[:, np.unique(np.clip(rows, 0, ny - 1))[:, None], columns[None, :]]
