"""A receptor's particles, minute by minute."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.advection import advect, on_grid, start_height, surface_at, time_step
from stilt_dagster.science.transport.native.levels import squeeze
from stilt_dagster.science.transport.native.meteorology import Meteorology
from stilt_dagster.science.transport.native.projection import to_grid, to_lonlat
from stilt_dagster.science.transport.native.random_numbers import begin_particle, next_normal, next_uniform
from stilt_dagster.science.transport.native.turbulence import particle_turbulence

#: What is filled in of each particle and minute.
COLUMNS = ("lon", "lat", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr", "zsfc")

_MOLAR_MASS_OF_AIR = 0.02897  # kg mol-1
_HALF_STEP = 30.0  # s


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def on_grid_at(met: Meteorology, lon: float, lat: float) -> bool:
    """Return whether a place lies on the meteorology's grid, where particles are followed."""
    x, y = to_grid(met.projection, lon, lat)
    inside: bool = on_grid(met.wind, x, y)
    return inside


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def column_at(met, t, x, y, height, sigma, timescale):
    s, share = time_step(met.wind.times, t)
    j, i = int(y + 0.5), int(x + 0.5)
    h0, h1 = met.height[s, j, i], met.height[s + 1, j, i]
    shrink = squeeze(surface_at(met.wind, met.terrain, t, x, y), met.top)
    for k in range(met.level.size):
        sigma[k], timescale[k] = particle_turbulence(
            met.level[k] + 0.5, met.level, met.top, shrink, share, h0, h1,
            met.sigma_w[s, j, i], met.sigma_w[s + 1, j, i], met.timescale[s, j, i], met.timescale[s + 1, j, i],
        )
    return h0 + share * (h1 - h0), shrink


@numba.njit(cache=True, nogil=True)
def disperse(z, u, seconds, tlfrac, level, shrink, sigma, timescale, h, words, normals):
    nz = level.size
    k = 0
    while k < nz - 2 and z >= level[k + 1] * shrink:
        k += 1
    left, inside = seconds, 0.0
    while left > 1e-4:
        dt = min(timescale[k] * tlfrac, left)
        r = np.exp(-dt / timescale[k])
        u = r * u + np.sqrt(1.0 - r * r) * next_normal(words, normals)
        w = u * sigma[k]
        zn = z + w * dt
        top, bottom = level[k + 1] * shrink, (level[k] * shrink if k else 0.0)
        if zn >= top and k < nz - 2:
            dt = (top - z) / w
            z = top
            a = sigma[k + 1] / sigma[k]
            if a >= 1.0 or next_uniform(words) < a:
                k += 1
            else:
                u = -u
        elif zn < bottom:
            dt = (bottom - z) / w
            z = bottom
            if k == 0:
                u = -u
            else:
                a = sigma[k - 1] / sigma[k]
                if a >= 1.0 or next_uniform(words) < a:
                    k -= 1
                else:
                    u = -u
        else:
            z = zn
        left -= dt
        if z < h:
            inside += dt
    return z, u, inside, k


@numba.njit(cache=True, nogil=True)
def follow(met, lon, lat, height, release, n_minutes, kmsl, veght, tlfrac, words, normals):
    n = lon.size
    rows = np.empty((10, n, n_minutes))
    kept = np.zeros(n, np.int64)
    nz = met.level.size
    sigma, timescale = np.empty(nz), np.empty(nz)
    for p in range(n):
        begin_particle(words, p)
        next_uniform(words)
        x, y = to_grid(met.projection, lon[p], lat[p])
        ground = surface_at(met.wind, met.terrain, release, x, y)
        above = height[p] - ground if kmsl else height[p]
        z = start_height(met.wind, met.terrain, met.top, release, x, y, above, -1.0)
        u = next_normal(words, normals)
        uh = next_normal(words, normals)
        vh = next_normal(words, normals)
        for m in range(n_minutes):
            t = release - m
            h, shrink = column_at(met, t, x, y, z, sigma, timescale)
            x, y, z, moved = advect(met.wind, t, x, y, z, -1.0)
            if not moved:
                break
            t -= 1.0
            layer = veght * h if veght <= 1 else veght
            za = z * shrink
            za, u, inside, k = disperse(za, u, 30.0, tlfrac, met.level, shrink, sigma, timescale, layer, words, normals)
            h, shrink = column_at(met, t, x, y, z, sigma, timescale)
            layer = veght * h if veght <= 1 else veght
            za, u, inside2, k = disperse(za, u, 30.0, tlfrac, met.level, shrink, sigma, timescale, layer, words, normals)
            samt = (inside + inside2) / 60.0
            z = za / shrink
            s, share = time_step(met.wind.times, t)
            j, i = int(y + 0.5), int(x + 0.5)
            dens = met.dens[s, j, i, k] * (1 - share) + share * met.dens[s + 1, j, i, k]
            rows[0, p, m], rows[1, p, m] = to_lonlat(met.projection, x, y)
            rows[2, p, m] = za
            rows[3, p, m] = _MOLAR_MASS_OF_AIR / (layer * dens) * samt * 60.0
            rows[4, p, m] = h
            rows[5, p, m] = dens
            rows[6, p, m] = samt
            rows[7, p, m] = sigma[k]
            rows[8, p, m] = timescale[k]
            rows[9, p, m] = surface_at(met.wind, met.terrain, t, x, y)
            kept[p] = m + 1
    return rows, kept
