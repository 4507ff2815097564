"""Grid coordinates of meteorology: of a place, back to it, and the scale of the map.

As ARL index records define projections, on HYSPLIT's sphere. Places that hycs_std prints agree to the last digit, 1e-4
degrees, on latitudes and longitudes, Mercator, Lambert conformal and stereographic maps of both hemispheres. Grid
coordinates count from 0, the first column and row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.compiled import compiled

#: HYSPLIT's earth, m.
EARTH_RADIUS = 6371200.0

#: Kinds of projections: degrees, Mercator, a cone (Lambert conformal; polar stereographic is its flattest one).
LATLON, MERCATOR, CONE = 0, 1, 2

_DEGREE = math.pi / 180.0

#: Cells from a cone's pole that its map's scale is taken at, at least.
_LEAST_RHO = 1e-9


class MapProjection(NamedTuple):
    """How longitude and latitude become grid coordinates.

    Attributes
    ----------
    kind : int
        ``LATLON``, ``MERCATOR`` or ``CONE``.
    n : float
        Sine of the cone's angle, positive.
    hemisphere : float
        1 if the cone opens to the south, over the north pole; -1 if it stands over the south pole.
    lon0, lat0 : float
        Longitude and latitude of the first point (``LATLON``), or the central meridian, degrees.
    scale : float
        Cells from the pole of a cone at ``t = 1``; a radian of longitude in cells (``MERCATOR``).
    x0, y0 : float
        Grid coordinates of the pole (``CONE``), or of the central meridian and the equator (``MERCATOR``).
    dlon, dlat : float
        Degrees a cell (``LATLON``).
    around_globe : bool
        Whether the last column lies beside the first.
    """

    kind: int
    n: float
    hemisphere: float
    lon0: float
    lat0: float
    scale: float
    x0: float
    y0: float
    dlon: float
    dlat: float
    around_globe: bool


def map_projection(constants: Sequence[float] | NDArray[np.float64], nx: int) -> MapProjection:
    """Return how places become grid coordinates: on latitudes and longitudes, Mercator, Lambert and stereographic maps.

    Parameters
    ----------
    constants : sequence of float
        As in an ARL index record: pole latitude and longitude, tangent latitude and longitude, grid size (km; 0 of
        latitudes and longitudes), orientation, cone angle, synchronisation point x, y (from 1), latitude, longitude.
    nx : int
        Columns of the grid.
    """
    _, _, tangent_lat, tangent_lon, size, _, angle, sync_x, sync_y, sync_lat, sync_lon = (float(c) for c in constants)
    if not size:
        around = abs(nx * tangent_lon - 360.0) < 1e-3 * tangent_lon
        return MapProjection(LATLON, 0.0, 1.0, sync_lon, sync_lat, 1.0, 0.0, 0.0, tangent_lon, tangent_lat, around)
    hemisphere = -1.0 if angle < 0 else 1.0
    n = abs(math.sin(angle * _DEGREE))
    reference = hemisphere * tangent_lat * _DEGREE
    scale = EARTH_RADIUS / (1000.0 * size) * math.cos(reference)
    if n:
        scale *= _distance_factor(reference) ** -n / n
    there = MapProjection(CONE if n else MERCATOR, n, hemisphere, tangent_lon, 0.0, scale, 0.0, 0.0, 1.0, 1.0, False)
    x, y = to_grid(there, sync_lon, sync_lat)
    return there._replace(x0=sync_x - 1.0 - x, y0=sync_y - 1.0 - y)


@compiled
def _distance_factor(latitude: float) -> float:
    """Return ``tan(pi/4 - latitude/2)``, the distance from the pole on a stereographic map; latitude in radians."""
    return math.cos(latitude) / (1.0 + math.sin(latitude))


@compiled
def to_grid(p: MapProjection, lon: float, lat: float) -> tuple[float, float]:
    """Return the grid coordinates of a place in degrees; of one not on the grid they lie beyond it."""
    if p.kind == LATLON:
        return (lon - p.lon0) % 360.0 / p.dlon, (lat - p.lat0) / p.dlat
    east = ((lon - p.lon0 + 180.0) % 360.0 - 180.0) * _DEGREE
    phi = p.hemisphere * lat * _DEGREE
    if p.kind == MERCATOR:
        return p.x0 + p.scale * east, p.y0 - p.scale * math.log(_distance_factor(phi))
    rho = p.scale * _distance_factor(phi) ** p.n
    return p.x0 + rho * math.sin(p.n * east), p.y0 - p.hemisphere * rho * math.cos(p.n * east)


@compiled
def to_lonlat(p: MapProjection, x: float, y: float) -> tuple[float, float]:
    """Return longitude (-180 to 180) and latitude of grid coordinates, degrees."""
    if p.kind == LATLON:
        return (p.lon0 + x * p.dlon + 180.0) % 360.0 - 180.0, p.lat0 + y * p.dlat
    if p.kind == MERCATOR:
        east, t = (x - p.x0) / p.scale, math.exp((p.y0 - y) / p.scale)
    else:
        dx, dy = x - p.x0, p.hemisphere * (p.y0 - y)
        east, t = math.atan2(dx, dy) / p.n, (math.hypot(dx, dy) / p.scale) ** (1.0 / p.n)
    lat = p.hemisphere * (90.0 - 2.0 * math.atan(t) / _DEGREE)
    return (p.lon0 + east / _DEGREE + 180.0) % 360.0 - 180.0, lat


@compiled
def cells_per_metre(p: MapProjection, x: float, y: float) -> tuple[float, float]:
    """Return the map's scale at a point of the grid, cells a metre along x and y.

    At a pole, on latitudes and longitudes, it is that of a place a quarter of a cell off it, as hycs_std has it.
    """
    if p.kind == LATLON:
        lat = p.lat0 + y * p.dlat
        if abs(lat) > 90.0 - 0.01 * p.dlat:
            lat = 90.0 - 0.25 * p.dlat
        metres = EARTH_RADIUS * _DEGREE
        return 1.0 / (metres * math.cos(lat * _DEGREE) * p.dlon), 1.0 / (metres * p.dlat)
    # Of tan(pi/4 - lat/2) = t the cosine of the latitude is 2 t / (1 + t^2).
    if p.kind == MERCATOR:
        t, around = math.exp((p.y0 - y) / p.scale), p.scale
    else:
        rho = max(math.hypot(x - p.x0, y - p.y0), _LEAST_RHO)
        t, around = (rho / p.scale) ** (1.0 / p.n), p.n * rho
    scale = around * (1.0 + t * t) / (2.0 * EARTH_RADIUS * t)
    return scale, scale
