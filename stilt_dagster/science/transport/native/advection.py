"""Where a particle is on the meteorological grid, and how the mean wind moves it there.

The scheme is that of Draxler and Hess (1997, NOAA Tech. Memo. ERL ARL-224; 1998, Aust. Met. Mag. 47): with ``V`` the
wind in grid units, a first guess ``P' = P + V(P, t) dt`` and the final place ``P + [V(P, t) + V(P', t + dt)] dt / 2``,
``V`` interpolated linearly in x, y and time. What they leave open was fitted to the places that hycs_std prints
without turbulence:

- Winds become grid cells and levels per minute at the points of the grid, before they are interpolated.
- Between two levels the wind is linear not in height but in the level's number, which is a square root of height.
- Below the lowest level all three components fall linearly to zero at the ground, and a first guess under the ground
  takes that line further.
- A particle over terrain keeps its *level height*, the height above ground it would have over flat land: the vertical
  wind alone changes it, whatever the slope under the particle.

Grid coordinates count from 0, the first column and row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.compiled import compiled
from stilt_dagster.science.transport.native.meteorology.mean_wind import MeanWind, level_height

#: Columns and rows at the edge of a grid that particles do not enter: one in the west and south, two in the east and
#: north. Measured with hycs_std to 0.01 cells.
FIRST, LAST = 1.0, 3.0


@compiled
def level_number(wind: MeanWind, z: float) -> tuple[int, float]:
    """Return the level below a level height, from 0, and how far it is to the next: 0 to 1, a share of a number."""
    k = (math.sqrt(wind.b * wind.b - 4.0 * wind.a * (wind.c - z)) - wind.b) / (2.0 * wind.a) - 1.0
    below = min(max(int(k), 0), wind.velocity.shape[3] - 2)
    return below, min(k - below, 1.0)


@compiled
def time_step(times: NDArray[np.float64], t: float) -> tuple[int, float]:
    """Return the step of the meteorology before a time and how far it is to the next: 0 to 1."""
    last = len(times) - 2
    if last < 0:
        return 0, 0.0
    before = min(max(int((t - times[0]) / (times[-1] - times[0]) * (last + 1)), 0), last)
    while before > 0 and t < times[before]:
        before -= 1
    while before < last and t >= times[before + 1]:
        before += 1
    return before, min(max((t - times[before]) / (times[before + 1] - times[before]), 0.0), 1.0)


class Place(NamedTuple):
    """Where a time and grid coordinates lie among the steps, columns and rows of the meteorology.

    Found once, and used for each field that is read there.

    Attributes
    ----------
    step : int
        The step before, from 0.
    share : float
        How far it is to the next step: 0 to 1.
    west, east : int
        The columns on either side.
    along : float
        How far it is from the one to the other: 0 to 1.
    south : int
        The row to the south; the next one is to the north.
    up : float
        How far it is from the one to the other: 0 to 1.
    i, j : int
        Column and row of the nearest grid point.
    """

    step: int
    share: float
    west: int
    east: int
    along: float
    south: int
    up: float
    i: int
    j: int


@compiled
def place_at(wind: MeanWind, moment: tuple[int, float], x: float, y: float) -> Place:
    """Return where a moment, of :func:`time_step`, and grid coordinates lie; beyond the edge it is the edge."""
    _, ny, nx, _, _ = wind.velocity.shape
    i, j = int(x + 0.5), min(max(int(y + 0.5), 0), ny - 1)
    if wind.around_globe:
        i %= nx
        x %= nx
        west = min(max(int(x), 0), nx - 1)
        east = west + 1 if west + 1 < nx else 0
    else:
        i = min(max(i, 0), nx - 1)
        west = min(max(int(x), 0), nx - 2)
        east = west + 1
    south = min(max(int(y), 0), ny - 2)
    along, up = min(max(x - west, 0.0), 1.0), min(max(y - south, 0.0), 1.0)
    return Place(moment[0], moment[1], west, east, along, south, up, i, j)


@compiled
def velocity_at(wind: MeanWind, here: Place, z: float) -> tuple[float, float, float]:
    """Return the wind at a place: cells, cells and metres of level height a minute.

    Parameters
    ----------
    wind : MeanWind
        Of two times or more.
    here : Place
        Of :func:`place_at`.
    z : float
        Level height, m.
    """
    lowest = wind.a + wind.b + wind.c
    k, fz, share = 0, 0.0, z / lowest
    if z >= lowest:
        k, fz = level_number(wind, z)
        share = 1.0
    u = v = w = 0.0
    for later in range(2):
        in_time = share * (here.share if later else 1.0 - here.share)
        for north in range(2):
            in_row = in_time * (here.up if north else 1.0 - here.up)
            for side in range(2):
                weight = in_row * (here.along if side else 1.0 - here.along)
                s, j, i = here.step + later, here.south + north, here.east if side else here.west
                for level in range(2):
                    part = weight * (fz if level else 1.0 - fz)
                    u += part * wind.velocity[s, j, i, k + level, 0]
                    v += part * wind.velocity[s, j, i, k + level, 1]
                    w += part * wind.velocity[s, j, i, k + level, 2]
    return u, v, w


@compiled
def surface_at(field: NDArray[np.float32], here: Place) -> float:
    """Return a field of the ground, shape ``(nt, ny, nx)``, at a place: linear in x, y and time."""
    value = 0.0
    j, west, east = here.south, here.west, here.east
    for later in range(2):
        s = here.step + later
        south = field[s, j, west] + here.along * (field[s, j, east] - field[s, j, west])
        north = field[s, j + 1, west] + here.along * (field[s, j + 1, east] - field[s, j + 1, west])
        value += (here.share if later else 1.0 - here.share) * (south + here.up * (north - south))
    return value


@compiled
def on_grid(wind: MeanWind, x: float, y: float) -> bool:
    """Return whether a particle at these grid coordinates is moved on; else hycs_std says no more of it."""
    _, ny, nx, _, _ = wind.velocity.shape
    return wind.around_globe or (FIRST <= x <= nx - LAST and FIRST <= y <= ny - LAST)


@compiled
def advect(
    wind: MeanWind, here: Place, then: tuple[int, float], x: float, y: float, z: float, dt: float
) -> tuple[float, float, float]:
    """Move a particle on the grid (:func:`on_grid`) by the mean wind.

    Parameters
    ----------
    wind : MeanWind
        The wind.
    here : Place
        Where it is before the step.
    then : tuple
        When the step ends, of :func:`time_step`.
    x, y : float
        Grid coordinates.
    z : float
        Level height, m, see :func:`level_height`.
    dt : float
        Minutes; negative back in time.

    Returns
    -------
    x, y, z : float
        Where it is then. A place beyond the edge counts once more, as in hycs_std: the next step ends there.
    """
    u, v, w = velocity_at(wind, here, z)
    u_then, v_then, w_then = velocity_at(wind, place_at(wind, then, x + u * dt, y + v * dt), z + w * dt)
    x += 0.5 * (u + u_then) * dt
    y += 0.5 * (v + v_then) * dt
    z += 0.5 * (w + w_then) * dt
    _, ny, nx, nz, _ = wind.velocity.shape
    if wind.around_globe:
        # hycs_std turns them back at the first and last row, on the meridian they came by.
        x %= nx
        y = ny - 1.0 - abs(ny - 1.0 - abs(y))
    # The line below the lowest level keeps steps above the ground, but for winds that change much within one.
    return x, y, min(abs(z), (wind.a * nz + wind.b) * nz + wind.c)


@compiled
def start_height(
    wind: MeanWind,
    terrain: NDArray[np.float32],
    z_top: float,
    t: float,
    x: float,
    y: float,
    height: float,
    dt: float,
    above_sea: bool = False,
) -> float:
    """Return the level height of a release.

    hycs_std takes it over the terrain where one step from a start at that height over flat land would end, not over
    that at the release. Fitted to starts in mountains: it gives the next heights above ground to 1 mm where the other
    differs by up to 0.8 m, and of heights above sea level to 0.2 m of 60 m.

    Parameters
    ----------
    wind, x, y, dt
        As :func:`advect` takes them.
    t : float
        When it is released, minutes, as the wind's times.
    terrain : NDArray of float32, shape (nt, ny, nx)
        Height of the ground, m.
    z_top : float
        Height of the model's top, m.
    height : float
        Height above ground, or above sea level, m; of one under the ground it is the ground.
    above_sea : bool
        Whether the height is above sea level (``kmsl`` 1).
    """
    now, then = time_step(wind.times, t), time_step(wind.times, t + dt)
    if on_grid(wind, x, y):
        x, y, _ = advect(wind, place_at(wind, now, x, y), then, x, y, height, dt)
    ground = surface_at(terrain, place_at(wind, then, x, y))
    above: float = level_height(max(height - ground, 0.0) if above_sea else height, ground, z_top)
    return above
