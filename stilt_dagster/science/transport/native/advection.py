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

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.native.meteorology.mean_wind import MeanWind, level_height

#: Columns and rows at the edge of a grid that particles do not enter: one in the west and south, two in the east and
#: north. Measured with hycs_std to 0.01 cells.
FIRST, LAST = 1.0, 3.0


@kernel()
def height_above_ground(level_height: float, terrain: float, z_top: float) -> float:
    """Return the height above ground of a level height; m."""
    return level_height * (1.0 - terrain / z_top)


@kernel()
def level_number(wind: MeanWind, z: float) -> tuple[int, float]:
    """Return the level below a level height, from 0, and how far it is to the next: 0 to 1, a share of a number."""
    k = (math.sqrt(wind.b * wind.b - 4.0 * wind.a * (wind.c - z)) - wind.b) / (2.0 * wind.a) - 1.0
    below = min(max(int(k), 0), wind.velocity.shape[3] - 2)
    return below, min(k - below, 1.0)


@kernel()
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


@kernel()
def cell(wind: MeanWind, x: float, y: float) -> tuple[int, int, float, int, float]:
    """Return the columns to the west and east of a place and its share of the way, the row to the south and its share.

    A place beyond the edge is moved to the edge.
    """
    _, ny, nx, _, _ = wind.velocity.shape
    if wind.around_globe:
        x %= nx
        i = min(max(int(x), 0), nx - 1)
        east = i + 1 if i + 1 < nx else 0
    else:
        i = min(max(int(x), 0), nx - 2)
        east = i + 1
    j = min(max(int(y), 0), ny - 2)
    return i, east, min(max(x - i, 0.0), 1.0), j, min(max(y - j, 0.0), 1.0)


@kernel()
def velocity_at(wind: MeanWind, t: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return the wind at a time and place: cells, cells and metres of level height a minute.

    Parameters
    ----------
    wind : MeanWind
        Of two times or more.
    t : float
        Minutes, as the wind's times.
    x, y : float
        Grid coordinates; beyond the edge the wind is that of the edge.
    z : float
        Level height, m.
    """
    s, ft = time_step(wind.times, t)
    i, east, fx, j, fy = cell(wind, x, y)
    lowest = wind.a + wind.b + wind.c
    k, fz, share = 0, 0.0, z / lowest
    if z >= lowest:
        k, fz = level_number(wind, z)
        share = 1.0
    u = v = w = 0.0
    for later in range(2):
        in_time = share * (ft if later else 1.0 - ft)
        for north in range(2):
            in_row = in_time * (fy if north else 1.0 - fy)
            for side in range(2):
                weight = in_row * (fx if side else 1.0 - fx)
                column = wind.velocity[s + later, j + north, east if side else i]
                for level in range(2):
                    part = weight * (fz if level else 1.0 - fz)
                    u += part * column[k + level, 0]
                    v += part * column[k + level, 1]
                    w += part * column[k + level, 2]
    return u, v, w


@kernel()
def surface_at(wind: MeanWind, field: NDArray[np.float32], t: float, x: float, y: float) -> float:
    """Return a field of the ground, shape ``(nt, ny, nx)``, at a time and place: linear in x, y and time."""
    s, ft = time_step(wind.times, t)
    i, east, fx, j, fy = cell(wind, x, y)
    value = 0.0
    for later in range(2):
        south = field[s + later, j, i] + fx * (field[s + later, j, east] - field[s + later, j, i])
        north = field[s + later, j + 1, i] + fx * (field[s + later, j + 1, east] - field[s + later, j + 1, i])
        value += (ft if later else 1.0 - ft) * (south + fy * (north - south))
    return value


@kernel()
def on_grid(wind: MeanWind, x: float, y: float) -> bool:
    """Return whether a particle at these grid coordinates is moved on; else hycs_std says no more of it."""
    _, ny, nx, _, _ = wind.velocity.shape
    return wind.around_globe or (FIRST <= x <= nx - LAST and FIRST <= y <= ny - LAST)


@kernel()
def advect(wind: MeanWind, t: float, x: float, y: float, z: float, dt: float) -> tuple[float, float, float, bool]:
    """Move a particle by the mean wind.

    Parameters
    ----------
    wind : MeanWind
        The wind.
    t : float
        Time before the step, minutes.
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
    moved : bool
        Whether it was on the grid; if not, it stays where it is.
    """
    if not on_grid(wind, x, y):
        return x, y, z, False
    u, v, w = velocity_at(wind, t, x, y, z)
    u_then, v_then, w_then = velocity_at(wind, t + dt, x + u * dt, y + v * dt, z + w * dt)
    x += 0.5 * (u + u_then) * dt
    y += 0.5 * (v + v_then) * dt
    z += 0.5 * (w + w_then) * dt
    _, ny, nx, nz, _ = wind.velocity.shape
    if wind.around_globe:
        # hycs_std turns them back at the first and last row, on the meridian they came by.
        x %= nx
        y = ny - 1.0 - abs(ny - 1.0 - abs(y))
    # The line below the lowest level keeps steps above the ground, but for winds that change much within one.
    return x, y, min(abs(z), (wind.a * nz + wind.b) * nz + wind.c), True


@kernel()
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
    wind, t, x, y, dt
        As :func:`advect` takes them.
    terrain : NDArray of float32, shape (nt, ny, nx)
        Height of the ground, m.
    z_top : float
        Height of the model's top, m.
    height : float
        Height above ground, or above sea level, m; of one under the ground it is the ground.
    above_sea : bool
        Whether the height is above sea level (``kmsl`` 1).
    """
    x, y, _, _ = advect(wind, t, x, y, height, dt)
    ground = surface_at(wind, terrain, t + dt, x, y)
    above: float = level_height(max(height - ground, 0.0) if above_sea else height, ground, z_top)
    return above
