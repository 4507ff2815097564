"""A receptor's particles, minute by minute."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.advection import (
    advect,
    cell,
    level_number,
    on_grid,
    start_height,
    surface_at,
    time_step,
)
from stilt_dagster.science.transport.native.dispersion import (
    HALF_MINUTE,
    disperse,
    fill_bounds,
    flux_depth,
    footprint,
    next_horizontal,
)
from stilt_dagster.science.transport.native.meteorology.levels import level_of, squeeze
from stilt_dagster.science.transport.native.meteorology.mean_wind import MeanWind
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology
from stilt_dagster.science.transport.native.meteorology.projection import cells_per_metre, to_grid, to_lonlat
from stilt_dagster.science.transport.native.meteorology.turbulence import layer_turbulence, mixing_level
from stilt_dagster.science.transport.native.random_numbers import begin_particle, next_normal, next_uniform

#: What is filled in of each particle and minute: by the names of a particle table.
COLUMNS = ("lon", "lat", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr", "zsfc")

#: A minute back in time.
_STEP = -1.0


class Release(NamedTuple):
    """Particles of a receptor, and how they are followed.

    Attributes
    ----------
    lon, lat, height : ndarray of float64, shape (n,)
        Where they start, degrees and m.
    above_sea : bool
        Whether heights are above sea level, and not above ground.
    time : float
        When, minutes since 1970.
    n_minutes : int
        How long.
    veght, tlfrac, hscale : float
        STILT's parameters.
    """

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    height: NDArray[np.float64]
    above_sea: bool
    time: float
    n_minutes: int
    veght: float
    tlfrac: float
    hscale: float


class Column(NamedTuple):
    """The layers of a place at a time; arrays are of one particle after the other.

    Attributes
    ----------
    bound : ndarray, shape (nz,)
        Where layers begin, m above ground.
    sigma_w, timescale, density : ndarray, shape (nz,)
        Of the layers, m s-1, s, kg m-3.
    """

    bound: NDArray[np.float64]
    sigma_w: NDArray[np.float64]
    timescale: NDArray[np.float64]
    density: NDArray[np.float64]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def on_grid_at(met: Meteorology, lon: float, lat: float) -> bool:
    """Return whether a place lies on the meteorology's grid, where particles are followed."""
    x, y = to_grid(met.projection, lon, lat)
    inside: bool = on_grid(met.wind, x, y)
    return inside


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def mixing_height_at(met: Meteorology, t: float, x: float, y: float) -> float:
    """Return the mixing height of the nearest grid point, linear in time, m."""
    s, share = time_step(met.wind.times, t)
    j, i = int(y + 0.5), int(x + 0.5) % met.height.shape[2]
    return float(met.height[s, j, i] + share * (met.height[s + 1, j, i] - met.height[s, j, i]))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fill_column(met: Meteorology, t: float, x: float, y: float, shrink: float, column: Column) -> None:
    """Fill in the layers of the nearest grid point, between two hours.

    Both hours are asked at the same share of their mixing heights, see
    :func:`~stilt_dagster.science.transport.native.meteorology.turbulence.particle_turbulence`.
    """
    s, share = time_step(met.wind.times, t)
    j, i = int(y + 0.5), int(x + 0.5) % met.height.shape[2]
    h0, h1 = met.height[s, j, i], met.height[s + 1, j, i]
    h = h0 + share * (h1 - h0)
    sigma0, sigma1 = met.sigma_w[s, j, i], met.sigma_w[s + 1, j, i]
    timescale0, timescale1 = met.timescale[s, j, i], met.timescale[s + 1, j, i]
    dens0, dens1 = met.dens[s, j, i], met.dens[s + 1, j, i]
    fill_bounds(met.level, shrink, mixing_level(h / shrink, met.level, met.top), column.bound)
    for k in range(met.level.size):
        column.sigma_w[k], column.timescale[k] = layer_turbulence(
            k, met.level, shrink, share, h0, h1, sigma0, sigma1, timescale0, timescale1
        )
        column.density[k] = dens0[k] + share * (dens1[k] - dens0[k])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def level_value(met: Meteorology, field: NDArray[np.float32], t: float, x: float, y: float, k: int) -> float:
    """Return a field on a level, linear in x, y and time."""
    s, share = time_step(met.wind.times, t)
    i, east, fx, j, fy = cell(met.wind, x, y)
    value = 0.0
    for later in range(2):
        south = field[s + later, j, i, k] + fx * (field[s + later, j, east, k] - field[s + later, j, i, k])
        north = field[s + later, j + 1, i, k] + fx * (field[s + later, j + 1, east, k] - field[s + later, j + 1, i, k])
        value += (share if later else 1.0 - share) * (south + fy * (north - south))
    return value


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def value_at(
    met: Meteorology, field: NDArray[np.float32], t: float, x: float, y: float, height: float, shrink: float
) -> float:
    """Return a field at a height above ground, m: linear between levels, that of the lowest one below it."""
    level = met.level
    over = max(height / shrink, level[0])
    k = min(int(level_of(over, level)), level.size - 2)
    below = level_value(met, field, t, x, y, k)
    share = min((over - level[k]) / (level[k + 1] - level[k]), 1.0)
    return float(below + share * (level_value(met, field, t, x, y, k + 1) - below))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def horizontal_sigma(met: Meteorology, t: float, x: float, y: float, z: float) -> float:
    """Return the standard deviation of both horizontal velocities, m s-1, at a level height.

    Both variances together are the vertical velocity's, but of all grid points around and of the levels below and
    above, linear in x, y, time and level number as the mean wind is (found: near the ground of a valley by night
    the turbulence of its slopes spreads particles of still air four times as far as its own).
    """
    s, share = time_step(met.wind.times, t)
    i, east, fx, j, fy = cell(met.wind, x, y)
    k, up = level_number(met.wind, max(z, met.level[0]))
    variance = 0.0
    for later in range(2):
        in_time = share if later else 1.0 - share
        for north in range(2):
            in_row = in_time * (fy if north else 1.0 - fy)
            for side in range(2):
                weight = in_row * (fx if side else 1.0 - fx)
                sigma = met.sigma_w[s + later, j + north, east if side else i]
                variance += weight * ((1.0 - up) * sigma[k] ** 2 + up * sigma[k + 1] ** 2)
    return float(np.sqrt(0.5 * variance))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def footprint_at(
    met: Meteorology,
    field: NDArray[np.float32],
    t: float,
    x: float,
    y: float,
    shrink: float,
    depth: float,
    seconds: float,
    density: NDArray[np.float64],
) -> float:
    """Return ``foot`` of some seconds below *depth*; *field* is what densities it counts.

    *density*, shape ``(nz,)``, is filled in as far as needed.
    """
    for k in range(met.level.size):
        density[k] = level_value(met, field, t, x, y, k)
        if met.level[k] * shrink > depth:
            break
    foot: float = footprint(seconds, depth, met.level, shrink, density)
    return foot


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def wind_of_levels(wind: MeanWind, t: float, x: float, y: float, seconds: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far the mean wind moves a particle, cells.

    *seconds*, shape ``(nz,)``, is how long the wind is that of each level, and is zero afterwards.
    """
    s, share = time_step(wind.times, t)
    i, east, fx, j, fy = cell(wind, x, y)
    u = v = 0.0
    for k in range(seconds.size):
        if seconds[k] == 0.0:
            continue
        minutes = seconds[k] / 60.0
        seconds[k] = 0.0
        for later in range(2):
            in_time = minutes * (share if later else 1.0 - share)
            for north in range(2):
                in_row = in_time * (fy if north else 1.0 - fy)
                for side in range(2):
                    weight = in_row * (fx if side else 1.0 - fx)
                    at = wind.velocity[s + later, j + north, east if side else i, k]
                    u += weight * at[0]
                    v += weight * at[1]
    return u, v


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def follow(
    met: Meteorology, release: Release, words: NDArray[np.uint64], normals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Follow particles back in time.

    Parameters
    ----------
    met : Meteorology
        The meteorology.
    release : Release
        The particles.
    words, normals : ndarray
        The receptor's :class:`~stilt_dagster.science.transport.native.random_numbers.RandomState`.

    Returns
    -------
    rows : ndarray of float64, shape (len(COLUMNS), n, n_minutes)
        Filled in of each particle as long as it was followed.
    kept : ndarray of int64, shape (n,)
        How many minutes that was: fewer than asked for where it left the grid, or the meteorology ends.
    """
    n, nz = release.lon.size, met.level.size
    rows = np.empty((len(COLUMNS), n, release.n_minutes))
    kept = np.zeros(n, np.int64)
    column = Column(np.empty(nz), np.empty(nz), np.empty(nz), np.empty(nz))
    bound, sigma_w, timescale, density = column
    flux_density, seconds, tlfrac = np.empty(nz), np.zeros(nz), release.tlfrac
    limit = met.level[nz - 1]
    n_minutes = min(release.n_minutes, int(release.time - met.wind.times[0]))
    for p in range(n):
        begin_particle(words, p)
        next_uniform(words)  # the place in a column's slab
        t = release.time
        x, y = to_grid(met.projection, release.lon[p], release.lat[p])
        z = start_height(met.wind, met.terrain, met.top, t, x, y, release.height[p], _STEP, release.above_sea)
        velocity, u, v = next_normal(words, normals), 0.0, 0.0
        for minute in range(n_minutes):
            if not on_grid(met.wind, x, y):
                break
            h0 = mixing_height_at(met, t, x, y)
            x1, y1, z, _ = advect(met.wind, t, x, y, z, _STEP)
            t0, t = t, t + _STEP
            h1 = mixing_height_at(met, t, x1, y1)
            terrain = surface_at(met.wind, met.terrain, t, x1, y1)
            shrink = squeeze(terrain, met.top)
            sigma = horizontal_sigma(met, t, x1, y1, z)
            depth0, depth1 = flux_depth(release.veght, h0), flux_depth(release.veght, h1)
            fill_column(met, t0, x, y, shrink, column)
            first = disperse(
                z * shrink, velocity, HALF_MINUTE, tlfrac, depth0, bound, sigma_w, timescale, density, met.level,
                shrink, seconds, words, normals,
            )  # fmt: skip
            u0, v0 = wind_of_levels(met.wind, t0, x, y, seconds)
            fill_column(met, t, x1, y1, shrink, column)
            second = disperse(
                first.height, first.velocity, HALF_MINUTE, tlfrac, depth1, bound, sigma_w, timescale, density,
                met.level, shrink, seconds, words, normals,
            )  # fmt: skip
            u1, v1 = wind_of_levels(met.wind, t, x1, y1, seconds)
            samt = (first.inside + second.inside) / 60.0
            foot = 0.0
            if first.inside:
                foot = footprint_at(met, met.dens, t0, x, y, shrink, depth0, first.inside, flux_density)
            if second.inside:
                foot += footprint_at(met, met.second_half_dens, t, x1, y1, shrink, depth1, second.inside, flux_density)
            x += _STEP * (u0 + u1)
            y += _STEP * (v0 + v1)
            height, velocity, layer = min(second.height, limit * shrink), second.velocity, second.layer
            z = height / shrink
            rows[5, p, minute] = value_at(met, met.dens, t, x, y, height, shrink)
            if minute:
                u = next_horizontal(u, sigma, 60.0, release.hscale, next_normal(words, normals))
                v = next_horizontal(v, sigma, 60.0, release.hscale, next_normal(words, normals))
            else:
                u, v = sigma * next_normal(words, normals), sigma * next_normal(words, normals)
            along_x, along_y = cells_per_metre(met.projection, x, y)
            x += 60.0 * along_x * u
            y += 60.0 * along_y * v
            rows[0, p, minute], rows[1, p, minute] = to_lonlat(met.projection, x, y)
            rows[2, p, minute] = height
            rows[3, p, minute] = foot
            rows[4, p, minute] = 0.5 * (h0 + h1)
            rows[6, p, minute] = samt
            rows[7, p, minute] = sigma_w[layer]
            rows[8, p, minute] = timescale[layer]
            rows[9, p, minute] = terrain
            kept[p] = minute + 1
    return rows, kept
