"""A receptor's particles, minute by minute."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.native.advection import (
    Place,
    advect,
    on_grid,
    place_at,
    start_height,
    surface_at,
    time_step,
)
from stilt_dagster.science.transport.native.columns import (
    Column,
    column_at,
    layer,
    level_value,
    value_at,
    wind_of_levels,
)
from stilt_dagster.science.transport.native.compiled import compiled
from stilt_dagster.science.transport.native.dispersion import (
    HALF_MINUTE,
    Dispersed,
    disperse,
    flux_depth,
    footprint,
    horizontal_sigma,
    next_horizontal,
)
from stilt_dagster.science.transport.native.meteorology.levels import squeeze
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology
from stilt_dagster.science.transport.native.meteorology.projection import cells_per_metre, to_grid, to_lonlat
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


class Particle(NamedTuple):
    """A particle between two minutes.

    Attributes
    ----------
    x, y : float
        Grid coordinates.
    z : float
        Level height, m.
    velocity : float
        Vertical turbulent velocity over its standard deviation.
    u, v : float
        Horizontal turbulent velocities, m s-1.
    layer : int
        The layer it is in.
    """

    x: float
    y: float
    z: float
    velocity: float
    u: float
    v: float
    layer: int


class Work(NamedTuple):
    """Arrays that one particle after the other works with.

    Attributes
    ----------
    words, normals : ndarray
        The receptor's :class:`~stilt_dagster.science.transport.native.random_numbers.RandomState`.
    density : ndarray, shape (nz,)
        On levels, kg m-3.
    seconds : ndarray, shape (nz,)
        How long the mean wind is that of each level; zero between half minutes.
    """

    words: NDArray[np.uint64]
    normals: NDArray[np.float64]
    density: NDArray[np.float64]
    seconds: NDArray[np.float64]


@compiled
def on_grid_at(met: Meteorology, lon: float, lat: float) -> bool:
    """Return whether a place lies on the meteorology's grid, where particles are followed."""
    x, y = to_grid(met.projection, lon, lat)
    inside: bool = on_grid(met.wind, x, y)
    return inside


@compiled
def footprint_at(
    level: NDArray[np.float64],
    field: NDArray[np.float32],
    here: Place,
    shrink: float,
    depth: float,
    seconds: float,
    density: NDArray[np.float64],
) -> float:
    """Return ``foot`` of some seconds below *depth*; *field* is what densities it counts.

    *density*, shape ``(nz,)``, is filled in as far as needed.
    """
    if seconds == 0.0:
        return 0.0
    for k in range(level.size):
        density[k] = level_value(field, here, k)
        if level[k] * shrink > depth:
            break
    foot: float = footprint(seconds, depth, level, shrink, density)
    return foot


@compiled
def half_minute(
    met: Meteorology,
    release: Release,
    here: Place,
    column: Column,
    height: float,
    velocity: float,
    near: int,
    work: Work,
) -> tuple[Dispersed, float, float]:
    """Move a particle up and down in the column of a place.

    Returns
    -------
    moved : Dispersed
        The particle.
    u, v : float
        How far the winds of the levels it was at move it forward in time, cells.
    """
    depth = flux_depth(release.veght, column.height)
    moved = disperse(
        met, column, height, velocity, near, HALF_MINUTE, release.tlfrac, depth, work.seconds, work.words, work.normals
    )
    u, v = wind_of_levels(met.wind, here, work.seconds, moved.lowest, moved.highest)
    return moved, u, v


@compiled
def follow_minute(
    met: Meteorology,
    release: Release,
    now: tuple[int, float],
    then: tuple[int, float],
    begins: bool,
    particle: Particle,
    work: Work,
    row: NDArray[np.float64],
) -> Particle:
    """Move a particle on the grid by a minute.

    The mean wind's step tells where the two halves of the minute are spent, and how the particle rises; turbulence
    then moves it up and down, and with it the winds of the heights it comes by.

    Parameters
    ----------
    met, release, work
        As :func:`follow` has them.
    now, then : tuple
        When the minute begins and ends, of :func:`time_step`.
    begins : bool
        Whether it is the first since the release, when horizontal velocities are drawn anew.
    particle : Particle
        The particle.
    row : ndarray, shape (len(COLUMNS),)
        Filled in.
    """
    x, y, level = particle.x, particle.y, met.level
    start = place_at(met.wind, now, x, y)
    x1, y1, z = advect(met.wind, start, then, x, y, particle.z, _STEP)
    end = place_at(met.wind, then, x1, y1)
    terrain = surface_at(met.terrain, end)
    shrink = squeeze(terrain, met.top)

    early, late = column_at(met, start, shrink), column_at(met, end, shrink)
    first, u0, v0 = half_minute(met, release, start, early, z * shrink, particle.velocity, particle.layer, work)
    second, u1, v1 = half_minute(met, release, end, late, first.height, first.velocity, first.layer, work)
    height = min(second.height, level[level.size - 1] * shrink)
    x += _STEP * (u0 + u1)
    y += _STEP * (v0 + v1)

    depth0, depth1 = flux_depth(release.veght, early.height), flux_depth(release.veght, late.height)
    row[2], row[4], row[9] = height, 0.5 * (early.height + late.height), terrain
    row[3] = footprint_at(level, met.dens, start, shrink, depth0, first.inside, work.density) + footprint_at(
        level, met.second_half_dens, end, shrink, depth1, second.inside, work.density
    )
    row[5] = value_at(level, met.dens, place_at(met.wind, then, x, y), height / shrink)
    row[6] = (first.inside + second.inside) / 60.0
    air = layer(met, late, second.layer)
    row[7], row[8] = air.sigma_w, air.timescale

    sigma = horizontal_sigma(met, late, height, second.layer)
    kept = 0.0 if begins else math.exp(-60.0 / release.hscale)
    u = next_horizontal(particle.u, sigma, kept, next_normal(work.words, work.normals))
    v = next_horizontal(particle.v, sigma, kept, next_normal(work.words, work.normals))
    along_x, along_y = cells_per_metre(met.projection, x, y)
    x += 60.0 * along_x * u
    y += 60.0 * along_y * v
    row[0], row[1] = to_lonlat(met.projection, x, y)
    return Particle(x, y, height / shrink, second.velocity, u, v, second.layer)


@kernel(error_model="numpy")
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
    n, nz, wind = release.lon.size, met.level.size, met.wind
    rows = np.empty((len(COLUMNS), n, release.n_minutes))
    kept = np.zeros(n, np.int64)
    work = Work(words, normals, np.empty(nz), np.zeros(nz))
    row = np.empty(len(COLUMNS))
    n_minutes = min(release.n_minutes, int(release.time - wind.times[0]))
    moments = [time_step(wind.times, release.time + _STEP * minute) for minute in range(n_minutes + 1)]
    for p in range(n):
        begin_particle(words, p)
        next_uniform(words)  # the place in a column's slab
        x, y = to_grid(met.projection, release.lon[p], release.lat[p])
        height = release.height[p]
        z = start_height(wind, met.terrain, met.top, release.time, x, y, height, _STEP, release.above_sea)
        particle = Particle(x, y, z, next_normal(words, normals), 0.0, 0.0, 0)
        for minute in range(n_minutes):
            if not on_grid(wind, particle.x, particle.y):
                break
            now, then = moments[minute], moments[minute + 1]
            particle = follow_minute(met, release, now, then, minute == 0, particle, work, row)
            for c in range(len(COLUMNS)):
                rows[c, p, minute] = row[c]
            kept[p] = minute + 1
    return rows, kept
