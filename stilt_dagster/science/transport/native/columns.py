"""The air of a place: layers of its column, and values at heights in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.advection import Place
from stilt_dagster.science.transport.native.compiled import compiled
from stilt_dagster.science.transport.native.meteorology.mean_wind import MeanWind
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology
from stilt_dagster.science.transport.native.meteorology.turbulence import (
    mixing_level,
    nearest_level,
    turbulence_above,
)

#: Depth of the layer over the mixed layer's top level, as a share of the distance of the levels.
THIN_LAYER = 0.05


class Column(NamedTuple):
    """The column of the nearest grid point, between two hours; its layers are worked out as they are asked for.

    Attributes
    ----------
    step, j, i : int
        The hour before, row and column of the grid point.
    share : float
        How far it is to the next hour: 0 to 1.
    before, after, height : float
        Mixing heights of the two hours, and between them, m above ground.
    shrink : float
        What levels are lowered by over terrain, :func:`~.meteorology.levels.squeeze`.
    mixed : int
        The mixed layer's top level, :func:`~.meteorology.turbulence.mixing_level`.
    """

    step: int
    j: int
    i: int
    share: float
    before: float
    after: float
    height: float
    shrink: float
    mixed: int


class Layer(NamedTuple):
    """A layer of a column.

    Attributes
    ----------
    sigma_w : float
        Standard deviation of the vertical velocity, m s-1.
    timescale : float
        Its Lagrangian timescale, s.
    density : float
        Density of dry air, kg m-3.
    """

    sigma_w: float
    timescale: float
    density: float


@compiled
def column_at(met: Meteorology, here: Place, shrink: float) -> Column:
    """Return the column of a place over terrain of a :func:`~.meteorology.levels.squeeze`."""
    before, after = met.height[here.step, here.j, here.i], met.height[here.step + 1, here.j, here.i]
    height = before + here.share * (after - before)
    mixed = mixing_level(height / shrink, met.level, met.top)
    return Column(here.step, here.j, here.i, here.share, before, after, height, shrink, mixed)


@compiled
def bound(level: NDArray[np.float64], column: Column, k: int) -> float:
    """Return where layer *k* of a column begins, m above ground; the last has no end, where the next begins.

    It is the layer's level, the ground for the lowest. But the one that begins at the top of the mixed layer is thin: a
    twentieth of the way to the next level, where the next layer begins (found).
    """
    if k <= 0:
        return 0.0
    if k >= level.size:
        return np.inf
    if k == column.mixed + 1:
        return float((level[k - 1] + THIN_LAYER * (level[k] - level[k - 1])) * column.shrink)
    return float(level[k] * column.shrink)


@compiled
def layer_at(level: NDArray[np.float64], column: Column, height: float, near: int) -> int:
    """Return the layer of a height above ground, m; at a bound the lower one (found). The search begins *near* it."""
    k = near
    while k > 0 and height <= bound(level, column, k):
        k -= 1
    while height > bound(level, column, k + 1):
        k += 1
    return k


@compiled
def _turbulence(met: Meteorology, column: Column, step: int, height: float, near: int) -> tuple[float, float]:
    """Return ``sigw``, m s-1, and ``tlgr``, s, of an hour at a height over :func:`squeeze`, m."""
    k = nearest_level(height, met.level, near)
    if k == met.level.size:
        sigma, timescale = turbulence_above(height, met.level, column.shrink)
        return sigma, timescale
    return met.sigma_w[step, column.j, column.i, k], met.timescale[step, column.j, column.i, k]


@compiled
def layer(met: Meteorology, column: Column, k: int) -> Layer:
    """Return layer *k* of a column (fitted).

    Both hours are asked at the same share of their mixing heights, as in STILT (Lin et al. 2003): at the level nearest
    to the layer's own times the hour's mixing height over that of the moment.
    """
    s, j, i, share = column.step, column.j, column.i, column.share
    sigma0, timescale0 = _turbulence(met, column, s, met.level[k] * column.before / column.height, k)
    sigma1, timescale1 = _turbulence(met, column, s + 1, met.level[k] * column.after / column.height, k)
    density0, density1 = met.dens[s, j, i, k], met.dens[s + 1, j, i, k]
    return Layer(
        sigma0 + share * (sigma1 - sigma0),
        timescale0 + share * (timescale1 - timescale0),
        density0 + share * (density1 - density0),
    )


@compiled
def level_value(field: NDArray[np.float32], here: Place, k: int) -> float:
    """Return a field on a level, linear in x, y and time."""
    value = 0.0
    j, west, east = here.south, here.west, here.east
    for later in range(2):
        s = here.step + later
        south = field[s, j, west, k] + here.along * (field[s, j, east, k] - field[s, j, west, k])
        north = field[s, j + 1, west, k] + here.along * (field[s, j + 1, east, k] - field[s, j + 1, west, k])
        value += (here.share if later else 1.0 - here.share) * (south + here.up * (north - south))
    return value


@compiled
def value_at(level: NDArray[np.float64], field: NDArray[np.float32], here: Place, over: float) -> float:
    """Return a field at a height over :func:`squeeze`, m: linear between levels, that of the lowest one below it."""
    k = 0
    while k < level.size - 2 and over >= level[k + 1]:
        k += 1
    below = level_value(field, here, k)
    share = min(max(over - level[k], 0.0) / (level[k + 1] - level[k]), 1.0)
    return float(below + share * (level_value(field, here, k + 1) - below))


@compiled
def wind_of_levels(
    wind: MeanWind, here: Place, seconds: NDArray[np.float64], lowest: int, highest: int
) -> tuple[float, float]:
    """Return how far the mean wind moves a particle, cells.

    *seconds*, shape ``(nz,)``, is how long the wind is that of each level, none outside *lowest* to *highest*, and is
    zero afterwards.
    """
    u = v = 0.0
    for k in range(lowest, highest + 1):
        if seconds[k] == 0.0:
            continue
        minutes = seconds[k] / 60.0
        seconds[k] = 0.0
        for later in range(2):
            in_time = minutes * (here.share if later else 1.0 - here.share)
            for north in range(2):
                in_row = in_time * (here.up if north else 1.0 - here.up)
                for side in range(2):
                    weight = in_row * (here.along if side else 1.0 - here.along)
                    s, j, i = here.step + later, here.south + north, here.east if side else here.west
                    u += weight * wind.velocity[s, j, i, k, 0]
                    v += weight * wind.velocity[s, j, i, k, 1]
    return u, v
