"""The compiled loops of the products: rows of a block, straight on the bytes of the file.

Columns come unsigned. One that is not below the number of columns is never used as a place: the largest there is stands
for it, and the caller is told.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


# Sums may be taken in any order, which lets several go on at a time.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})  # type: ignore[untyped-decorator]
def multiply_rows(start: Places, stop: Places, columns: Any, data: Any, x: Floats, out: Floats) -> bool:
    """Set ``out[r] = sum_e data[e] x[columns[e]]``, e from start[r] to stop[r]; return whether all columns are in x."""
    last = columns.dtype.type(len(x) - 1)
    beyond = False
    for r in range(len(out)):
        where, values = columns[start[r] : stop[r]], data[start[r] : stop[r]]
        total = 0.0
        for e in range(len(where)):
            beyond |= where[e] > last
            total += values[e] * x[min(where[e], last)]
        out[r] = total
    return not beyond


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})  # type: ignore[untyped-decorator]
def multiply_rows_many(start: Places, stop: Places, columns: Any, data: Any, x: Floats, out: Floats) -> bool:
    """Do the same for several vectors: x of shape (columns, k), out (rows, k)."""
    last = columns.dtype.type(len(x) - 1)
    beyond = False
    for r in range(len(out)):
        where, values = columns[start[r] : stop[r]], data[start[r] : stop[r]]
        total = out[r]
        total[:] = 0.0
        for e in range(len(where)):
            beyond |= where[e] > last
            value, fluxes = values[e], x[min(where[e], last)]
            for k in range(len(total)):
                total[k] += value * fluxes[k]
    return not beyond


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_rows(start: Places, stop: Places, columns: Any, data: Any, y: Floats, out: Floats) -> bool:
    """Add ``data[e] y[r]`` to ``out[columns[e]]``, e from start[r] to stop[r]; return whether all columns are in *out*.

    Where one is not, what was added until then stays.
    """
    last = columns.dtype.type(len(out) - 1)
    for r in range(len(y)):
        where, values, weight = columns[start[r] : stop[r]], data[start[r] : stop[r]], y[r]
        for e in range(len(where)):
            if where[e] > last:
                return False
            out[where[e]] += values[e] * weight
    return True


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_rows_many(start: Places, stop: Places, columns: Any, data: Any, y: Floats, out: Floats) -> bool:
    """Do the same for several vectors: y of shape (rows, k), out (columns, k)."""
    last = columns.dtype.type(len(out) - 1)
    for r in range(len(y)):
        where, values, weights = columns[start[r] : stop[r]], data[start[r] : stop[r]], y[r]
        for e in range(len(where)):
            if where[e] > last:
                return False
            total, value = out[where[e]], values[e]
            for k in range(len(weights)):
                total[k] += value * weights[k]
    return True
