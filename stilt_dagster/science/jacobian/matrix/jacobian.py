"""The matrix an inversion multiplies fluxes with: rows of one or many scenes, lazily read from their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError, counted
from stilt_dagster.science.jacobian.adapters.conversions import Conversions
from stilt_dagster.science.jacobian.cells import Cells, Floats, GridCells, Regions, as_numbers
from stilt_dagster.science.jacobian.matrix import fluxes, overlap, products
from stilt_dagster.science.jacobian.matrix.column_map import ColumnMap
from stilt_dagster.science.jacobian.matrix.rows import find_rows
from stilt_dagster.science.jacobian.matrix.windows import Piece
from stilt_dagster.science.jacobian.time_steps import Steps, aggregate, as_times, within

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse
    import xarray as xr


class Jacobian(Conversions):
    """Observations by fluxes, ppm (umol m-2 s-1)-1: what a flux of each cell and time step adds to each observation.

    Its entries stay in the files of the scenes, and are read a block of rows at a time by what uses them. What selects
    and coarsens returns another one that reads the same files. Columns are in C order of (time step, y, x).

    Parameters
    ----------
    pieces : sequence of Piece
        Rows of files.
    obs : pandas.DataFrame
        The observations, by ``obs_id``.
    steps : ndarray of int64, shape (n, 2)
        Start and end of each time step of flux, hours since 1970-01-01 UTC.
    cells : GridCells or Regions
        What the columns of one time step are.

    Attributes
    ----------
    obs : pandas.DataFrame
        A row an observation, in the order of the matrix's: ``scene``, ``time`` (UTC), ``longitude``, ``latitude``,
        ``status`` (ok, empty, failed), ``row_sum`` of the whole row of the file; of a retrieval ``value``,
        ``uncertainty``, ``prior_term``, and what else the files have.
    cells : GridCells or Regions
        What the columns of one time step are.
    """

    def __init__(self, pieces: Sequence[Piece], obs: pd.DataFrame, steps: Steps, cells: Cells) -> None:
        self._pieces = list(pieces)
        self._steps = steps
        self.obs = obs
        self.cells = cells

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.obs), len(self._steps) * self.cells.size

    @property
    def flux_time(self) -> pd.DatetimeIndex:
        """Start of each time step of flux, UTC."""
        import pandas as pd

        return pd.DatetimeIndex(as_times(self._steps[:, 0]), name="flux_time")

    @property
    def flux_time_bounds(self) -> NDArray[np.datetime64]:
        """Start and end of each time step of flux, UTC, shape (n, 2)."""
        return as_times(self._steps)

    def __repr__(self) -> str:
        rows, columns = self.shape
        count = self.obs.status.value_counts()
        outcomes = ", ".join(f"{count[s]} {s}" for s in ("ok", "empty", "failed") if s in count)
        first, last = self.flux_time_bounds[0, 0], self.flux_time_bounds[-1, 1]
        of = f"{counted(rows, 'observation')}{outcomes and f' ({outcomes})'} of {counted(len(self._pieces), 'file')}"
        steps = f"{counted(len(self._steps), 'time step')} from {first:.16} to {last:.16}"
        return f"<Jacobian {rows} x {columns}: {of}, {steps}, {self.cells}>"

    # Products

    def matvec(self, x: Any) -> Floats:
        """Return H x, what fluxes add to each observation, ppm; NaN of failed ones.

        Parameters
        ----------
        x : array_like, shape (columns,) or (columns, k)
            Fluxes, umol m-2 s-1.

        Returns
        -------
        ndarray of float64, shape (rows,) or (rows, k)
        """
        vectors = self._vectors(x, self.shape[1], "columns")
        out = np.zeros((self.shape[0], vectors.shape[1]))
        products.multiply(self._pieces, vectors, out)
        out[self._failed] = np.nan
        return out.reshape(self.shape[0], *np.shape(x)[1:])

    def rmatvec(self, y: Any) -> Floats:
        """Return H^T y.

        Parameters
        ----------
        y : array_like, shape (rows,) or (rows, k)

        Returns
        -------
        ndarray of float64, shape (columns,) or (columns, k)

        Raises
        ------
        JacobianError
            If there are failed observations.
        """
        self._refuse_failed("rmatvec")
        vectors = self._vectors(y, self.shape[0], "rows")
        out = np.zeros((self.shape[1], vectors.shape[1]))
        products.multiply_transposed(self._pieces, vectors, out)
        return out.reshape(self.shape[1], *np.shape(y)[1:])

    def __matmul__(self, x: Any) -> Floats:
        return self.matvec(x)

    def as_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """Return the matrix as an operator of scipy's solvers.

        Raises
        ------
        JacobianError
            If there are failed observations.
        """
        from scipy.sparse.linalg import LinearOperator

        self._refuse_failed("as_linear_operator")
        return LinearOperator(
            self.shape,
            matvec=self.matvec,
            rmatvec=self.rmatvec,
            matmat=self.matvec,
            rmatmat=self.rmatvec,
            dtype=np.float64,
        )

    # Views

    def select(
        self, rows: Any = None, region: Sequence[float] | None = None, time: slice | str | None = None
    ) -> Jacobian:
        """Return some rows and columns; fluxes that are left out are taken for zero.

        Parameters
        ----------
        rows : mask, slice, or sequence of ids or numbers, optional
            Which observations; of ids or numbers in the order given.
        region : (west, south, east, north), optional
            Cells whose centres lie in this box, in the coordinates of the grid.
        time : slice or str, optional
            Time steps that begin in it, such as ``slice("2023-07-15", "2023-07-16")``: both days, to the end; or in
            one day, month or hour, such as ``"2023-07-15"``.

        Raises
        ------
        JacobianError
            If there is no such row, cell or time step, or a row is named twice.
        """
        out = self
        if rows is not None:
            out = out._with_rows(find_rows(out.obs, rows))
        if region is not None:
            cells, shares = overlap.cut_region(out.cells, region)
            out = out._with_cells(cells, shares)
        if time is not None:
            kept = within(out._steps, time)
            new = np.full(len(out._steps), -1)
            new[kept] = np.arange(kept.stop - kept.start)
            out = out._with_steps(out._steps[kept], new)
        return out

    def without_failed(self) -> Jacobian:
        """Return the rows of the observations that did not fail."""
        return self._with_rows(np.flatnonzero(~self._failed))

    def coarsen(
        self,
        factor: int | tuple[int, int] | None = None,
        grid: tuple[Any, Any] | GridCells | None = None,
        regions: xr.DataArray | None = None,
    ) -> Jacobian:
        """Return the matrix of fluxes that are the same in all of a coarser cell; row sums are conserved.

        Parameters
        ----------
        factor : int or (int, int), optional
            Cells of a coarse one, in y and in x.
        grid : (y edges, x edges) or GridCells, optional
            Another grid that covers this one, by its edges in this one's coordinates, or the cells of another matrix.
        regions : xarray.DataArray of whole numbers or text, shape (ny, nx), optional
            Which region each cell is in; none with a negative number: its fluxes are taken for zero.

        Raises
        ------
        JacobianError
            If not one of them is given, or it does not suit the cells there are.
        """
        if sum(given is not None for given in (factor, grid, regions)) != 1:
            raise JacobianError("coarsen takes one of factor, grid and regions")
        if isinstance(self.cells, Regions):
            raise JacobianError("columns are regions already: coarsen the cells before")
        cells: Cells
        if factor is not None:
            cells, shares = overlap.coarsen_by_factor(self.cells, factor)
        elif grid is not None:
            cells, shares = overlap.coarsen_to_grid(self.cells, grid)
        elif regions is not None:
            cells, shares = overlap.coarsen_to_regions(self.cells, regions)
        return self._with_cells(cells, shares)

    def aggregate_time(self, into: Any) -> Jacobian:
        """Return the matrix of fluxes that are constant in longer time steps.

        Parameters
        ----------
        into : str or sequence of times
            A frequency of pandas, such as ``D`` or ``MS``, or edges, UTC.

        Raises
        ------
        JacobianError
            If a time step is in none of the longer ones, or in two.
        """
        steps, place = aggregate(self._steps, into)
        return self._with_steps(steps, place)

    # The matrix itself

    def iter_blocks(self) -> Iterator[tuple[slice, scipy.sparse.csr_matrix]]:
        """Yield rows a block at a time, float64: which they are, and the rows, columns ascending.

        A block comes of some two million entries of a file; a few are made ahead in threads.

        Raises
        ------
        JacobianError
            If there are failed observations.
        """
        self._refuse_failed("iter_blocks")
        yield from products.row_blocks(self._pieces, self.shape)

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """Return all of it in memory, float64: 12 to 16 bytes an entry.

        Raises
        ------
        JacobianError
            If there are failed observations.
        """
        import scipy.sparse

        self._refuse_failed("to_csr")
        blocks = [block for _, block in self.iter_blocks()]
        return scipy.sparse.vstack(blocks, format="csr") if blocks else scipy.sparse.csr_matrix(self.shape)

    def to_sparse_xarray(self) -> xr.DataArray:
        """Return all of it in memory, as an array of ``sparse`` on (obs_id, flux_time, y, x) with coordinates.

        Raises
        ------
        JacobianError
            If there are failed observations, or the package ``sparse`` is not installed.
        """
        import xarray as xr

        try:
            import sparse
        except ImportError:
            raise JacobianError("to_sparse_xarray needs the package sparse: pip install sparse") from None
        array = sparse.COO.from_scipy_sparse(self.to_csr())
        array = array.reshape((self.shape[0], len(self._steps), *self.cells.shape))
        coordinates = {"obs_id": self.obs.index.to_numpy(), "flux_time": self.flux_time, **self.cells.coordinates}
        out = xr.DataArray(array, coordinates, ("obs_id", "flux_time", *self.cells.dims), name="jacobian")
        return out.assign_attrs(units="ppm (umol m-2 s-1)-1")

    # Fluxes

    def flux_vector(self, flux: xr.DataArray) -> Floats:
        """Return fluxes on a map as a vector to multiply with, shape (columns,).

        Parameters
        ----------
        flux : xarray.DataArray
            On ``flux_time`` and the axes of the cells, in any order; umol m-2 s-1. It may have more times and cells;
            without ``flux_time`` it is the same at all times.

        Raises
        ------
        JacobianError
            If it lacks times or cells, or has other units or values that are not finite.
        """
        return fluxes.flux_vector(flux, self.flux_time, self.cells)

    def flux_array(self, x: Any) -> xr.DataArray:
        """Return a vector of fluxes, shape (columns,), on (flux_time, y, x) or (flux_time, region)."""
        return fluxes.flux_array(x, self.flux_time, self.flux_time_bounds, self.cells)

    # What these are made of

    @property
    def _failed(self) -> NDArray[np.bool_]:
        return np.asarray(self.obs.status == "failed")

    def _refuse_failed(self, what: str) -> None:
        if n := int(np.count_nonzero(self._failed)):
            failed = f"{n} of {counted(len(self.obs), 'observation')} failed"
            raise JacobianError(f"{failed} and are no measurement: use H.without_failed().{what}")

    def _vectors(self, values: Any, size: int, axis: str) -> Floats:
        array = as_numbers(values, f"a vector of {size} {axis}")
        if array.ndim not in (1, 2) or array.shape[0] != size:
            raise JacobianError(
                f"a vector of {size} {axis} is needed, or several as columns, and not an array of {array.shape}; "
                "flux_vector makes one of fluxes on a map"
            )
        return np.ascontiguousarray(array[:, None] if array.ndim == 1 else array)

    def _with_rows(self, places: NDArray[np.int64]) -> Jacobian:
        new = np.full(len(self.obs), -1)
        new[places] = np.arange(len(places))
        pieces = []
        for p in self._pieces:
            kept = new[p.places] >= 0
            if kept.any():
                pieces.append(Piece(p.file, p.columns, p.rows[kept], new[p.places[kept]]))
        return Jacobian(pieces, self.obs.iloc[places], self._steps, self.cells)

    def _with_cells(self, cells: Cells, shares: Any) -> Jacobian:
        composed: dict[int, Any] = {}
        return self._with_columns(lambda columns: columns.then_shares(shares, composed), self._steps, cells)

    def _with_steps(self, steps: Steps, place: NDArray[np.int64]) -> Jacobian:
        return self._with_columns(lambda columns: columns.then(place, len(steps)), steps, self.cells)

    def _with_columns(self, change: Callable[[ColumnMap], ColumnMap], steps: Steps, cells: Cells) -> Jacobian:
        pieces = [Piece(p.file, change(p.columns), p.rows, p.places) for p in self._pieces]
        return Jacobian(pieces, self.obs, steps, cells)
