"""The vertical grid particles move on, and columns of meteorology put on it.

The grid follows terrain: its levels lie at ``a k**2 + b k + c`` metres (HYSPLIT user's guide, "vertical coordinate";
hycs_std prints the three numbers), squeezed over terrain so that the model's top is level. Which three numbers, and how
columns of a file are put on the levels, was fitted to what hycs_std prints of designed meteorology, without turbulence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.native.compiled import compiled

#: The grids hycs_std chooses from: a, b and c, the coarsest first. Seen in MESSAGE.
_SPACINGS = ((30, -25, 5), (20, -15, 5), (15, -5, 0), (10, -10, 10), (5, 5, 0), (2.5, 2.5, 0))

#: Pressure (hPa) that a file's level must lie under to be above a model top (m), measured at these tops. Its other
#: levels shift it by some per cent, and between the tops it is a guess. It decides of files alone that have more levels
#: than the grid and reach over the top.
_TOPS = (
    (0, 1013), (220, 979.7), (400, 963.4), (650, 941.2), (1000, 911.8), (1500, 859.2), (2000, 807.8), (2500, 764.0),
    (3000, 714.2), (4000, 632.8), (5000, 564.6), (6000, 500.0), (7000, 428.7), (8000, 400.0), (9000, 325.5),
    (10000, 300.0), (11000, 266.2), (12000, 200.0), (14000, 200.0), (15000, 178.7), (16000, 123.1), (17500, 90.0),
    (18800, 70.0), (20000, 60.0), (21000, 50.0), (22500, 40.0), (24000, 37.0), (25000, 30.0), (26000, 30.0),
    (27500, 20.0), (30000, 20.0),
)  # fmt: skip

#: Levels follow terrain up to this height at least, m, under whatever model top: fitted.
LEAST_TOP = 25000.0

#: Acceleration of gravity (m s-2) and gas constant of dry air (J kg-1 K-1), as the printed digits have them.
GRAVITY, GAS_CONSTANT = 9.80616, 287.04

#: Virtual temperature is ``T (1 + 0.61 q)``.
_VIRTUAL = 0.61

#: Mass of a mole of water over that of dry air.
_EPSILON = 0.622


def level_heights(pressure: Sequence[float], top: float) -> NDArray[np.float64]:
    """Return the heights of the levels above ground at sea level, m, ascending, up to the first over the model's top.

    The grid is the coarsest that has more levels than the file. Of a file that reaches over the model's top those count
    alone that lie under it, and two more (fitted).

    Parameters
    ----------
    pressure : sequence of float
        Nominal pressure of the file's levels, hPa, the ground first.
    top : float
        The model's top, m.
    """
    above = np.interp(top, *np.transpose(_TOPS))
    for a, b, c in _SPACINGS:
        k = np.arange(1.0, 5 + math.ceil((abs(b) + math.sqrt(b**2 + 4 * a * (top + abs(c)))) / (2 * a)))
        heights = a * k**2 + b * k + c
        heights = heights[: max(3, np.searchsorted(heights, top, side="right") + 1)]
        if len(heights) > len(pressure) or pressure[len(heights) - 3] < above:
            break
    return np.asarray(heights)


@compiled
def squeeze(zsfc: float, top: float) -> float:
    """Return what heights of levels are multiplied with over terrain.

    Parameters
    ----------
    zsfc : float
        Height of the terrain, m above sea level.
    top : float
        Where levels are level, m above sea level: the model's top, or :data:`LEAST_TOP` where that is higher.
    """
    return 1.0 - zsfc / top


@compiled
def level_of(height: float, level: NDArray[np.float64]) -> float:
    """Return the level a height lies at, counted from 0 for the lowest, with a fraction.

    It is the inverse of ``a k**2 + b k + c``. The winds that move a particle are linear in this number, density and
    temperature at its place in height: found by runs in sheared wind without turbulence.

    Parameters
    ----------
    height : float
        Height above ground over :func:`squeeze`, m; that of the lowest level or more.
    level : ndarray, shape (nz,)
        As :func:`level_heights` returns them.
    """
    a = 0.5 * (level[2] - 2.0 * level[1] + level[0])
    lowest = 0.5 * (level[1] - level[0]) / a - 0.5
    return float(math.sqrt(lowest**2 + (height - level[0]) / a) - lowest)


@kernel()
def saturation_pressure(temperature: float) -> float:
    """Return the saturation vapour pressure over water, hPa, of a temperature, K (Draxler and Hess 1997).

    Printed densities of moist air confirm its constants.
    """
    return math.exp(21.4 - 5351.0 / temperature)


@kernel()
def hydrostatic_heights(
    pressure: NDArray[np.float64],
    temperature: NDArray[np.float64],
    humidity: NDArray[np.float64],
    heights: NDArray[np.float64],
) -> None:
    """Fill in the heights of a column's levels above the ground by the hypsometric equation, m.

    A layer's temperature is the mean of the virtual temperatures at its two ends; the lowest one's end is the ground.

    Parameters
    ----------
    pressure, temperature, humidity : ndarray, shape (levels,)
        Pressure, hPa; temperature, K; specific humidity, kg kg-1. The ground is the first level.
    heights : ndarray, shape (levels,)
        Filled in, 0 at the ground.
    """
    heights[0] = 0.0
    below = temperature[0] * (1.0 + _VIRTUAL * humidity[0])
    for i in range(1, pressure.size):
        above = temperature[i] * (1.0 + _VIRTUAL * humidity[i])
        layer = GAS_CONSTANT / GRAVITY * 0.5 * (below + above) * math.log(pressure[i - 1] / pressure[i])
        heights[i] = heights[i - 1] + layer
        below = above


@kernel()
def relative_humidity(pressure: float, temperature: float, humidity: float) -> float:
    """Return the relative humidity of air of a specific humidity; over 1 where it is supersaturated.

    Parameters
    ----------
    pressure, temperature, humidity : float
        hPa, K, kg kg-1.
    """
    return float(humidity * pressure / _EPSILON / saturation_pressure(temperature))


@kernel()
def specific_humidity(pressure: float, temperature: float, rh: float) -> float:
    """Return the specific humidity of air, kg kg-1: what :func:`relative_humidity` is the inverse of.

    Parameters
    ----------
    pressure, temperature, rh : float
        hPa, K, fraction.
    """
    return float(rh * saturation_pressure(temperature) * _EPSILON / pressure)


@kernel()
def _between(values: NDArray[np.float64], i: int, share: float) -> float:
    return float(values[i - 1] + share * (values[i] - values[i - 1]))


@kernel()
def put_on_levels(
    level: NDArray[np.float64], height: NDArray[np.float64], column: NDArray[np.float64], out: NDArray[np.float32]
) -> None:
    """Put a column on the levels particles move on.

    Winds, temperature, humidity and omega are linear in height, pressure is in its logarithm. Density is that
    of dry air, ``(p - e) / R T``; omega becomes a velocity as ``-omega R Tv / p g``. Above the column's last level
    winds and temperature stay what they are on the level below, relative humidity what it is at that last level;
    pressure falls hydrostatically, without humidity from the second such level on; the vertical velocity halves from
    level to level. Fitted to what hycs_std prints.

    Parameters
    ----------
    level : ndarray, shape (nz,)
        Heights of the levels above this ground, m.
    height : ndarray, shape (n,)
        Heights of the column, the ground first, m above it, ascending.
    column : ndarray, shape (8, n)
        u, v (m s-1), omega (hPa s-1), temperature (K), relative humidity (a fraction, not cut off at 1), pressure
        (hPa), turbulent kinetic energy (m2 s-2), specific humidity (kg kg-1).
    out : ndarray, shape (6 or 7, nz)
        Filled in: u, v, w (m s-1, upward), temperature (K), density (kg m-3), pressure (hPa), and turbulent kinetic
        energy (m2 s-2) if there is room for it.
    """
    i, last = 1, height.size - 1
    u, v, w, t, virtual, humid, p, tke = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(level.size):
        z = level[k]
        while i < last and height[i] < z:
            i += 1
        if z <= height[last] or k == 0:
            share = min(1.0, (z - height[i - 1]) / (height[i] - height[i - 1]))
            u, v = _between(column[0], i, share), _between(column[1], i, share)
            t, tke = _between(column[3], i, share), _between(column[6], i, share)
            humid = min(1.0, _between(column[4], i, share))
            p = column[5, i - 1] * (column[5, i] / column[5, i - 1]) ** share
            virtual = t * (1.0 + _VIRTUAL * _between(column[7], i, share))
            w = -_between(column[2], i, share) * GAS_CONSTANT * virtual / (p * GRAVITY)
        else:
            p -= p / (GAS_CONSTANT * virtual) * GRAVITY * (z - level[k - 1])
            w *= 0.5
            humid, virtual = min(1.0, column[4, last]), t
        out[0, k], out[1, k], out[2, k], out[3, k], out[5, k] = u, v, w, t, p
        if out.shape[0] > 6:
            out[6, k] = tke
        out[4, k] = (p - humid * saturation_pressure(t)) * 100.0 / (GAS_CONSTANT * t)


@kernel()
def second_half_density(
    dry_density: NDArray[np.float32], temperature: NDArray[np.float32], pressure: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the density, kg m-3, that ``foot`` counts in the second half of a minute: less than dry air's.

    It is as if some vapour were taken out twice. How much is a guess: fitted, to 1e-4 of the mean of both halves, at
    301 K and relative humidities from 0 to 87 % (1.7 % less where 3 % of the pressure is vapour's), and with the
    temperature to air of 275 to 290 K, where next to none is, as in the ``sphu`` that hycs_std prints.

    Parameters
    ----------
    dry_density, temperature, pressure : ndarray
        kg m-3, K, hPa; of one shape.
    """
    out = np.empty_like(dry_density)
    for i in np.ndindex(dry_density.shape):
        density, temp = float(dry_density[i]), float(temperature[i])
        vapour = max(1.0 - density * GAS_CONSTANT * temp / (100.0 * float(pressure[i])), 0.0)
        warmth = min(max((temp - 273.0) / 28.0, 0.0), 1.0) ** 1.9
        less = (0.337 - 1.93 * vapour) * vapour * warmth
        out[i] = density * (1.0 - less) / (1.0 + less)
    return out
