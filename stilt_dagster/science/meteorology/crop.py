"""Which part of a meteorology grid a scene keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from stilt_dagster.science.errors import MeteorologyError

#: A longitude/latitude box ``(west, south, east, north)``, degrees; west over east crosses the antimeridian.
Box = tuple[float, float, float, float]

#: The first and the last but one column and row that are kept: ``(x0, x1, y0, y1)``.
Window = tuple[int, int, int, int]

#: A grid as arlmet has it.
ArlGrid = Any


def crop_window(grid: ArlGrid, box: Box, cells_needed: int, margin: float | None) -> Window:
    """Return the part of *grid* that holds the projected perimeter of *box* and a margin.

    On a projected grid the box's sides are curves: two corners alone would cut the others off. Without a given margin
    it is half a degree and three cells, and as much more as the file's index record needs room for.
    """
    west, south, east, north = box
    east = east + 360 if east < west else east
    pad = 0.5 if margin is None else margin
    along = np.linspace(0, 1, 101)
    w, e, s, n = west - pad, east + pad, max(south - pad, -90), min(north + pad, 90)
    lon = np.concatenate([w + (e - w) * along, w + (e - w) * along, np.full(101, w), np.full(101, e)])
    lat = np.concatenate([np.full(101, s), np.full(101, n), s + (n - s) * along, s + (n - s) * along])
    if grid.is_latlon:
        return _latlon_window(grid, (w, s, e, n), cells_needed, margin)
    x, y = grid.fractional_indices((lon + 180) % 360 - 180, lat)
    grow = 3 if margin is None else 1
    while True:
        x0, x1 = max(0, int(np.floor(x.min())) - grow), min(grid.nx, int(np.ceil(x.max())) + grow + 1)
        y0, y1 = max(0, int(np.floor(y.min())) - grow), min(grid.ny, int(np.ceil(y.max())) + grow + 1)
        if x1 <= x0 or y1 <= y0:
            raise MeteorologyError(f"the meteorology's grid does not reach the box {box}: choose another source")
        if (x1 - x0) * (y1 - y0) >= cells_needed or (x1 - x0, y1 - y0) == (grid.nx, grid.ny):
            return (x0, x1, y0, y1)
        if margin is not None:
            raise _too_small(x1 - x0, y1 - y0, cells_needed)
        grow += 1


def _too_small(nx: int, ny: int, cells_needed: int) -> MeteorologyError:
    return MeteorologyError(
        f"a crop of {nx} x {ny} cells is too small for an ARL file, whose index record needs {cells_needed}: "
        "raise meteorology.margin, leave it out, or set crop: false"
    )


def _latlon_window(grid: ArlGrid, box: Box, cells_needed: int, margin: float | None) -> Window:
    """Return the part of a longitude/latitude grid that holds *box*, whichever seam it crosses."""
    w, s, e, n = box
    dx, dy = abs(grid.projection.tangent_lon), abs(grid.projection.tangent_lat)
    grow = 3.0 if margin is None else 1.0
    while True:
        west, east = w - grow * dx, e + grow * dx
        south, north = max(-90.0, s - grow * dy), min(90.0, n + grow * dy)
        x, _ = grid.fractional_indices(np.array([(w + 180) % 360 - 180]), np.array([max(min(s, 90), -90)]))
        lon0 = float(x[0]) - (w - west) / dx
        x0, width = int(np.floor(lon0)), int(np.ceil((east - west) / dx)) + 1
        origin = grid.fractional_indices(np.array([0.0]), np.array([south]))[1][0]
        y0 = max(0, int(np.floor(origin)))
        y1 = min(grid.ny, int(np.ceil(origin + (north - south) / dy)) + 1)
        if grid.wraps_lon:
            x0, width = (0, grid.nx) if width >= grid.nx else (x0 % grid.nx, width)
        else:
            stop = min(grid.nx, x0 + width)
            x0 = max(0, x0)
            width = stop - x0
        if width <= 0 or y1 <= y0:
            raise MeteorologyError(f"the meteorology's grid does not reach the box {box}: choose another source")
        if width * (y1 - y0) >= cells_needed or (width, y1 - y0) == (grid.nx, grid.ny):
            return (x0, x0 + width, y0, y1)
        if margin is not None:
            raise _too_small(width, y1 - y0, cells_needed)
        grow += 1
