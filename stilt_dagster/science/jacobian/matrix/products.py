"""Products of a matrix that lies in files, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.jacobian.matrix.column_map import ColumnMap, Floats
from stilt_dagster.science.jacobian.reading import JacobianFile

if TYPE_CHECKING:
    import scipy.sparse

#: Entries of a block.
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of one file in a matrix.

    Attributes
    ----------
    file : JacobianFile
        The file.
    columns : ColumnMap
        From the columns of the matrix to its own.
    rows : ndarray of int64
        Which of its rows, ascending.
    places : ndarray of int64
        Where each of them is in the matrix.
    """

    file: JacobianFile
    columns: ColumnMap
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def read_rows(file: JacobianFile, rows: NDArray[np.int64]) -> scipy.sparse.csr_matrix:
    """Return some rows of a file."""
    import scipy.sparse

    with h5py.File(file.source, "r") as f:
        data, indices = f["data"], f["indices"]
        spans = [(int(file.indptr[r]), int(file.indptr[r + 1])) for r in rows]
        parts = [(data[a:b], indices[a:b]) for a, b in spans]
    indptr = np.concatenate([[0], np.cumsum([b - a for a, b in spans])]).astype(np.int64)
    return scipy.sparse.csr_matrix(
        (np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), indptr),
        shape=(len(rows), file.n_columns),
    )


def blocks_of(piece: Piece) -> Iterator[NDArray[np.int64]]:
    """Yield places in a piece's rows, a block at a time."""
    sizes = np.cumsum(np.diff(piece.file.indptr)[piece.rows])
    yield from (g for g in np.split(np.arange(len(piece.rows)), np.flatnonzero(np.diff(sizes // _BLOCK)) + 1) if len(g))


def multiply(pieces: Sequence[Piece], x: Floats, out: Floats) -> None:
    """Write H x to *out*: a vector a column."""
    for piece in pieces:
        fine = piece.columns.expand(x)
        for block in blocks_of(piece):
            out[piece.places[block]] = read_rows(piece.file, piece.rows[block]) @ fine


def multiply_transposed(pieces: Sequence[Piece], y: Floats, out: Floats) -> None:
    """Add H^T y to *out*: a vector a column."""
    for piece in pieces:
        fine = np.zeros((piece.file.n_columns, y.shape[1]))
        for block in blocks_of(piece):
            fine += read_rows(piece.file, piece.rows[block]).T @ y[piece.places[block]]
        piece.columns.reduce(fine, out)


def row_blocks(pieces: Sequence[Piece], shape: tuple[int, int]) -> Iterator[tuple[slice, scipy.sparse.csr_matrix]]:
    """Yield the rows of a matrix in their order, a block at a time."""
    import scipy.sparse

    piece_of, row_of = np.empty(shape[0], np.int64), np.empty(shape[0], np.int64)
    for k, piece in enumerate(pieces):
        piece_of[piece.places], row_of[piece.places] = k, piece.rows
    sizes = np.empty(shape[0], np.int64)
    for piece in pieces:
        sizes[piece.places] = np.diff(piece.file.indptr)[piece.rows]
    start = 0
    while start < shape[0]:
        stop = max(start + 1, int(np.searchsorted(np.cumsum(sizes[start:]), _BLOCK)) + start)
        stop = min(stop, shape[0])
        parts = []
        a = start
        while a < stop:
            b = a
            while b < stop and piece_of[b] == piece_of[a]:
                b += 1
            piece = pieces[piece_of[a]]
            parts.append(piece.columns.remap(read_rows(piece.file, row_of[a:b])))
            a = b
        yield slice(start, stop), scipy.sparse.vstack(parts, format="csr")
        start = stop
