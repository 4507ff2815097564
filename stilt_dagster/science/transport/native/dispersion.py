"""Turbulent displacement of particles and what they take up from the ground: STILT's random walk.

The vertical velocity is a Markov chain (Thomson 1987, doi:10.1017/S0022112087001940; Lin et al. 2003,
doi:10.1029/2002JD003161, section 2.2) in air that is made of layers: within one, its standard deviation, timescale and
density are those of the level at its foot, and at the bound of two a particle is let through or turned back so that
both sides stay well mixed (Thomson et al. 1997, doi:10.1016/S1352-2310(96)00240-9). Papers leave open what follows,
found by comparing ensembles of 4,000 to 20,000 particles with hycs_std's in uniform weather:

- A minute is two halves, each of steps of ``tlfrac`` timescales and one of what is left. So says ``samt``, to its
  last digit.
- A step ends where a particle meets a bound; the next one, with another random number and the layer's own timescale,
  begins there. Also this is in ``samt``. The rest of a step is not gone on with, which would make 40 % too many
  particles of the lowest layer.
- Density counts at bounds alone. With the drift of Lin et al. (2003, equation 3) within layers particles of a
  minute are moved 1 m too far down, where density falls by 60 % a kilometre.
- The mean wind moves particles within the steps, by that of the height each one ends at: of 500 particles near the
  ground at night a minute's way is that to 1 %, and 3 % longer by the wind at their mean height. Unlike without
  turbulence, it is linear in height between levels, and falls to nothing at the ground.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.columns import Column, bound, layer, layer_at
from stilt_dagster.science.transport.native.compiled import compiled
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology
from stilt_dagster.science.transport.native.random_numbers import next_normal, next_uniform

#: Seconds after which steps begin anew.
HALF_MINUTE = 30.0

#: Molar mass of air in hycs_std's ``foot``, kg mol-1. Fitted to 5 digits; it is not the 0.02897 of R STILT.
MOLAR_MASS_OF_AIR = 0.02884

#: Less than this is no step, s.
_NOTHING = 1e-4


class Dispersed(NamedTuple):
    """A particle after a half minute.

    Attributes
    ----------
    height : float
        Height above ground, m.
    velocity : float
        Vertical turbulent velocity over its standard deviation.
    layer : int
        The layer it is in, whose ``sigw`` and ``tlgr`` hycs_std prints.
    inside : float
        Seconds below the flux layer's depth: of steps that end there.
    lowest, highest : int
        The levels whose winds moved it.
    """

    height: float
    velocity: float
    layer: int
    inside: float
    lowest: int
    highest: int


@compiled
def disperse(
    met: Meteorology,
    column: Column,
    height: float,
    velocity: float,
    near: int,
    seconds: float,
    tlfrac: float,
    depth: float,
    share: NDArray[np.float64],
    words: NDArray[np.uint64],
    normals: NDArray[np.float64],
) -> Dispersed:
    """Move a particle up and down by turbulence.

    A step of ``dt`` draws ``w' = R w' + sqrt(1 - R^2) sigma_w N(0, 1)`` with ``R = exp(-dt / T_L)`` (Lin et al. 2003,
    equations 1 and 2) and moves by ``w' dt``. A bound lets it through to the layer beyond with a probability of
    ``(sigma_w density)`` there over that here, at most 1, and ``w' / sigma_w`` is kept; else, as at the ground, ``w'``
    is turned about.

    Parameters
    ----------
    met : Meteorology
        The meteorology.
    column : Column
        The layers, each of the turbulence of its level; the last has no end.
    height : float
        Height above ground, m.
    velocity : float
        Vertical turbulent velocity over its standard deviation; of a release drawn from N(0, 1).
    near : int
        A layer close to it.
    seconds : float
        How long, :data:`HALF_MINUTE`.
    tlfrac : float
        Longest step, as a share of the timescale.
    depth : float
        Of the layer surface fluxes are mixed into, above ground, m, see :func:`flux_depth`.
    share : ndarray, shape (nz,)
        Added to is for how many seconds the mean wind is that of each level: the wind of the half minute is the sum of
        levels' winds times these, over *seconds*.
    words, normals : ndarray
        The particle's :class:`~stilt_dagster.science.transport.native.random_numbers.RandomState`.
    """
    k = layer_at(met.level, column, height, near)
    lowest = highest = k
    air = layer(met, column, k)
    foot, top = bound(met.level, column, k), bound(met.level, column, k + 1)
    full = math.exp(-tlfrac)
    full_noise = math.sqrt(1.0 - full * full)
    left, inside = seconds, 0.0
    while left > _NOTHING:
        dt = tlfrac * air.timescale
        kept, noise = full, full_noise
        if dt > left:
            dt = left
            kept = math.exp(-dt / air.timescale)
            noise = math.sqrt(1.0 - kept * kept)
        velocity = kept * velocity + noise * next_normal(words, normals)
        w = velocity * air.sigma_w
        end = height + w * dt
        if foot <= end <= top:
            height = end
        else:
            edge, beyond = (top, k + 1) if end > top else (foot, k - 1)
            dt = (edge - height) / w
            height = edge
            through = 0.0
            there = air
            if beyond >= 0:
                there = layer(met, column, beyond)
                through = there.sigma_w * there.density / (air.sigma_w * air.density)
            if through >= 1.0 or (through > 0.0 and next_uniform(words) < through):
                k, air = beyond, there
                foot, top = bound(met.level, column, k), bound(met.level, column, k + 1)
                lowest, highest = min(lowest, k), max(highest, k)
            else:
                velocity = -velocity
        left -= dt
        _add_share(height, dt, k, top, met.level, column.shrink, share)
        if height < depth:
            inside += dt
    return Dispersed(height, velocity, k, inside, lowest, min(highest + 1, met.level.size - 1))


@compiled
def _add_share(
    height: float,
    dt: float,
    k: int,
    top: float,
    level: NDArray[np.float64],
    shrink: float,
    share: NDArray[np.float64],
) -> None:
    """Add a step to the seconds that the wind is that of each level.

    Over the mixed layer's top the whole way to the next level's wind lies in the thin layer (found), to its *top*, m.
    """
    over = height / shrink
    if over <= level[0]:
        share[0] += dt * over / level[0]
    elif over <= level[k] or k == level.size - 1:
        share[k] += dt
    else:
        part = dt * (over - level[k]) / (top / shrink - level[k])
        share[k] += dt - part
        share[k + 1] += part


@compiled
def horizontal_sigma(met: Meteorology, column: Column, height: float, near: int) -> float:
    """Return the standard deviation of both horizontal velocities, m s-1.

    Both variances together are the vertical velocity's, which for this is linear between levels and constant below
    the lowest, unlike that of :func:`disperse`: found from the first minute of 20,000 particles in 50 slabs.

    Parameters
    ----------
    met, column
        As :func:`disperse` takes them.
    height : float
        Height above ground, m.
    near : int
        A level close to it.
    """
    over, level = height / column.shrink, met.level
    if over <= level[0]:
        variance = layer(met, column, 0).sigma_w ** 2
    else:
        k = max(near, 1)
        while k > 1 and level[k - 1] >= over:
            k -= 1
        while k < level.size - 1 and level[k] < over:
            k += 1
        part = min((over - level[k - 1]) / (level[k] - level[k - 1]), 1.0)
        variance = (1.0 - part) * layer(met, column, k - 1).sigma_w ** 2 + part * layer(met, column, k).sigma_w ** 2
    return math.sqrt(0.5 * variance)


@compiled
def next_horizontal(velocity: float, sigma: float, kept: float, normal: float) -> float:
    """Return a horizontal turbulent velocity, m s-1, after a time.

    Unlike the vertical one it is not scaled by its standard deviation where that changes: it forgets slowly.

    Parameters
    ----------
    velocity : float
        The one before, m s-1; of a release ``sigma`` times a draw from N(0, 1).
    sigma : float
        :func:`horizontal_sigma`, m s-1.
    kept : float
        What is left of the one before: ``exp(-dt / hscale)``.
    normal : float
        A draw from N(0, 1).
    """
    return kept * velocity + math.sqrt(1.0 - kept * kept) * sigma * normal


@compiled
def flux_depth(veght: float, mixing_height: float) -> float:
    """Return the depth surface fluxes are mixed into, m: a share of the mixing height, over 1 it is in m itself."""
    return veght * mixing_height if veght <= 1.0 else veght


@compiled
def footprint(
    seconds: float, depth: float, level: NDArray[np.float64], shrink: float, density: NDArray[np.float64]
) -> float:
    """Return ``foot``, ppm (umol m-2 s-1)-1: what a particle takes up of a unit flux (Lin et al. 2003, equation 7).

    The mass of air below *depth* is made of the slabs between levels, each with the density of its upper level, and of
    what remains with that of the level below: the same for all particles of a column, whatever their own height. A
    minute's is the sum of its halves': the first counts dry air, the second :func:`second_half_density`.

    Parameters
    ----------
    seconds : float
        How long it was below *depth*, s.
    depth : float
        :func:`flux_depth`.
    level : ndarray, shape (nz,)
        Heights of the levels over flat land, m.
    shrink : float
        What levels are lowered by over terrain, :func:`~.meteorology.levels.squeeze`.
    density : ndarray, shape (nz,)
        On levels, bilinear between grid points, kg m-3.
    """
    k = 0
    floor = min(level[0] * shrink, depth)
    mass = density[0] * floor
    while k < level.size - 1 and level[k + 1] * shrink < depth:
        k += 1
        mass += density[k] * (level[k] * shrink - floor)
        floor = level[k] * shrink
    mass += density[k] * (depth - floor)
    return float(MOLAR_MASS_OF_AIR * seconds / mass)
