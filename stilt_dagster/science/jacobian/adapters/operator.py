"""What adapters take: a matrix of which only its rows' blocks, its observations and its columns are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError, counted
from stilt_dagster.science.jacobian.cells import Cells, GridCells

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse


class Operator(Protocol):
    """A matrix, ppm (umol m-2 s-1)-1, whose columns are cells of flux in the C order of ``(flux_time, y, x)``."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def obs(self) -> pd.DataFrame:
        """A row an observation, indexed by ``obs_id``."""

    @property
    def flux_time_bounds(self) -> NDArray[np.datetime64]:
        """Start and end of each time step of flux, UTC, shape ``(n, 2)``."""

    @property
    def cells(self) -> Cells:
        """What the columns of one time step are: cells of a grid, or regions."""

    def iter_blocks(self) -> Iterator[tuple[slice, scipy.sparse.csr_matrix]]:
        """Yield rows and their part of the matrix, a block at a time."""


def require_finished(operator: Operator, code: str) -> None:
    """Make sure that every row is known.

    Raises
    ------
    JacobianError
        If some observations failed.
    """
    failed = operator.obs.index[operator.obs["status"].to_numpy() == "failed"]
    if len(failed):
        raise JacobianError(
            f"{len(failed)} of {counted(operator.shape[0], 'observation')} failed (the first is {failed[0]}), and "
            f"{code} takes no unknown rows: use H.without_failed(), or --without-failed"
        )
    if not operator.shape[0]:
        raise JacobianError(f"there are no observations to give to {code}")


def require_grid(operator: Operator, code: str, *, longlat: bool = False) -> GridCells:
    """Return the cells of the grid the columns are.

    Raises
    ------
    JacobianError
        If they are regions, or, with *longlat*, cells of a projected grid.
    """
    cells = operator.cells
    if not isinstance(cells, GridCells):
        raise JacobianError(
            f"the columns are regions, and {code} takes cells of a grid: use H before coarsen(regions=...)"
        )
    if longlat and not cells.is_longlat:
        raise JacobianError(
            f"the grid is projected, and {code} takes longitudes and latitudes: run the scenes on a grid of these"
        )
    return cells


def hours_since_1970(times: Any) -> NDArray[np.int64]:
    """Return the full hour of UTC each time lies in, counted from 1970."""
    seconds = np.asarray(times, "datetime64[s]").astype(np.int64)
    return np.floor_divide(seconds, 3600)


def require_hours(operator: Operator, code: str) -> NDArray[np.int64]:
    """Return the hour each time step of flux is, counted from 1970.

    Raises
    ------
    JacobianError
        If time steps are longer or shorter than an hour.
    """
    bounds = np.asarray(operator.flux_time_bounds, "datetime64[s]").astype(np.int64)
    if np.any(bounds[:, 1] - bounds[:, 0] != 3600) or np.any(bounds % 3600):
        raise JacobianError(
            f"fluxes are of other steps than hours, and {code} takes hours: use H before aggregate_time"
        )
    return bounds[:, 0] // 3600
