"""The compiled loops of the products: rows of a block, straight on the bytes of the file.

Columns come unsigned. One that is not below the number of columns is never used as a place: the largest there is stands
for it, and the caller is told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


# Sums may be taken in any order, which lets several go on at a time.
@kernel(fastmath={"reassoc", "contract", "nsz"})
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


@kernel(fastmath={"reassoc", "contract", "nsz"})
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


@kernel()
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


@kernel()
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


@kernel()
def remap_rows(
    start: Places,
    stop: Places,
    columns: Any,
    data: Any,
    steps: Places,
    n_file_cells: int,
    first: Places,
    cells: Places,
    shares: Floats,
    n_cells: int,
    indptr: Places,
    out_columns: Places,
    out_data: Floats,
) -> bool:
    """Write rows by the columns of a matrix, ascending, each once; return whether all columns are those of hours.

    Hour h is in time step ``steps[h]``, or in none (-1); steps do not fall. Cell c of the file is in
    ``cells[first[c] : first[c + 1]]`` by its *shares* there, or is the same cell where *first* is empty. *indptr*,
    *out_columns* and *out_data* are written to, and large enough.
    """
    last = columns.dtype.type(len(steps) * n_file_cells - 1)
    total, is_touched = np.zeros(n_cells), np.zeros(n_cells, np.bool_)
    touched = np.empty(n_cells, np.int64)
    n = 0
    indptr[0] = 0
    for r in range(len(start)):
        where, values = columns[start[r] : stop[r]], data[start[r] : stop[r]]
        e, hour, begin, end = 0, np.int64(0), np.int64(0), np.int64(n_file_cells)
        while e < len(where):
            # All entries of one time step, which follow each other.
            step, count, ascending, begun = -1, 0, True, False
            while e < len(where):
                if where[e] > last:
                    return False
                column = np.int64(where[e])
                if column < begin or column >= end:
                    hour = column // n_file_cells
                    begin, end = hour * n_file_cells, (hour + 1) * n_file_cells
                if begun and steps[hour] != step:
                    break
                step, begun = steps[hour], True
                cell = column - begin
                is_same = len(first) == 0
                for k in range(0 if is_same else first[cell], 1 if is_same else first[cell + 1]):
                    target, share = (cell, 1.0) if is_same else (cells[k], shares[k])
                    if not is_touched[target]:
                        is_touched[target] = True
                        ascending &= count == 0 or touched[max(count - 1, 0)] < target
                        touched[count] = target
                        count += 1
                    total[target] += values[e] * share
                e += 1
            if not ascending:
                touched[:count] = np.sort(touched[:count])
            for k in range(count):
                target = touched[k]
                if step >= 0:
                    out_columns[n], out_data[n] = step * n_cells + target, total[target]
                    n += 1
                total[target], is_touched[target] = 0.0, False
        indptr[r + 1] = n
    return True
