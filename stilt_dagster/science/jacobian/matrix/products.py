"""Products of a matrix that lies in files: blocks of rows, read and multiplied in threads.

What is in memory is the blocks under way, one a thread (or a few, of files elsewhere), and the fluxes of the hours that
files under way have in common, at their resolution.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.jacobian.matrix import kernels
from stilt_dagster.science.jacobian.matrix.column_map import ColumnMap, Floats
from stilt_dagster.science.jacobian.matrix.entries import read_entries
from stilt_dagster.science.jacobian.matrix.windows import Piece, Window, windows_of
from stilt_dagster.science.jacobian.reading import JacobianFile
from stilt_dagster.science.part_pool import prefetch

if TYPE_CHECKING:
    import scipy.sparse

#: Entries of a block, 8 or 12 bytes each: what a thread has in memory at a time.
_BLOCK = 1 << 21

#: Threads at most: beyond some, memory is as busy as it can be.
_THREADS = 16

#: Entries between two rows that are read with them rather than apart.
_GAP = 1 << 13

#: Blocks of files elsewhere that a thread has fetched ahead.
_AHEAD = 4

#: Bytes of fluxes at the files' resolution, of all threads together.
_FLUX_BYTES = 256 << 20

#: Loops for one vector and for several.
Loops = tuple[Callable[..., bool], Callable[..., bool]]
_MULTIPLY: Loops = (kernels.multiply_rows, kernels.multiply_rows_many)
_ADD: Loops = (kernels.add_rows, kernels.add_rows_many)


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a file, read at once.

    Attributes
    ----------
    file : JacobianFile
        The file.
    start, stop : int
        Its entries that are read.
    rows, places : ndarray of int64
        Which of its rows these are of, and where these are in the matrix.
    shift : int
        Where the file's first column is in the window's.
    """

    file: JacobianFile
    start: int
    stop: int
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    shift: int

    def read(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return columns and values of its entries."""
        return read_entries(self.file, self.start, self.stop)

    @property
    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each row's entries begin and end, among those that are read."""
        return self.file.indptr[self.rows] - self.start, self.file.indptr[self.rows + 1] - self.start


def multiply(pieces: Sequence[Piece], x: Floats, out: Floats) -> None:
    """Write H x to *out*.

    Parameters
    ----------
    pieces : sequence of Piece
        The rows of H.
    x : ndarray, shape (columns, k)
        A vector a column.
    out : ndarray, shape (rows, k)
        Written to.

    Raises
    ------
    JacobianError
        If a file is damaged, or not what it was when it was opened.
    """
    for window in windows_of(pieces):
        workers = _workers()
        for k in _some_vectors(window, x.shape[1], 1):
            fine = window.columns.expand(x[:, k])

            def work(blocks: Sequence[Block], fine: Floats = fine, k: slice = k) -> None:
                for block, (columns, data) in _reading(blocks):
                    fluxes = fine[block.shift : block.shift + block.file.n_columns]
                    result = np.empty((len(block.rows), fluxes.shape[1]))
                    _run(_MULTIPLY, block, columns, data, fluxes, result)
                    out[block.places, k] = result

            _share(work, list(_blocks(window)), workers)


def multiply_transposed(pieces: Sequence[Piece], y: Floats, out: Floats) -> None:
    """Add H^T y to *out*: the same for the same number of threads, to the last bit.

    Parameters
    ----------
    pieces : sequence of Piece
        The rows of H.
    y : ndarray, shape (rows, k)
        A vector a column.
    out : ndarray, shape (columns, k)
        Added to.

    Raises
    ------
    JacobianError
        If a file is damaged, or not what it was when it was opened.
    """
    for window in windows_of(pieces):
        blocks = list(_blocks(window))
        # Each thread adds up for itself: fewer of them where that would be much.
        workers = max(1, min(_workers(), len(blocks), _FLUX_BYTES // (8 * window.n_columns)))
        for k in _some_vectors(window, y.shape[1], workers):

            def work(blocks: Sequence[Block], k: slice = k, window: Window = window) -> Floats:
                total = np.zeros((window.n_columns, k.stop - k.start))
                for block, (columns, data) in _reading(blocks):
                    part = total[block.shift : block.shift + block.file.n_columns]
                    _run(_ADD, block, columns, data, np.ascontiguousarray(y[block.places, k]), part)
                return total

            totals = _share(work, blocks, workers)
            for other in totals[1:]:
                totals[0] += other
            if k.stop - k.start == out.shape[1]:
                window.columns.reduce(totals[0], out)
            else:
                part = np.zeros((len(out), k.stop - k.start))
                window.columns.reduce(totals[0], part)
                out[:, k] += part


def row_blocks(pieces: Sequence[Piece], shape: tuple[int, int]) -> Iterator[tuple[slice, scipy.sparse.csr_matrix]]:
    """Yield the rows of a matrix in their order, a block at a time, columns ascending."""
    import scipy.sparse

    n = shape[0]
    piece_of, row_of, sizes = (np.zeros(n, np.int64) for _ in range(3))
    for k, piece in enumerate(pieces):
        piece_of[piece.places], row_of[piece.places] = k, piece.rows
        sizes[piece.places] = piece.sizes

    def read(span: tuple[int, int]) -> scipy.sparse.csr_matrix:
        # Rows of one piece that follow each other are read together.
        others = np.flatnonzero(np.diff(piece_of[slice(*span)])) + 1 + span[0]
        parts = [_rows_of(pieces[piece_of[a]], row_of[a:b]) for a, b in pairwise([span[0], *others.tolist(), span[1]])]
        return parts[0] if len(parts) == 1 else scipy.sparse.vstack(parts, format="csr")

    for span, rows in prefetch(read, pairwise(_cuts(sizes)), _workers()):
        yield slice(*span), rows


def _rows_of(piece: Piece, rows: NDArray[np.int64]) -> scipy.sparse.csr_matrix:
    """Return rows of a file, by the columns of the matrix."""
    import scipy.sparse

    order = np.argsort(rows, kind="stable")
    parts = [_remapped(piece.columns, block) for block in _blocks_of_rows(piece.file, rows[order], order, 0)]
    out = parts[0] if len(parts) == 1 else scipy.sparse.vstack(parts, format="csr")
    return out if np.all(np.diff(rows) > 0) else out[np.argsort(order)]


def _remapped(columns: ColumnMap, block: Block) -> scipy.sparse.csr_matrix:
    """Return the rows of a block, by the columns of the matrix."""
    import scipy.sparse

    start, stop = block.bounds
    first, cells, shares = columns.share_arrays
    most = int((stop - start).sum()) * (int(np.diff(first).max()) if len(first) else 1)
    indptr, where, data = np.empty(len(start) + 1, np.int64), np.empty(most, np.int64), np.empty(most)
    inside = kernels.remap_rows(
        start, stop, *block.read(), columns.steps, columns.n_file_cells, first, cells, shares, columns.n_cells,
        indptr, where, data,
    )  # fmt: skip
    if not inside:
        raise block.file.columns_beyond()
    n = int(indptr[-1])
    # Copies, of what is not all used.
    return scipy.sparse.csr_matrix((data[:n].copy(), where[:n].copy(), indptr), (len(start), columns.n_columns))


def _blocks(window: Window) -> Iterator[Block]:
    """Yield the blocks of a window's pieces."""
    for piece, shift in window.pieces:
        order = np.argsort(piece.rows, kind="stable")
        yield from _blocks_of_rows(piece.file, piece.rows[order], piece.places[order], shift)


def _blocks_of_rows(
    file: JacobianFile, rows: NDArray[np.int64], places: NDArray[np.int64], shift: int
) -> Iterator[Block]:
    """Yield blocks of some rows of a file, ascending: those near each other together, up to a size."""
    start, stop = file.indptr[rows].tolist(), file.indptr[rows + 1].tolist()
    a = 0
    for b in range(1, len(rows) + 1):
        if b == len(rows) or start[b] - stop[b - 1] > _GAP or stop[b] - start[a] > _BLOCK:
            yield Block(file, start[a], stop[b - 1], rows[a:b], places[a:b], shift)
            a = b


def _cuts(sizes: NDArray[np.int64]) -> list[int]:
    """Return where rows of some sizes are cut into blocks: the first is 0, the last how many there are."""
    cuts, filled = [0], 0
    for k, size in enumerate(sizes.tolist()):
        if filled and filled + size > _BLOCK:
            cuts.append(k)
            filled = 0
        filled += size
    return [*cuts, len(sizes)] if len(sizes) else [0]


def _reading(blocks: Sequence[Block]) -> Generator[tuple[Block, tuple[NDArray[Any], NDArray[Any]]], None, None]:
    """Yield blocks and their entries; those of files elsewhere are fetched ahead."""
    if all(isinstance(block.file.source, Path) for block in blocks):
        for block in blocks:
            yield block, block.read()
    else:
        yield from prefetch(Block.read, blocks, _AHEAD)


def _run(loops: Loops, block: Block, columns: NDArray[Any], data: NDArray[Any], one: Floats, other: Floats) -> None:
    """Run the loops of a product on a block; vectors are columns of *one* and *other*."""
    start, stop = block.bounds
    if one.shape[1] == 1:
        inside = loops[0](start, stop, columns, data, one[:, 0], other[:, 0])
    else:
        inside = loops[1](start, stop, columns, data, one, other)
    if not inside:
        raise block.file.columns_beyond()


def _some_vectors(window: Window, k: int, copies: int) -> Iterator[slice]:
    """Yield which of k vectors are multiplied at a time: as many as their fluxes may take memory."""
    some = max(1, _FLUX_BYTES // (8 * window.n_columns * copies))
    for a in range(0, k, some):
        yield slice(a, min(a + some, k))


def _share(work: Callable[[Sequence[Block]], Any], blocks: Sequence[Block], workers: int) -> list[Any]:
    """Do some work on blocks in threads, each on every so many of them; return what each returns."""
    workers = max(1, min(workers, len(blocks)))
    if workers == 1:
        return [work(blocks)]
    with ThreadPoolExecutor(workers, thread_name_prefix="stilt-product") as pool:
        return list(pool.map(work, [blocks[k::workers] for k in range(workers)]))


def _workers() -> int:
    """Return how many threads multiply: as many as there are cores for this process, up to some."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _THREADS)
