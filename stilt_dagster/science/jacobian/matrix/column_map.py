"""From the columns of a matrix to those of its files, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import scipy.sparse

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColumnMap:
    """How hours and cells of a file are time steps and cells of a matrix: ``H = H_file E``, E never made.

    Attributes
    ----------
    steps : ndarray of int64, shape (hours of the file,)
        The time step each hour is in; -1 of none.
    shares : scipy.sparse.csr_matrix or None
        ``M[cell of the file, cell of the matrix]``; None where they are the same.
    n_steps, n_cells : int
        Time steps, and cells of one, of the matrix.
    n_file_cells : int
        Cells of a time step of the file.
    """

    steps: NDArray[np.int64]
    shares: scipy.sparse.csr_matrix | None
    n_steps: int
    n_cells: int
    n_file_cells: int

    @property
    def n_columns(self) -> int:
        """Columns of the matrix."""
        return self.n_steps * self.n_cells

    def expand(self, x: Floats) -> Floats:
        """Return E x: fluxes by the file's hours and cells.

        Parameters
        ----------
        x : ndarray, shape (n_steps * n_cells, k)
            Fluxes, a vector a column.
        """
        k = x.shape[1]
        by_step = x.reshape(self.n_steps, self.n_cells, k)
        out = np.zeros((len(self.steps), self.n_file_cells, k))
        for hour, step in enumerate(self.steps.tolist()):
            if step < 0:
                continue
            if hour and step == self.steps[hour - 1]:
                out[hour] = out[hour - 1]
            else:
                out[hour] = by_step[step] if self.shares is None else self.shares @ by_step[step]
        return out.reshape(-1, k)

    def reduce(self, fine: Floats, out: Floats) -> None:
        """Add E^T fine to *out*: what :meth:`expand` spreads, gathered.

        Parameters
        ----------
        fine : ndarray, shape (hours of the file * n_file_cells, k)
            A vector a column.
        out : ndarray, shape (n_steps * n_cells, k)
            Added to.
        """
        k = fine.shape[1]
        by_hour = fine.reshape(len(self.steps), self.n_file_cells, k)
        by_step = out.reshape(self.n_steps, self.n_cells, k)
        for step in np.unique(self.steps[self.steps >= 0]).tolist():
            hours = np.flatnonzero(self.steps == step)
            total = by_hour[hours[0]] if len(hours) == 1 else by_hour[hours].sum(axis=0)
            by_step[step] += total if self.shares is None else self.shares.T @ total

    @cached_property
    def share_arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Shares for compiled loops: where those of each cell of the file begin, cells of the matrix, shares.

        Empty where cells are the same.
        """
        if self.shares is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        return self.shares.indptr.astype(np.int64), self.shares.indices.astype(np.int64), self.shares.data

    def then(self, steps: NDArray[np.int64], n_steps: int) -> ColumnMap:
        """Return the map to time steps that are made of those of this one; -1 leaves one out."""
        new = np.where(self.steps >= 0, steps[self.steps], -1)
        return ColumnMap(new, self.shares, n_steps, self.n_cells, self.n_file_cells)

    def then_shares(self, shares: Any, composed: dict[int, Any]) -> ColumnMap:
        """Return the map to cells that are made of those of this one.

        Parameters
        ----------
        shares : scipy.sparse.csr_matrix
            Of this map's cells in the new ones.
        composed : dict
            Products known already: pieces of one grid share theirs.
        """
        key = id(self.shares)
        if key not in composed:
            composed[key] = shares if self.shares is None else (self.shares @ shares).tocsr()
        return ColumnMap(self.steps, composed[key], self.n_steps, shares.shape[1], self.n_file_cells)
