"""Grids of ARL files: where their points are, a part of one, a new one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from arlmet import Grid, GridWindow, Projection
from numpy.typing import NDArray

#: A longitude/latitude box ``(west, south, east, north)``, degrees; west over east crosses the antimeridian.
Box = tuple[float, float, float, float]

#: The first and the last but one column and row of a part: ``(x0, x1, y0, y1)``. On a grid around the globe a column
#: may lie beyond the last one, where the part crosses the seam.
Window = tuple[int, int, int, int]


def subset(grid: Grid, window: Window) -> Grid:
    """Return a part of a grid, its cells where they were."""
    x0, x1, y0, y1 = window
    return readable(grid.subset(GridWindow(x_start=x0, x_stop=x1, y_start=y0, y_stop=y1)))


def readable(grid: Grid) -> Grid:
    """Return a grid in longitudes that hycs_std reads: where all are negative, it finds no place on the grid."""
    place = grid.projection
    if not grid.is_latlon or place.sync_lon >= 0 or place.pole_lon >= 0:
        return grid
    return replace(grid, projection=replace(place, sync_lon=place.sync_lon + 360, pole_lon=place.pole_lon + 360))


def lambert(bbox: Box, spacing_km: float) -> Grid:
    """Return a Lambert conformal grid on HRRR's cone (38.5 N, 97.5 W) that covers a box."""
    from pyproj import CRS, Transformer

    west, south, east, north = bbox
    crs = CRS.from_user_input("+proj=lcc +lat_1=38.5 +lat_0=38.5 +lon_0=262.5 +R=6371200 +units=m")
    to_grid = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    along = np.linspace(0, 1, 21)
    lon = np.concatenate([west + (east - west) * along] * 2 + [np.full(21, west), np.full(21, east)])
    lat = np.concatenate([np.full(21, south), np.full(21, north)] + [south + (north - south) * along] * 2)
    x, y = to_grid.transform(lon, lat)
    lon0, lat0 = to_grid.transform(x.min(), y.min(), direction="INVERSE")
    step = spacing_km * 1000
    return Grid(
        Projection(
            pole_lat=90.0,
            pole_lon=0.0,
            tangent_lat=38.5,
            tangent_lon=262.5,
            grid_size=float(spacing_km),
            orientation=0.0,
            cone_angle=38.5,
            sync_x=1.0,
            sync_y=1.0,
            # An index record has seven characters a value: rounded, so that writer and reader agree.
            sync_lat=round(float(lat0), 4),
            sync_lon=round(float(lon0), 3),
        ),
        nx=int(np.ceil((x.max() - x.min()) / step)) + 1,
        ny=int(np.ceil((y.max() - y.min()) / step)) + 1,
    )


def grid_lonlat(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude (-180 to 180) and latitude of every grid point, shape ``(ny, nx)``."""
    coords = grid.calculate_coords()
    lon, lat = np.asarray(coords["lon"][1]), np.asarray(coords["lat"][1])
    if lon.ndim == 1:
        lon, lat = np.meshgrid(lon, lat)
    return (lon + 180) % 360 - 180, lat


def grid_box(grid: Grid) -> Box:
    """Return the box of a grid's points; of one around the globe it ends at the last column, -180 to 179 of 360."""
    lon, lat = grid_lonlat(grid)
    east_of_greenwich = lon % 360
    if np.ptp(east_of_greenwich) < np.ptp(lon):  # across the antimeridian
        lon = east_of_greenwich
    west, east = ((float(v) + 180) % 360 - 180 for v in (lon.min(), lon.max()))
    return west, float(lat.min()), east, float(lat.max())
