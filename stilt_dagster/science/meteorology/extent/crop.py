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

#: Kilometres of a degree of latitude.
KM_A_DEGREE = 111.2

#: Points along each side of a box. On a projected grid its sides are curves: two corners alone cut the others off.
_ALONG = np.linspace(0, 1, 101)


#: Latitudes that every projection has, degrees north and south; and cells beyond which a place is nowhere near a grid.
_PROJECTED, _NOWHERE = 89.9, 1e6


def rectangle_of(grid: ArlGrid, box: Box, margin: float = 0.0) -> Rectangle:
    """Return the rectangle of *grid* that holds the perimeter of *box* and *margin* degrees around it."""
    west, south, east, north = box
    width = (360.0 if east - west >= 360 else (east - west) % 360) + 2 * margin
    west, south, north = west - margin, south - margin, north + margin
    if margin and max(north, -south) > 90:  # over a pole, and down on its other side
        width, south, north = 360.0, min(south, 180 - north), max(north, -180 - south)
    south, north = max(south, -90.0), min(north, 90.0)
    if grid.is_latlon:
        return _latlon_rectangle(grid, west, min(width, 360.0), south, north)
    lon = west + width * np.concatenate([_ALONG, _ALONG, np.zeros(101), np.ones(101)])
    lat = south + (north - south) * np.concatenate([np.zeros(101), np.ones(101), _ALONG, _ALONG])
    x, y = grid.fractional_indices((lon + 180) % 360 - 180, np.clip(lat, -_PROJECTED, _PROJECTED))
    x, y = np.clip(x, -_NOWHERE, _NOWHERE), np.clip(y, -_NOWHERE, _NOWHERE)
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def _latlon_rectangle(grid: ArlGrid, west: float, width: float, south: float, north: float) -> Rectangle:
    turn = columns_around(grid)
    x, y = grid.fractional_indices(np.full(2, (west + 180) % 360 - 180), np.array([south, north]))
    x0, wide = float(x[0]), width * turn / 360
    x1 = x0 + wide
    if not grid.wraps_lon:
        # A little west of a regional grid is not far east of it; a box around the globe may have both of its ends.
        here, before = (min(x0 + wide - k, grid.nx - 1) - max(x0 - k, 0) for k in (0, turn))
        if before > here:
            x0 -= turn
            x1 = x1 if here > 0 else x0 + wide
        elif before > 0:
            x0 -= turn
    return x0, x1, float(y.min()), float(y.max())


def columns_around(grid: ArlGrid) -> float:
    """Return how many columns of a longitude/latitude grid go around the globe."""
    return float(360 / abs(grid.projection.tangent_lon))


def turned(grid: ArlGrid, rectangle: Rectangle, onto: Rectangle) -> Rectangle:
    """Return a rectangle as many turns around the globe away as bring it to another one's side of the seam."""
    if not grid.is_latlon:
        return rectangle
    turn = columns_around(grid)
    x0, x1, y0, y1 = rectangle
    away = turn * round((onto[0] + onto[1] - x0 - x1) / 2 / turn)
    return x0 + away, x1 + away, y0, y1


def widened(grid: ArlGrid, rectangle: Rectangle, km: float, cells: float = 0.0) -> Rectangle:
    """Return a rectangle with so many kilometres, and cells at least, more on each side.

    On a longitude/latitude grid these are more columns towards the poles. What reaches over a pole comes down on its
    other side, and has every column.
    """
    place = grid.projection
    if not grid.is_latlon:
        return grown(rectangle, max(km / place.grid_size, cells))
    x0, x1, y0, y1 = rectangle
    more = max(km / (KM_A_DEGREE * abs(place.tangent_lat)), cells)
    y0, y1 = y0 - more, y1 + more
    south_pole, north_pole = ((pole - grid.origin[1]) / place.tangent_lat for pole in (-90, 90))
    turn = columns_around(grid)
    if y0 <= south_pole or y1 >= north_pole:
        return x0, x0 + turn, min(y0, 2 * north_pole - y1), max(y1, 2 * south_pole - y0)
    narrowed = min(np.cos(np.radians(grid.origin[1] + y * place.tangent_lat)) for y in (y0, y1))
    more = min(max(km / (KM_A_DEGREE * abs(place.tangent_lon) * narrowed), cells), turn / 2)
    return x0 - more, x1 + more, y0, y1


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
