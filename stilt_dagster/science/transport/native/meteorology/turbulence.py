"""Turbulence: the standard deviation of the vertical velocity and its Lagrangian timescale on each level of a column.

Within the mixed layer both are Hanna's (1982, Applications in air pollution modeling, in: Atmospheric turbulence and
air pollution modelling, eq. 7.19 to 7.27; Lin et al. 2003, appendix), made of the friction velocity, the heat flux at
the ground and the mixing height. Above it HYSPLIT's mixing coefficient (Draxler and Hess 1997, NOAA Tech. Memo. ERL
ARL-224, section 4.3) is divided by a timescale of 100 s. What these leave open was fitted to what hycs_std prints:

- The two numbers are those of a grid point and a level, on the hours of the meteorology. A particle has those of the
  nearest grid point and of a level near it, see :func:`nearest_level`, linear in time alone.
- Powers of one third are powers of 0.3333.
- Density and potential temperature are those of the second level (75 m), at most twice whose height is a stability.
- Hanna's neutral case does not occur: the lowest temperature scale keeps air without a heat flux unstable.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.native.compiled import compiled
from stilt_dagster.science.transport.native.meteorology.fields import Fields
from stilt_dagster.science.transport.native.meteorology.levels import GRAVITY, level_of, squeeze
from stilt_dagster.science.transport.native.meteorology.surface_layer import (
    KARMAN,
    moist_density,
    obukhov,
    potential_temperature,
    scales_from_fluxes,
    stable_heat,
)

#: One third, as the printed digits have it.
_THIRD = 0.3333

#: Above the mixed layer: Lagrangian timescale, s; least and most mixing coefficient, m2 s-1; Blackadar's length, m;
#: least squared difference of winds between two levels, m2 s-2; largest Richardson number.
_FREE_TIMESCALE = 100.0
_LEAST_MIXING, _MOST_MIXING, _MIXING_LENGTH, _LEAST_SHEAR, _MOST_RICHARDSON = 0.01, 200.0, 150.0, 0.1, 12.54

#: A mixing height counts as at a level up to this share of the model's top over it: half of the fourth digit of
#: HYSPLIT's sigma.
_SIGMA_ROUNDING = 5e-5


@kernel()
def hanna(z: float, h: float, ustar: float, wstar: float, length: float, z0: float) -> tuple[float, float]:
    """Return ``sigw``, m s-1, and ``tlgr``, s, at a height within the mixed layer.

    Parameters
    ----------
    z, h : float
        Height and mixing height above ground, m, ``z < h``.
    ustar, wstar : float
        Friction velocity and convective velocity scale, m s-1.
    length : float
        Obukhov length, m.
    z0 : float
        Roughness length, m.
    """
    share = z / h
    if length >= 0.0:
        sigma = 1.3 * ustar * (1.0 - share)
        return sigma, 0.1 * h / sigma * share**0.8
    if share < 0.4:
        sigma = 0.96 * wstar * (3.0 * share - length / h) ** _THIRD
        if share >= 0.03:
            sigma = min(sigma, 0.763 * wstar * share**0.175)
    elif share < 0.96:
        sigma = 0.722 * wstar * (1.0 - share) ** 0.207
    else:
        sigma = 0.37 * wstar
    if share >= 0.1:
        return sigma, 0.15 * h / sigma * (1.0 - math.exp(-5.0 * share))
    height = (z - z0) / -length
    return sigma, 0.59 * z / sigma if height > 1.0 else 0.1 * z / (sigma * (0.55 - 0.38 * height))


@compiled
def free_mixing(z: float, dz: float, theta: float, dtheta: float, shear2: float) -> float:
    """Return the mixing coefficient above the mixed layer, m2 s-1.

    It is ``l**2 |dV/dz| / phi_h`` with Blackadar's ``1 / l = 1 / (k z) + 1 / 150``, ``phi_h`` of Beljaars and Holtslag
    (1991), and ``l`` over the local Obukhov length a polynomial of the Richardson number (ARL-224, section 4.3). Air
    that is unstable counts as neutral.

    Parameters
    ----------
    z : float
        Height of the level above ground, m.
    dz, dtheta, shear2 : float
        From the level below to this one: m, K, and the squared difference of winds, m2 s-2.
    theta : float
        Potential temperature of the level below, K.
    """
    shear2 = max(shear2, _LEAST_SHEAR)
    ri = min(max(GRAVITY * dtheta * dz / (theta * shear2), 0.0), _MOST_RICHARDSON)
    x = 1.0893 * ri
    if ri > 0.001:
        x = 0.2828e-3 + ri * (0.8049 + ri * (1.6583 + ri * (0.5090e-2 - 1.0063e-3 * ri)))
    mixing_length = KARMAN * z / (1.0 + KARMAN * z / _MIXING_LENGTH)
    mixing = mixing_length * mixing_length * math.sqrt(shear2) / (dz * stable_heat(x))
    return float(min(max(mixing, _LEAST_MIXING), _MOST_MIXING))


@kernel()
def column_turbulence(
    level: NDArray[np.float64],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    temp: NDArray[np.float32],
    pres: NDArray[np.float32],
    h: float,
    ustar: float,
    length: float,
    buoyancy_flux: float,
    z0: float,
    sigma_w: NDArray[np.float32],
    timescale: NDArray[np.float32],
) -> None:
    """Fill in ``sigw`` and ``tlgr`` on the levels of a column.

    Parameters
    ----------
    level : ndarray, shape (nz,)
        Heights of the levels above this ground, m.
    u, v, temp, pres : ndarray, shape (nz,)
        Wind, m s-1; temperature, K; pressure, hPa.
    h, z0 : float
        Mixing height and roughness length, m.
    ustar : float
        Friction velocity, m s-1.
    length, buoyancy_flux : float
        As :func:`obukhov` returns them.
    sigma_w, timescale : ndarray, shape (nz,)
        Filled in, m s-1 and s.
    """
    wstar = (buoyancy_flux * h) ** _THIRD
    theta_below = 0.0
    for k in range(level.size):
        theta = potential_temperature(temp[k], pres[k])
        if level[k] < h:
            sigma_w[k], timescale[k] = hanna(level[k], h, ustar, wstar, length, z0)
            theta_below = theta
            continue
        mixing = _LEAST_MIXING
        if k:
            shear2 = (u[k] - u[k - 1]) ** 2 + (v[k] - v[k - 1]) ** 2
            # Above the data winds and temperature do not change any more: the air counts as neutral there.
            dtheta = 0.0 if shear2 == 0.0 and temp[k] == temp[k - 1] else theta - theta_below
            mixing = free_mixing(level[k], level[k] - level[k - 1], theta_below, dtheta, shear2)
        sigma_w[k], timescale[k] = math.sqrt(mixing / _FREE_TIMESCALE), _FREE_TIMESCALE
        theta_below = theta


@kernel()
def fill_turbulence(
    fields: Fields,
    height: NDArray[np.float32],
    sigma_w: NDArray[np.float32],
    timescale: NDArray[np.float32],
) -> None:
    """Fill in ``sigw``, m s-1, and ``tlgr``, s, of all columns, shape ``(nt, ny, nx, nz)``.

    Parameters
    ----------
    fields : Fields
        The meteorology, of :func:`complete_surface`.
    height : ndarray, shape (nt, ny, nx)
        Mixing height, m.
    """
    nt, ny, nx, _ = sigma_w.shape
    for t in range(nt):
        for j in range(ny):
            for i in range(nx):
                level = fields.level * squeeze(fields.zsfc[t, j, i], fields.top)
                u, v, temp, pres = fields.u[t, j, i], fields.v[t, j, i], fields.temp[t, j, i], fields.pres[t, j, i]
                z0 = fields.z0[t, j, i]
                theta = potential_temperature(temp[1], pres[1])
                density = moist_density(temp[1], pres[1], fields.dens[t, j, i, 1])
                ustar, theta_star = scales_from_fluxes(fields.ustar[t, j, i], fields.shtf[t, j, i], density)
                length, flux = obukhov(ustar, theta_star, theta, level[1])
                column_turbulence(
                    level, u, v, temp, pres, height[t, j, i], ustar, length, flux, z0,
                    sigma_w[t, j, i], timescale[t, j, i],
                )  # fmt: skip


@compiled
def mixing_level(h: float, level: NDArray[np.float64], top: float) -> int:
    """Return the first level that is not below a mixing height over :func:`squeeze`, m, but for a rounding (fitted)."""
    k = 0
    while k < level.size - 1 and level[k] < h - _SIGMA_ROUNDING * top:
        k += 1
    return k


@compiled
def nearest_level(height: float, level: NDArray[np.float64], near: int) -> int:
    """Return the level nearest to a height over :func:`squeeze`, m, or how many levels there are, if it is above them.

    Parameters
    ----------
    height : float
        Height, m.
    level : ndarray, shape (nz,)
        Heights of the levels over flat land, m.
    near : int
        A level close to it, where the search begins.
    """
    last = level.size - 1
    if height > level[last - 1] and int(level_of(height, level)) >= last:
        return level.size
    k = min(near, last - 1)
    while k > 0 and height < level[k]:
        k -= 1
    while k < last - 1 and height >= level[k + 1]:
        k += 1
    return k + 1 if height - level[k] >= 0.5 * (level[k + 1] - level[k]) else k


@compiled
def turbulence_above(height: float, level: NDArray[np.float64], shrink: float) -> tuple[float, float]:
    """Return ``sigw``, m s-1, and ``tlgr``, s, at a height over :func:`squeeze` above the last level, m.

    There are levels above those of the data, up to the model's top: in them the air is neutral.
    """
    last = level.size - 1
    rise = level[last] - 2.0 * level[last - 1] + level[last - 2]
    n = round(level_of(height, level)) - last
    dz = level[last] - level[last - 1] + n * rise
    z = level[last] + n * (level[last] - level[last - 1]) + 0.5 * n * (n + 1) * rise
    return math.sqrt(free_mixing(z * shrink, dz * shrink, 300.0, 0.0, 0.0) / _FREE_TIMESCALE), _FREE_TIMESCALE
