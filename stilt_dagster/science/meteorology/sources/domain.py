"""Where an archive has meteorology: whether a longitude/latitude box lies inside it.

A projected grid is no box in degrees: sides of a box are curves on it. A box is tested by points along its sides, which
are enough: where they all lie on a grid that neither holds a pole nor goes round the globe, so does what is between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

#: Radius of the sphere that HYSPLIT and NOAA's ARL files are on, km.
EARTH_RADIUS = 6371.2

#: Cells left free along the edges: HYSPLIT interpolates between a particle's neighbours.
_MARGIN = 3

#: Points along each side of a box, but its last; and degrees between points inside of it.
_ALONG, _APART = 100, 1.0

#: A point that is outside, degrees: ``(longitude, latitude)``.
Point = tuple[float, float]


class Domain(Protocol):
    """What an archive covers.

    Attributes
    ----------
    title : str
        What messages and the manual call it.
    """

    @property
    def title(self) -> str:
        """What messages and the manual call it."""

    def contains(self, longitude: float, latitude: float) -> bool:
        """Return whether a point lies inside, a few cells from the edge at least."""


@dataclass(frozen=True)
class Globe:
    """All of it."""

    title: str = "global"

    def contains(self, longitude: float, latitude: float) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class LonLatBox:
    """A part of the globe between meridians and parallels.

    Attributes
    ----------
    title : str
        What messages and the manual call it.
    west, south, east, north : float
        Its edges, degrees; west over east crosses the antimeridian.
    """

    title: str
    west: float
    south: float
    east: float
    north: float

    def contains(self, longitude: float, latitude: float) -> bool:
        """Return whether a point lies inside."""
        eastward = (longitude - self.west) % 360
        return eastward <= (self.east - self.west) % 360 and self.south <= latitude <= self.north


@dataclass(frozen=True)
class Lambert:
    """A grid on a Lambert conformal conic projection with one standard parallel, of a sphere.

    Attributes
    ----------
    title : str
        What messages and the manual call it.
    nx, ny : int
        Grid points from west to east and from south to north.
    spacing : float
        Distance between them at the standard parallel, km.
    parallel : float
        The standard parallel, degrees north.
    orientation : float
        The meridian that is parallel to the columns, degrees east.
    corner : (float, float)
        Longitude and latitude of the first point, in the south-west, degrees.
    """

    title: str
    nx: int
    ny: int
    spacing: float
    parallel: float
    orientation: float
    corner: Point

    def contains(self, longitude: float, latitude: float) -> bool:
        """Return whether a point lies inside, three cells from the edge at least."""
        if latitude <= -89.9:  # the projection has no south pole
            return False
        i, j = self.indices(longitude, latitude)
        return _MARGIN <= i <= self.nx - 1 - _MARGIN and _MARGIN <= j <= self.ny - 1 - _MARGIN

    def indices(self, longitude: float, latitude: float) -> tuple[float, float]:
        """Return where a point is on the grid, in cells east and north of the first point."""
        (x0, y0), (x, y) = self._project(*self.corner), self._project(longitude, latitude)
        return (x - x0) / self.spacing, (y - y0) / self.spacing

    def _project(self, longitude: float, latitude: float) -> tuple[float, float]:
        """Return a point's place on the plane, km.

        Snyder (1987), Map Projections: A Working Manual, USGS Professional Paper 1395: equations 14-1, 14-2, 14-4 and
        15-1 to 15-2, where n is the sine of the only standard parallel.
        """
        phi1, phi = math.radians(self.parallel), math.radians(latitude)
        n = math.sin(phi1)
        f = math.cos(phi1) * math.tan(math.pi / 4 + phi1 / 2) ** n / n
        rho = EARTH_RADIUS * f / max(math.tan(math.pi / 4 + phi / 2), 1e-12) ** n
        theta = n * math.radians((longitude - self.orientation + 180) % 360 - 180)
        return rho * math.sin(theta), -rho * math.cos(theta)


def outside(domain: Domain, west: float, south: float, east: float, north: float) -> Point | None:
    """Return a point of a box's sides that lies outside a domain, or None where it covers the box.

    Parameters
    ----------
    domain : Domain
        The domain.
    west, south, east, north : float
        The box, degrees; west over east crosses the antimeridian.
    """
    width = _width(west, east)
    for k in range(_ALONG + 1):
        lon, lat = west + width * k / _ALONG, south + (north - south) * k / _ALONG
        for point in ((lon, south), (lon, north), (west, lat), (west + width, lat)):
            if not domain.contains(*point):
                return (point[0] + 180) % 360 - 180, point[1]
    return None


def reaches(domain: Domain, west: float, south: float, east: float, north: float) -> bool:
    """Return whether any part of a box, to a degree, lies inside a domain; the box as in :func:`outside`."""
    return any(domain.contains(*point) for point in _inside(west, south, east, north))


def _inside(west: float, south: float, east: float, north: float) -> Iterator[Point]:
    """Yield points of a box, a degree or less apart, its sides included."""
    width = _width(west, east)
    nx, ny = max(10, math.ceil(width / _APART)), max(10, math.ceil((north - south) / _APART))
    for j in range(ny + 1):
        for i in range(nx + 1):
            yield west + width * i / nx, south + (north - south) * j / ny


def _width(west: float, east: float) -> float:
    return east - west if east >= west else east - west + 360
