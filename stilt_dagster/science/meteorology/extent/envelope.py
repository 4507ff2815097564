"""How far wind can carry air to a scene's receptors: particles on some levels, followed back through coarse winds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.index import Header
from stilt_dagster.science.meteorology.extent.crop import Rectangle, union
from stilt_dagster.science.meteorology.extent.survey import Survey

#: Hours of a step: an air parcel in a jet moves a tenth of a degree a minute.
_STEP = 0.5

#: Particles a side of the receptors' rectangle.
_SIDE = 5

#: Added to the way that air has come, a share of it: for turbulence, changes of level, winds between those looked at.
SPREAD = 0.25

#: Metres of a degree of latitude.
_DEGREE = 111_195.0

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

    def cells_an_hour(self, level: int, hour: float, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return how many cells air moves in an hour, along each axis, at some places."""
        k = int(np.clip(np.searchsorted(self.hours, hour) - 1, 0, max(len(self.hours) - 2, 0)))
        later = min(k + 1, len(self.hours) - 1)
        weight = (hour - self.hours[k]) / (self.hours[later] - self.hours[k]) if later > k else 0.0
        at = _Bilinear.of(self.u.shape[-2:], y / self.stride, x / self.stride, wraps=self.header.grid.wraps_lon)

        def wind(winds: NDArray[np.float32]) -> Floats:
            return (1 - weight) * at(winds[level, k]) + weight * at(winds[level, later])

        dx, dy = self._cell(y)
        return wind(self.u) * 3600 / dx, wind(self.v) * 3600 / dy

    def _cell(self, y: Floats) -> tuple[Floats, float]:
        """Return the size of a cell, m; at a pole a column has none, and any wind crosses all of them."""
        place = self.header.grid.projection
        if not self.header.grid.is_latlon:
            return np.full_like(y, place.grid_size * 1000), place.grid_size * 1000
        south = self.header.grid.origin[1]
        narrowed = np.maximum(np.cos(np.radians(south + y * place.tangent_lat)), 0.02)
        return abs(place.tangent_lon) * _DEGREE * narrowed, abs(place.tangent_lat) * _DEGREE


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
                u, v = winds.cells_an_hour(level, hour, x, y)
                # Heun's method: the mean of the winds at both ends of a step.
                u2, v2 = winds.cells_an_hour(level, hour + step, x + u * step, y + v * step)
                x, y = x + (u + u2) / 2 * step, y + (v + v2) / 2 * step
                left, hour = left - abs(step), hour + step
                passed.append((float(x.min()), float(x.max()), float(y.min()), float(y.max())))
    reach = union(*passed)
    return (
        reach[0] - SPREAD * (receptors[0] - reach[0]),
        reach[1] + SPREAD * (reach[1] - receptors[1]),
        reach[2] - SPREAD * (receptors[2] - reach[2]),
        reach[3] + SPREAD * (reach[3] - receptors[3]),
    )
