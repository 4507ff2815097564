"""Which part of a meteorology grid a scene keeps, in the grid's own projection.

Places are fractional grid indices, from 0 at the first column and row. On a grid around the globe a column may lie
beyond the last one, where a rectangle crosses the seam.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.arl.grids import Box, Window

#: A rectangle of places ``(x0, x1, y0, y1)``, both ends included.
Rectangle = tuple[float, float, float, float]

#: A grid as arlmet has it.
ArlGrid = Any

#: Points along each side of a box. On a projected grid its sides are curves: two corners alone cut the others off.
_ALONG = np.linspace(0, 1, 101)


def rectangle_of(grid: ArlGrid, box: Box, margin: float = 0.0) -> Rectangle:
    """Return the rectangle of *grid* that holds the perimeter of *box* and *margin* degrees around it."""
    west, south, east, north = box
    width = (360.0 if east - west >= 360 else (east - west) % 360) + 2 * margin
    west, south, north = west - margin, max(south - margin, -90.0), min(north + margin, 90.0)
    if grid.is_latlon:
        return _latlon_rectangle(grid, west, min(width, 360.0), south, north)
    lon = west + width * np.concatenate([_ALONG, _ALONG, np.zeros(101), np.ones(101)])
    lat = south + (north - south) * np.concatenate([np.zeros(101), np.ones(101), _ALONG, _ALONG])
    x, y = grid.fractional_indices((lon + 180) % 360 - 180, lat)
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def _latlon_rectangle(grid: ArlGrid, west: float, width: float, south: float, north: float) -> Rectangle:
    around = 360 / abs(grid.projection.tangent_lon)
    x, y = grid.fractional_indices(np.full(2, (west + 180) % 360 - 180), np.array([south, north]))
    x0, wide = float(x[0]), width * around / 360
    if not grid.wraps_lon and x0 > grid.nx - 1 and x0 + wide < around + grid.nx / 2:
        x0 -= around * (
            (x0 + wide - grid.nx / 2) > around / 2
        )  # a little west of a regional grid is not far east of it
    return x0, x0 + wide, float(y.min()), float(y.max())


def grown(rectangle: Rectangle, cells: float) -> Rectangle:
    """Return a rectangle with *cells* more on each side."""
    x0, x1, y0, y1 = rectangle
    return x0 - cells, x1 + cells, y0 - cells, y1 + cells


def union(*rectangles: Rectangle) -> Rectangle:
    """Return the rectangle that holds several."""
    x0, x1, y0, y1 = zip(*rectangles, strict=True)
    return min(x0), max(x1), min(y0), max(y1)


def window_of(grid: ArlGrid, rectangle: Rectangle, cells_needed: int, *, may_grow: bool) -> Window:
    """Return the columns and rows of *grid* that hold a rectangle, as far as the grid reaches.

    Parameters
    ----------
    grid : arlmet.Grid
        The grid.
    rectangle : tuple of float
        What is needed.
    cells_needed : int
        Cells an ARL file has at least, since its index record must fit into a record.
    may_grow : bool
        Whether a smaller window is enlarged to that, or is an error.

    Raises
    ------
    MeteorologyError
        If the grid does not reach the rectangle, or the window is too small.
    """
    for more in range(max(grid.nx, grid.ny)):
        x0, x1, y0, y1 = _clamped(grid, grown(rectangle, more))
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise MeteorologyError("the meteorology's grid does not reach the scene: choose another source")
        if (x1 - x0) * (y1 - y0) >= cells_needed or (x1 - x0, y1 - y0) == (grid.nx, grid.ny):
            break
        if not may_grow:
            raise MeteorologyError(
                f"a crop of {x1 - x0} x {y1 - y0} cells is too small for an ARL file, whose index record needs "
                f"{cells_needed}: raise meteorology.margin, leave it out, or set crop: false"
            )
    return x0, x1, y0, y1


def _clamped(grid: ArlGrid, rectangle: Rectangle) -> Window:
    x0, x1, y0, y1 = (int(np.floor(v)) if k % 2 == 0 else int(np.ceil(v)) + 1 for k, v in enumerate(rectangle))
    y0, y1 = max(0, y0), min(grid.ny, y1)
    if not grid.wraps_lon:
        return max(0, x0), min(grid.nx, x1), y0, y1
    return (0, grid.nx, y0, y1) if x1 - x0 >= grid.nx else (x0 % grid.nx, x0 % grid.nx + x1 - x0, y0, y1)
