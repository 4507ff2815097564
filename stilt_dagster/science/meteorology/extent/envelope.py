"""How far wind can carry air to a scene's receptors: particles on some levels, followed back through coarse winds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.index import Header
from stilt_dagster.science.meteorology.extent.crop import Rectangle, columns_around, union
from stilt_dagster.science.meteorology.extent.survey import Survey

#: Hours of a step: an air parcel in a jet moves a tenth of a degree a minute.
_STEP = 0.5

#: Particles a side of the receptors' rectangle.
_SIDE = 5

#: Added to the way that air has come, a share of it: for turbulence, changes of level, winds between those looked at.
SPREAD = 0.25

#: Radius of HYSPLIT's Earth, m.
_RADIUS = 6_371_200.0

#: Degrees north or south from which air may come over a pole in a step, and any column may be on its way.
_POLAR = 88.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Winds:
    """Winds along a grid's axes at some levels and hours.

    Attributes
    ----------
    hours : ndarray, shape (times,)
        Since the first time.
    u, v : ndarray, shape (levels, times, y, x)
        m s-1, every *stride* cells.
    stride : int
        Cells from one value to the next.
    header : Header
        A file of the source, for its grid.
    """

    hours: Floats
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    stride: int
    header: Header

    @classmethod
    def of(cls, survey: Survey, n_levels: int) -> Winds | None:
        """Return the winds of a source low, in the middle and at the top of its lowest levels; None if it has none."""
        levels = sorted({max(1, n_levels // 4), max(1, n_levels // 2), max(1, n_levels - 1)})
        u, v = ([survey.fields(level, name) for level in levels] for name in ("UWND", "VWND"))
        pairs = [(a, b) for a, b in zip(u, v, strict=True) if a is not None and b is not None]
        if not pairs:
            return None
        u_kept, v_kept = (np.stack(part) for part in zip(*pairs, strict=True))
        return cls(survey.hours, u_kept, v_kept, survey.stride, survey.header)

    def moved(self, level: int, hour: float, x: Floats, y: Floats, step: float) -> tuple[Floats, Floats]:
        """Return where the air of some places is a step later, in hours, or before one where that is negative.

        Heun's method: it goes at the mean of the winds at both ends.
        """
        first = self._velocity(level, hour, x, y)
        second = self._velocity(level, hour + step, *self._gone(x, y, first * step))
        return self._gone(x, y, (first + second) / 2 * step)

    def _velocity(self, level: int, hour: float, x: Floats, y: Floats) -> Floats:
        """Return the wind at some places: cells an hour; of degrees, radians an hour as vectors in space.

        There north and east of a place near a pole are others than those of a place beyond it.
        """
        u, v = self._wind(level, hour, x, y)
        if not self.header.grid.is_latlon:
            return np.asarray(np.stack([u, v]) * 3.6 / self.header.grid.projection.grid_size)
        lon, lat = self._lonlat(x, y)
        east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)])
        north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
        return np.asarray((u * east + v * north) * 3600 / _RADIUS)

    def _wind(self, level: int, hour: float, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return the wind along each axis at some places, m s-1."""
        k = int(np.clip(np.searchsorted(self.hours, hour) - 1, 0, max(len(self.hours) - 2, 0)))
        later = min(k + 1, len(self.hours) - 1)
        weight = (hour - self.hours[k]) / (self.hours[later] - self.hours[k]) if later > k else 0.0
        at = _Bilinear.of(self.u.shape[-2:], y / self.stride, x / self.stride, wraps=self.header.grid.wraps_lon)

        def wind(winds: NDArray[np.float32]) -> Floats:
            return np.asarray((1 - weight) * at(winds[level, k]) + weight * at(winds[level, later]))

        return wind(self.u), wind(self.v)

    def _gone(self, x: Floats, y: Floats, way: Floats) -> tuple[Floats, Floats]:
        """Return where a way leads from some places; columns go on past the seam."""
        grid = self.header.grid
        if not grid.is_latlon:
            return x + way[0], y + way[1]
        lon, lat = self._lonlat(x, y)
        place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]) + way
        east = np.arctan2(place[1], place[0]) - lon
        north = np.arctan2(place[2], np.hypot(place[0], place[1])) - lat
        east = (east + np.pi) % (2 * np.pi) - np.pi
        return (
            x + np.degrees(east) / grid.projection.tangent_lon,
            y + np.degrees(north) / grid.projection.tangent_lat,
        )

    def _lonlat(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return longitude and latitude of places on a longitude/latitude grid, radians."""
        (west, south), place = self.header.grid.origin, self.header.grid.projection
        return np.radians(west + x * place.tangent_lon), np.radians(south + y * place.tangent_lat)

    def near_pole(self, y: Floats) -> bool:
        """Return whether air of some rows is so near to a pole that it may pass it, on whichever side, in a step."""
        grid = self.header.grid
        return bool(grid.is_latlon and np.abs(self._lonlat(y, y)[1]).max() > np.radians(_POLAR))


@dataclass(frozen=True)
class _Bilinear:
    """Bilinear interpolation of fields at some places; beyond an edge a field goes on as it is there.

    scipy's ``map_coordinates`` does the same, and takes longer to import than all of this takes to run.
    """

    corners: tuple[tuple[NDArray[np.intp], NDArray[np.intp], Floats], ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], y: Floats, x: Floats, *, wraps: bool) -> _Bilinear:
        """Return it for places in fractional rows and columns; a grid around the globe goes on at the other end."""
        ny, nx = shape
        y, x = np.clip(y, 0, ny - 1), x % nx if wraps else np.clip(x, 0, nx - 1)
        row, column = np.floor(y).astype(np.intp), np.minimum(np.floor(x).astype(np.intp), nx - 1)
        above, beside = np.minimum(row + 1, ny - 1), (column + 1) % nx if wraps else np.minimum(column + 1, nx - 1)
        b, a = y - row, x - column
        return cls(
            (
                (row, column, (1 - b) * (1 - a)),
                (row, beside, (1 - b) * a),
                (above, column, b * (1 - a)),
                (above, beside, b * a),
            )
        )

    def __call__(self, field: NDArray[np.float32]) -> Floats:
        """Return a field at the places."""
        return np.asarray(sum(field[row, column] * weight for row, column, weight in self.corners))


def upwind(winds: Winds, receptors: Rectangle, releases: Sequence[float], n_hours: float) -> Rectangle:
    """Return the rectangle that air passes through on its way to the receptors, or from them in a run forward in time.

    Particles from points all over the receptors' rectangle stay on their level: one that changes levels goes at a speed
    in between. A quarter of the way is added for that, and for turbulence.

    Parameters
    ----------
    winds : Winds
        Of the source.
    receptors : tuple of float
        The rectangle of the receptors, grid indices.
    releases : sequence of float
        Hours of releases since the winds' first time.
    n_hours : float
        Length of the runs, negative backward.
    """
    x0, x1, y0, y1 = receptors
    columns, rows = np.meshgrid(np.linspace(x0, x1, _SIDE), np.linspace(y0, y1, _SIDE))
    passed = [receptors]
    for release in releases:
        for level in range(len(winds.u)):
            x, y = columns.ravel(), rows.ravel()
            left, hour = abs(n_hours), release
            while left > 1e-9:
                step = float(np.copysign(min(_STEP, left), n_hours))
                x, y = winds.moved(level, hour, x, y, step)
                left, hour = left - abs(step), hour + step
                passed.append((float(x.min()), float(x.max()), float(y.min()), float(y.max())))
                if winds.near_pole(y):
                    passed.append((x0, x0 + columns_around(winds.header.grid), y0, y1))
    reach = union(*passed)
    return (
        reach[0] - SPREAD * (receptors[0] - reach[0]),
        reach[1] + SPREAD * (reach[1] - receptors[1]),
        reach[2] - SPREAD * (receptors[2] - reach[2]),
        reach[3] + SPREAD * (reach[3] - receptors[3]),
    )


def share_inside(winds: Winds, receptors: Rectangle, releases: Sequence[float], n_hours: float) -> float:
    """Return the share of a run's time that air spends on the grid before it leaves it for good.

    Parameters
    ----------
    winds, receptors, releases, n_hours
        As of :func:`upwind`. The highest of the winds are left out: few particles come there.
    """
    grid = winds.header.grid
    x0, x1, y0, y1 = receptors
    columns, rows = np.meshgrid(np.linspace(x0, x1, _SIDE), np.linspace(y0, y1, _SIDE))
    steps = max(1, round(abs(n_hours) / _STEP))
    step = n_hours / steps
    shares = []
    for release in releases:
        for level in range(max(1, len(winds.u) - 1)):
            x, y = columns.ravel(), rows.ravel()
            inside = np.ones(x.shape, bool)
            for k in range(steps):
                x, y = winds.moved(level, release + k * step, x, y, step)
                inside &= (y >= 0) & (y <= grid.ny - 1) & (grid.wraps_lon | ((x >= 0) & (x <= grid.nx - 1)))
                shares.append(inside.mean())
    return float(np.mean(shares))
