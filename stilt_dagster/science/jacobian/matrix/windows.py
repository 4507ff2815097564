"""Rows of files in a matrix, and which files share their hours, so that fluxes are brought to them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.jacobian.matrix.column_map import ColumnMap
from stilt_dagster.science.jacobian.reading import JacobianFile

#: Columns of files that are brought together: 64 MB of fluxes.
_COLUMNS = 1 << 23


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
        Which of its rows.
    places : ndarray of int64
        Where each of them is in the matrix.
    """

    file: JacobianFile
    columns: ColumnMap
    rows: NDArray[np.int64]
    places: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Entries of each row."""
        return self.file.indptr[self.rows + 1] - self.file.indptr[self.rows]


@dataclass(frozen=True, eq=False)
class Window:
    """Hours of some files, one after the other.

    Attributes
    ----------
    columns : ColumnMap
        From the columns of the matrix to these hours.
    pieces : sequence of (Piece, int)
        Each with where its first column is in the window's.
    """

    columns: ColumnMap
    pieces: Sequence[tuple[Piece, int]]

    @property
    def n_columns(self) -> int:
        """Hours times cells of a file."""
        return len(self.columns.steps) * self.columns.n_file_cells


def windows_of(pieces: Sequence[Piece]) -> Iterator[Window]:
    """Yield the windows that some pieces are multiplied in: each piece is in one.

    Pieces whose hours overlap or join are in one, up to a size, if their files have the same cells and the hours they
    have in common are the same time steps. A month of scenes on a fine grid is so a few days at a time.
    """
    order = sorted(pieces, key=lambda p: (id(p.columns.shares), p.columns.n_file_cells, int(p.file.bounds[0, 0])))
    members: list[Piece] = []
    first, steps = 0, np.zeros(0, np.int64)
    for piece in order:
        joined = _join(first, steps, piece) if members and _alike(members[0], piece) else None
        if joined is None:
            if members:
                yield _window(members, first, steps)
            members, first, joined = [], int(piece.file.bounds[0, 0]), piece.columns.steps
        members.append(piece)
        steps = joined
    if members:
        yield _window(members, first, steps)


def _alike(one: Piece, other: Piece) -> bool:
    """Return whether two pieces can share fluxes: cells, and hours or the same single step."""
    same = one.columns.shares is other.columns.shares and one.columns.n_file_cells == other.columns.n_file_cells
    return same and (
        (one.file.is_hourly and other.file.is_hourly) or np.array_equal(one.file.bounds, other.file.bounds)
    )


def _join(first: int, steps: NDArray[np.int64], piece: Piece) -> NDArray[np.int64] | None:
    """Return the time steps of a window's hours with those of a piece; None if it cannot be in the window."""
    new = piece.columns.steps
    shift = int(piece.file.bounds[0, 0]) - first
    length = max(len(steps), shift + len(new))
    if shift > len(steps) or length * piece.columns.n_file_cells > _COLUMNS:
        return None
    both = min(len(steps), shift + len(new)) - shift
    if not np.array_equal(steps[shift : shift + both], new[:both]):
        return None
    return np.concatenate([steps, new[both:]])


def _window(members: Sequence[Piece], first: int, steps: NDArray[np.int64]) -> Window:
    known = members[0].columns
    columns = ColumnMap(steps, known.shares, known.n_steps, known.n_cells, known.n_file_cells)
    return Window(columns, [(p, (int(p.file.bounds[0, 0]) - first) * known.n_file_cells) for p in members])
