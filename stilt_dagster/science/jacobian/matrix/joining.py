"""Files, or matrices, as one matrix: their rows one below the other, over the time steps of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.compatibility import Duplicates, first_rows, require_one_grid
from stilt_dagster.science.jacobian.matrix.column_map import ColumnMap
from stilt_dagster.science.jacobian.matrix.jacobian import Jacobian
from stilt_dagster.science.jacobian.matrix.windows import Piece
from stilt_dagster.science.jacobian.reading import JacobianFile
from stilt_dagster.science.jacobian.time_steps import common_steps, place_of


def join_files(files: Sequence[JacobianFile], duplicates: Duplicates = "refuse") -> Jacobian:
    """Return the matrix of some files, of one grid, without reading entries.

    Parameters
    ----------
    files : sequence of JacobianFile
        The files, in the order their rows come in.
    duplicates : {"refuse", "first"}
        Of an observation that is in two files: raise, or leave out all but the first.

    Raises
    ------
    JacobianError
        One line naming two files that cannot be one matrix, and why.
    """
    return concat_jacobians([_matrix_of(file) for file in files], duplicates=duplicates)


def _matrix_of(file: JacobianFile) -> Jacobian:
    n = len(file.bounds)
    columns = ColumnMap(np.arange(n), None, n, file.cells.size, file.cells.size)
    rows = np.arange(len(file.ids))
    # The table has what the file knows of rows; a second copy would go with each pickled matrix.
    entries = replace(file, rows={})
    return Jacobian([Piece(entries, columns, rows, rows)], file.observations, file.bounds, file.cells)


def concat_jacobians(jacobians: Sequence[Jacobian], duplicates: Duplicates = "refuse") -> Jacobian:
    """Return the rows of several matrices one below the other, over the time steps of all.

    Parameters
    ----------
    jacobians : sequence of Jacobian
        Matrices on the same cells: scenes of different grids are coarsened to one before.
    duplicates : {"refuse", "first"}
        Of an observation that is in two: raise, or leave out all but the first.

    Raises
    ------
    JacobianError
        One line naming two that cannot be one matrix, and why.
    """
    import pandas as pd

    if not isinstance(jacobians, Sequence) or not all(isinstance(h, Jacobian) for h in jacobians):
        raise JacobianError("concat_jacobians takes a list of matrices; open_jacobian makes one of files")
    if not jacobians:
        raise JacobianError("there is no jacobian: name at least one")
    names = [_name_of(h) for h in jacobians]
    require_one_grid([h.cells for h in jacobians], names)
    steps = common_steps([h._steps for h in jacobians], names)
    kept = first_rows([h.obs.index for h in jacobians], names, duplicates)
    pieces, tables, start = [], [], 0
    for whole, rows in zip(jacobians, kept, strict=True):
        h = whole if rows.all() else whole.select(rows=rows)
        place = place_of(h._steps, steps)
        pieces += [Piece(p.file, p.columns.then(place, len(steps)), p.rows, p.places + start) for p in h._pieces]
        tables.append(h.obs)
        start += len(h.obs)
    return Jacobian(pieces, pd.concat(tables), steps, jacobians[0].cells)


def _name_of(jacobian: Jacobian) -> str:
    """Return what errors call a matrix: the first file of it."""
    return jacobian._pieces[0].file.name if jacobian._pieces else "a jacobian without rows"
