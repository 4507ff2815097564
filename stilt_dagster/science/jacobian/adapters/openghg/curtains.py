"""Where air came in, of scenes that keep it: the boundary of their jacobians, on the grid of a matrix of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.openghg.boundary import SIDES
from stilt_dagster.science.jacobian.adapters.operator import Operator
from stilt_dagster.science.jacobian.boundary.curtains import Curtains
from stilt_dagster.science.jacobian.cells import GridCells
from stilt_dagster.science.jacobian.reading import JacobianFile


class Rows(Protocol):
    """Rows of a file in a matrix."""

    @property
    def file(self) -> JacobianFile:
        """The file."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which of its rows, ascending."""

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each of them is in the matrix."""


@dataclass(frozen=True)
class FileCurtains:
    """By which cells of the sides air came in, read from the files of a matrix's rows.

    Parameters
    ----------
    pieces : sequence of Rows
        Those of scenes with a boundary.
    cells : GridCells
        The matrix's, whose outer edges are those of the files.
    weights : ndarray, shape (rows,)
        What particles stand for, of all rows of the matrix.
    heights : ndarray
        Middles of the bins of height, m.
    """

    pieces: Sequence[Rows]
    cells: GridCells
    weights: NDArray[np.float64]
    heights: NDArray[np.float64]

    def read(self, rows: slice) -> Mapping[str, NDArray[np.float32]]:
        """Return the share of particles by cell of each side, for some rows; NaN of those of other scenes."""
        ny, nx = self.cells.shape
        found = {
            side: np.full((rows.stop - rows.start, len(self.heights), nx if side in "ns" else ny), np.nan, np.float32)
            for side in SIDES
        }
        for piece in self.pieces:
            kept = np.flatnonzero((piece.places >= rows.start) & (piece.places < rows.stop))
            if not len(kept):
                continue
            along = {"lon": self._onto(piece.file.cells.x, "x"), "lat": self._onto(piece.file.cells.y, "y")}
            with _opened(piece.file) as file:
                curtains = Curtains(file)
                for run in np.split(kept, np.flatnonzero(np.diff(piece.rows[kept]) != 1) + 1):
                    first = int(piece.rows[run[0]])
                    shares = curtains.read(slice(first, first + len(run)))
                    for side in SIDES:
                        across = along["lon" if side in "ns" else "lat"]
                        found[side][piece.places[run] - rows.start] = shares[side] @ across
        return found

    def _onto(self, centres: NDArray[np.float64], axis: str) -> NDArray[np.float32]:
        """Return the matrix that sums cells of a file along an axis to those of the matrix."""
        edges = self.cells.x_edges if axis == "x" else self.cells.y_edges
        out = np.zeros((len(centres), len(edges) - 1), np.float32)
        out[np.arange(len(centres)), np.searchsorted(edges, centres) - 1] = 1
        return out


def curtains_of(operator: Operator, pieces: Sequence[Rows]) -> FileCurtains | None:
    """Return where the air of a matrix's rows came in; None where no scene keeps it, or the grid is another.

    A matrix of coarser cells has it too, of a part of the grid not: its sides are others than the scenes'.

    Parameters
    ----------
    operator : Operator
        The matrix.
    pieces : sequence of Rows
        The rows of files it has.

    Raises
    ------
    JacobianError
        If scenes have other bins of height.
    """
    cells = operator.cells
    if not isinstance(cells, GridCells):
        return None
    known: list[Rows] = []
    heights: NDArray[np.float64] | None = None
    for piece in pieces:
        theirs = piece.file.cells
        same = (_ends(theirs.x_edges, cells.x_edges), _ends(theirs.y_edges, cells.y_edges))
        with _opened(piece.file) as file:
            if "boundary" not in file.groups or not all(same):
                continue
            bins = Curtains(file).heights
        if heights is not None and not np.array_equal(heights, bins):
            raise JacobianError(
                f"{piece.file.name} has its boundary in other bins of height than {known[0].file.name}: set one "
                "background.boundary.heights in all scenes"
            )
        heights = bins
        known.append(piece)
    if heights is None:
        return None
    return FileCurtains(known, cells, operator.obs["hbc_weight"].to_numpy(np.float64), heights)


def _ends(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> bool:
    """Return whether an axis begins and ends where another does."""
    return bool(np.allclose(theirs[[0, -1]], ours[[0, -1]], rtol=0, atol=1e-6 * float(np.diff(theirs).min())))


@contextmanager
def _opened(file: JacobianFile) -> Iterator[h5netcdf.File]:
    with file.opened() as source, h5netcdf.File(source, "r") as opened:
        yield opened
