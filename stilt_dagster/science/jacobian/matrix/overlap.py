"""How cells of a grid lie in coarser ones: shares of their areas, exact on the sphere and on a projected plane.

A coarse cell has one flux. A fine cell feels the mean of the coarse ones over it, weighted by the area they have in
it: ``x_fine = M x_coarse``, ``M[fine, coarse] = area of both / area of the fine one``, so that ``H_coarse = H M``. Rows
of M sum to 1 where the coarse cells cover the fine one, which conserves the sums of the rows of H.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.cells import Cells, Floats, GridCells, Regions, has_same_crs, require_map

if TYPE_CHECKING:
    import scipy.sparse
    import xarray as xr

#: Share of a cell that is rounding.
_COVERED = 1e-9


def interval_shares(fine: Floats, coarse: Floats) -> scipy.sparse.csr_matrix:
    """Return which share of each fine interval lies in each coarse one, shape (fine intervals, coarse intervals).

    Parameters
    ----------
    fine, coarse : ndarray
        Edges, ascending.
    """
    import scipy.sparse

    n, coarse = len(fine) - 1, _snapped(coarse, fine)
    # Both sets of edges cut the line into pieces; each piece lies in one interval of each set, or in none.
    cuts = np.unique(np.concatenate([fine, coarse]))
    of_fine = np.searchsorted(fine, cuts[:-1], side="right") - 1
    of_coarse = np.searchsorted(coarse, cuts[:-1], side="right") - 1
    inside = (of_fine >= 0) & (of_fine < n) & (of_coarse >= 0) & (of_coarse < len(coarse) - 1)
    shares = np.diff(cuts)[inside] / np.diff(fine)[of_fine[inside]]
    return scipy.sparse.csr_matrix((shares, (of_fine[inside], of_coarse[inside])), shape=(n, len(coarse) - 1))


def _snapped(coarse: Floats, fine: Floats) -> Floats:
    """Return edges; those that differ from a fine one by rounding are that one, and cut no sliver off its cell."""
    above = np.clip(np.searchsorted(fine, coarse), 1, len(fine) - 1)
    near = np.where(coarse - fine[above - 1] < fine[above] - coarse, fine[above - 1], fine[above])
    return np.where(np.abs(near - coarse) <= _COVERED * np.diff(fine).min(), near, coarse)


def latitude_shares(fine: Floats, coarse: Floats) -> scipy.sparse.csr_matrix:
    """Return which share of the area of each fine band of latitude lies in each coarse one; edges in degrees.

    The area of a sphere between two parallels goes with the difference of their sines.
    """
    return interval_shares(np.sin(np.radians(fine)), np.sin(np.radians(coarse)))


def longitude_shares(fine: Floats, coarse: Floats) -> scipy.sparse.csr_matrix:
    """Return which share of each fine interval of longitude lies in each coarse one, wherever both are cut.

    Edges in degrees; 190 is -170.
    """
    import scipy.sparse

    total = scipy.sparse.csr_matrix((len(fine) - 1, len(coarse) - 1))
    for turn in (-360.0, 0.0, 360.0):
        total = total + interval_shares(fine, coarse + turn)
    return total.tocsr()


def grid_shares(cells: GridCells, y_edges: Floats, x_edges: Floats) -> scipy.sparse.csr_matrix:
    """Return the share of each cell's area in each cell of a coarser grid, shape (cells, coarse cells).

    Parameters
    ----------
    cells : GridCells
        The fine cells.
    y_edges, x_edges : ndarray
        Of the coarse grid, ascending, in the coordinates of the fine one.

    Raises
    ------
    JacobianError
        Naming the side on which the coarse grid leaves out fine cells: their influence would be lost.
    """
    import scipy.sparse

    if cells.is_longlat:
        y, x = latitude_shares(cells.y_edges, y_edges), longitude_shares(cells.x_edges, x_edges)
    else:
        y, x = interval_shares(cells.y_edges, y_edges), interval_shares(cells.x_edges, x_edges)
    for shares, sides, edges in ((y, ("south", "north"), cells.y_edges), (x, ("west", "east"), cells.x_edges)):
        missing = np.flatnonzero(np.abs(np.asarray(shares.sum(axis=1)).ravel() - 1) > _COVERED)
        if len(missing):
            first = missing[0] == 0
            side, edge = sides[0 if first else 1], edges[0 if first else -1]
            raise JacobianError(
                f"the coarse grid leaves out cells in the {side}, where this one ends at {edge:g}: row sums would not "
                f"be conserved; let it reach there, in the coordinates {', '.join(cells.names)} of this grid"
            )
    return scipy.sparse.kron(y, x, format="csr")


def coarsen_by_factor(cells: GridCells, factor: int | tuple[int, int]) -> tuple[GridCells, scipy.sparse.csr_matrix]:
    """Return cells that are blocks of some by some, and the shares of the fine ones in them.

    Where a side is no multiple of its factor, the last blocks have fewer cells.
    """
    try:
        steps = np.broadcast_to(factor, 2)
    except (TypeError, ValueError):
        steps = np.zeros(2)
    if steps.dtype.kind not in "iu" or steps.min() < 1:
        raise JacobianError(f"a factor of coarsening is a whole number from 1, or two of them (got {factor!r:.80})")
    edges = [
        np.unique(np.append(axis[::step], axis[-1]))
        for axis, step in zip((cells.y_edges, cells.x_edges), steps.tolist(), strict=True)
    ]
    return coarsen_to_edges(cells, edges[0], edges[1])


def coarsen_to_grid(cells: GridCells, grid: Any) -> tuple[GridCells, scipy.sparse.csr_matrix]:
    """Return the cells of another grid, by its edges or those of another matrix, and the shares of the fine ones."""
    if isinstance(grid, GridCells):
        return coarsen_to_cells(cells, grid)
    try:
        y_edges, x_edges = grid
    except (TypeError, ValueError):
        raise JacobianError(
            f"grid is a pair of edges, of {cells.names[0]} and of {cells.names[1]}, or the cells of another matrix, "
            f"H.cells (got {type(grid).__name__})"
        ) from None
    return coarsen_to_edges(cells, y_edges, x_edges)


def coarsen_to_edges(cells: GridCells, y_edges: Any, x_edges: Any) -> tuple[GridCells, scipy.sparse.csr_matrix]:
    """Return the cells of a grid by its edges, and the shares of the fine ones in them."""
    edges = []
    for values, name in ((y_edges, cells.names[0]), (x_edges, cells.names[1])):
        try:
            axis = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            raise JacobianError(f"edges of {name} must be numbers (got {values!r:.80})") from None
        if axis.ndim != 1 or len(axis) < 2 or not np.all(np.diff(axis) > 0):
            raise JacobianError(f"edges of {name} must ascend, two or more of them")
        edges.append(axis)
    shares = grid_shares(cells, *edges)
    y, x = edges
    centres = ((y[:-1] + y[1:]) / 2, (x[:-1] + x[1:]) / 2)
    return GridCells(*centres, y, x, cells.names, cells.crs, cells.unit_area), shares


def coarsen_to_cells(cells: GridCells, target: GridCells) -> tuple[GridCells, scipy.sparse.csr_matrix]:
    """Return the cells of another matrix, and the shares of the fine ones in them."""
    if not has_same_crs(cells.crs, target.crs):
        raise JacobianError("the coarse grid is in another coordinate system than this one: give edges in this one's")
    return target, grid_shares(cells, target.y_edges, target.x_edges)


def coarsen_to_regions(cells: GridCells, labels: xr.DataArray) -> tuple[Regions, scipy.sparse.csr_matrix]:
    """Return regions of cells that have the same label, and which cell is in which.

    Parameters
    ----------
    cells : GridCells
        The cells.
    labels : xarray.DataArray, shape (ny, nx)
        Whole numbers, or text; cells with a negative number, NaN or an empty text are in no region.

    Raises
    ------
    JacobianError
        If it is on other cells, has other values, or no region.
    """
    import scipy.sparse

    require_map(labels, "regions", cells.names)
    if set(labels.dims) != set(cells.names):
        raise JacobianError(f"regions have dimensions {labels.dims}, and need {cells.names}")
    labels = labels.transpose(*cells.names)
    for name, axis, step in (
        (cells.names[0], cells.y, np.diff(cells.y_edges)),
        (cells.names[1], cells.x, np.diff(cells.x_edges)),
    ):
        given = labels[name].to_numpy()
        if given.shape != axis.shape or np.any(np.abs(given - axis) > 1e-3 * step):
            raise JacobianError(f"regions are on other cells of {name} than this matrix, {cells}: put them on its grid")
    values = labels.to_numpy().ravel()
    if values.dtype.kind in "OUS":
        values = values.astype(str)
        used = values != ""
    elif values.dtype.kind in "iufb":
        used = np.isfinite(values) & (values >= 0)
        if np.any(values[used] != np.floor(values[used])):
            raise JacobianError("labels of regions must be whole numbers, or text")
        values = np.where(used, values, 0).astype(np.int64)
    else:
        raise JacobianError("labels of regions must be whole numbers, or text")
    if not used.any():
        raise JacobianError("no cell has a label that is not negative: there are no regions")
    found, place = np.unique(values[used], return_inverse=True)
    shares = scipy.sparse.csr_matrix(
        (np.ones(len(place)), (np.flatnonzero(used), place)), shape=(cells.size, len(found))
    )
    area: Floats = np.bincount(place, cells.area.ravel()[used], len(found)).astype(np.float64)
    return Regions([str(v) for v in found], area), shares


def cut_region(cells: Cells, region: Sequence[float]) -> tuple[GridCells, scipy.sparse.csr_matrix]:
    """Return the cells whose centres lie in a box, and which of the cells they are.

    Parameters
    ----------
    cells : GridCells or Regions
        The cells.
    region : (west, south, east, north)
        In the coordinates of the grid; west beyond east crosses the antimeridian, where the grid does.

    Raises
    ------
    JacobianError
        If there are none, these are no cells of a grid, or west and east are exchanged.
    """
    import scipy.sparse

    if isinstance(cells, Regions):
        raise JacobianError("columns are regions, which lie in no box: select the region before coarsening")
    try:
        west, south, east, north = (float(v) for v in region)
    except (TypeError, ValueError):
        raise JacobianError(f"a region is four numbers: west, south, east, north (got {region!r:.80})") from None
    _require_eastward(cells, west, east)
    y = np.flatnonzero((cells.y >= south) & (cells.y <= north))
    if cells.is_longlat:
        from_west = (cells.x - west) % 360
        x = np.flatnonzero(from_west <= ((east - west) % 360 or 360.0 * (east != west)))
        x = x[np.argsort(from_west[x], kind="stable")]
    else:
        x = np.flatnonzero((cells.x >= west) & (cells.x <= east))
    if not len(y) or not len(x):
        raise JacobianError(f"no cell lies in the region {tuple(region)}: this matrix has {cells}")
    turns = np.zeros(len(x))
    if cells.is_longlat:  # eastward, past 180 where the box crosses it
        turns = np.cumsum(np.r_[0.0, np.where(np.diff(cells.x[x]) < 0, 360.0, 0.0)])
    west_edges, east_edges = cells.x_edges[x] + turns, cells.x_edges[x + 1] + turns
    if np.any(np.abs(west_edges[1:] - east_edges[:-1]) > 1e-6):
        raise JacobianError(f"the region {tuple(region)} leaves out the middle of {cells}: exchange its west and east")
    x_edges = np.append(west_edges, east_edges[-1])
    y_edges = cells.y_edges[y[0] : y[-1] + 2]
    kept = GridCells(cells.y[y], cells.x[x] + turns, y_edges, x_edges, cells.names, cells.crs, cells.unit_area)
    places: NDArray[np.int64] = (y[:, None] * cells.shape[1] + x).ravel()
    shares = scipy.sparse.csr_matrix(
        (np.ones(len(places)), (places, np.arange(len(places)))), shape=(cells.size, len(places))
    )
    return kept, shares


def _require_eastward(cells: GridCells, west: float, east: float) -> None:
    """Refuse a box whose west lies east of its east as the grid's own longitudes go.

    On a grid that goes around the Earth there is no such box: it is the other way around. On another one ends are
    compared as they lie within half a turn of its middle, so that 175 to -175 goes eastward where it crosses that.
    """
    if not cells.is_longlat or cells.goes_round or west <= east:
        return
    start = (cells.x_edges[0] + cells.x_edges[-1]) / 2 - 180
    if (west - start) % 360 > (east - start) % 360:
        raise JacobianError(
            f"the region's west, {west:g}, lies east of its east, {east:g}, and this matrix has {cells}, which do not "
            "go around the Earth: exchange them"
        )
