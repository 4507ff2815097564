"""Turbulence: the standard deviation of the vertical velocity and its Lagrangian timescale on each level of a column.

Within the mixed layer both are Hanna's (1982, Applications in air pollution modeling, in: Atmospheric turbulence and
air pollution modelling, eq. 7.19 to 7.27; Lin et al. 2003, appendix), made of the friction velocity, the heat flux at
the ground and the mixing height. Above it HYSPLIT's mixing coefficient (Draxler and Hess 1997, NOAA Tech. Memo. ERL
ARL-224, section 4.3) is divided by a timescale of 100 s. What these leave open was fitted to what hycs_std prints:

- The two numbers are those of a grid point and a level, on the hours of the meteorology. A particle has those of the
  nearest grid point and of the level under it, see :func:`level_under`; linear in time alone.
- Powers of one third are powers of 0.3333.
- Density and potential temperature are those of the second level (75 m), at most twice whose height is a stability.
- Hanna's neutral case does not occur: the lowest temperature scale keeps air without a heat flux unstable.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.levels import GAS_CONSTANT, GRAVITY, level_of

#: Von Karman's constant, specific heat of air (J kg-1 K-1), exponent of potential temperature.
_KARMAN, _HEAT_CAPACITY, _KAPPA = 0.4, 1005.0, 0.286

#: One third, as the printed digits have it.
_THIRD = 0.3333

#: Least temperature scale, K; height over Obukhov length of the second level at most, unstable and stable.
_LEAST_THETA_STAR, _MOST_UNSTABLE, _MOST_STABLE = 1e-4, -2.0, 10.0

#: A friction velocity under the first becomes the second, m s-1; least share of each stress of the wind, m2 s-2.
_CALM, _LEAST_USTAR, _LEAST_STRESS = 0.0078, 1e-4, 1e-4

#: Of profiles at the ground: least squared difference of winds, m2 s-2; roughness length of heat over that of momentum,
#: and the least of the latter, m (a guess: none was found that lets it be seen).
_LEAST_SPEED2, _HEAT_ROUGHNESS, _LEAST_ROUGHNESS = 1e-4, 0.1, 1e-5

#: Above the mixed layer: Lagrangian timescale, s; least and most mixing coefficient, m2 s-1; Blackadar's length, m;
#: least squared difference of winds between two levels, m2 s-2; largest Richardson number.
FREE_TIMESCALE = 100.0
_LEAST_MIXING, _MOST_MIXING, _MIXING_LENGTH, _LEAST_SHEAR, _MOST_RICHARDSON = 0.01, 200.0, 150.0, 0.1, 12.54

#: A particle counts as within the mixed layer up to this share of the layer over its top level, and a mixing height
#: as at a level up to this share of the model's top over it: half of the fourth digit of HYSPLIT's sigma.
_TOP_SHARE, _SIGMA_ROUNDING = 0.05, 5e-5


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def potential_temperature(temperature: float, pressure: float) -> float:
    """Return the potential temperature, K, of a temperature, K, and a pressure, hPa."""
    return float(temperature * (1000.0 / pressure) ** _KAPPA)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def moist_density(temperature: float, pressure: float, dry_density: float) -> float:
    """Return the density of air with its moisture, which the printed one is without.

    Parameters
    ----------
    temperature, pressure, dry_density : float
        K, hPa, kg m-3.
    """
    vapour = pressure - dry_density * GAS_CONSTANT * temperature / 100.0
    virtual = temperature * (1.0 + 0.61 * 0.622 * vapour / pressure)
    return float(100.0 * pressure / (GAS_CONSTANT * virtual))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def friction_from_stress(umof: float, vmof: float, density: float) -> float:
    """Return the friction velocity, m s-1, of a file that has stresses of the wind, N m-2, in its place (fitted)."""
    return math.sqrt(max(abs(umof) / density, _LEAST_STRESS) + max(abs(vmof) / density, _LEAST_STRESS))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scales_from_fluxes(ustar: float, heat_flux: float, density: float) -> tuple[float, float]:
    """Return the friction velocity, m s-1, and the temperature scale, K, of ``kbls: 1``.

    Parameters
    ----------
    ustar : float
        The file's friction velocity, m s-1.
    heat_flux : float
        Sensible heat flux, W m-2, upward; without one the air counts as unstable.
    density : float
        Density of the second level, kg m-3.
    """
    if ustar < _CALM:
        ustar = _LEAST_USTAR
    theta_star = -heat_flux / (density * _HEAT_CAPACITY * ustar)
    if abs(theta_star) < _LEAST_THETA_STAR:
        theta_star = _LEAST_THETA_STAR if heat_flux < 0.0 else -_LEAST_THETA_STAR
    return ustar, theta_star


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scales_from_profiles(
    z1: float, z2: float, speed2: float, theta1: float, theta2: float, z0: float
) -> tuple[float, float]:
    """Return the friction velocity, m s-1, and the temperature scale, K, of ``kbls: 2``, or of files without fluxes.

    ARL-224, sections 4.1 and 4.2: a stability of the bulk Richardson number, ``phi_m`` and ``phi_h`` of Beljaars and
    Holtslag (1991) where stable, of Kadar and Perepelkin (1989) where unstable. The roughness length of heat, a tenth
    of that of momentum, and the limits were fitted.

    Parameters
    ----------
    z1, z2 : float
        Heights of the lowest two levels above ground, m.
    speed2 : float
        Squared difference of their winds, m2 s-2.
    theta1, theta2 : float
        Their potential temperatures, K.
    z0 : float
        Roughness length, m.
    """
    speed2, dz, dtheta = max(speed2, _LEAST_SPEED2), z2 - z1, theta2 - theta1
    z0 = max(z0, _LEAST_ROUGHNESS)
    rb = min(max(GRAVITY * dtheta * dz / (0.5 * (theta1 + theta2) * speed2), -1.0), 1.0)
    s, t = math.log(z2 / z0 + 1.0), math.log(z2 / (_HEAT_ROUGHNESS * z0) + 1.0)
    if rb < 0.0:
        x = rb * (s * s / t - (0.5 if rb >= -0.2 else 0.55))
        phi_m = ((1.0 + 0.625 * x * x) / (1.0 - 7.5 * x)) ** (1.0 / 3.0)
        phi_h = 0.64 * ((3.0 - 2.5 * x) / (1.0 - 10.0 * x + 50.0 * x * x)) ** (1.0 / 3.0)
    else:
        if rb <= 0.08:
            b = 5.0 * rb
            x = (-t + 2.0 * s * b + math.sqrt(t * t - 4.0 * s * t * b + 4.0 * s * s * b)) / (10.0 * (1.0 - b))
        else:
            v = -math.log(_HEAT_ROUGHNESS)
            x = (0.005 * s + 41.2) * rb * rb + (1.18 * s - 1.5 * v - 1.37) * rb
        decay = math.exp(-0.35 * x) / 1.5 * (6.0 - 0.35 * x)
        phi_m, phi_h = 1.0 + x * (1.0 + decay), stable_heat(x)
    gradient = _KARMAN * z2 / dz
    return gradient * math.sqrt(speed2) / phi_m, gradient * dtheta / phi_h


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def stable_heat(x: float) -> float:
    """Return ``phi_h`` of Beljaars and Holtslag (1991, eq. 28 and 32) with 0.923 where neutral; *x* is ``z / L``."""
    return 0.923 * (1.0 + x * (math.sqrt(1.0 + x / 1.5) + math.exp(-0.35 * x) / 1.5 * (6.0 - 0.35 * x)))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def obukhov(ustar: float, theta_star: float, theta: float, z2: float) -> tuple[float, float]:
    """Return the Obukhov length, m, and the buoyancy flux at the ground, m2 s-3.

    Parameters
    ----------
    ustar, theta_star : float
        Friction velocity, m s-1, and temperature scale, K, negative where unstable.
    theta, z2 : float
        Potential temperature, K, and height above ground, m, of the second level.

    Returns
    -------
    tuple of float
        Obukhov length, negative where unstable, and the flux whose product with the mixing height is the cube of the
        convective velocity scale, never negative.
    """
    stability = z2 * _KARMAN * GRAVITY * theta_star / (ustar * ustar * theta)
    length = z2 / min(max(stability, _MOST_UNSTABLE), _MOST_STABLE) if stability else math.inf
    return length, abs(GRAVITY * ustar * theta_star / theta)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
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
    if ri <= 0.001:
        x = 1.0893 * ri
    else:
        x = 0.2828e-3 + ri * (0.8049 + ri * (1.6583 + ri * (0.5090e-2 - 1.0063e-3 * ri)))
    mixing_length = _KARMAN * z / (1.0 + _KARMAN * z / _MIXING_LENGTH)
    mixing = mixing_length * mixing_length * math.sqrt(shear2) / (dz * stable_heat(x))
    return min(max(mixing, _LEAST_MIXING), _MOST_MIXING)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
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
        As :func:`surface_layer` returns them.
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
        sigma_w[k], timescale[k] = math.sqrt(mixing / FREE_TIMESCALE), FREE_TIMESCALE
        theta_below = theta


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def mixing_level(h: float, level: NDArray[np.float64], top: float) -> int:
    """Return the first level that is not below the mixing height, but for a rounding (fitted).

    Parameters
    ----------
    h : float
        Mixing height over :func:`squeeze`, m.
    level : ndarray, shape (nz,)
        Heights of the levels over flat land, m.
    top : float
        The model's top, m.
    """
    k = 0
    while k < level.size - 1 and level[k] < h - _SIGMA_ROUNDING * top:
        k += 1
    return k


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def layer_of(height: float, level: NDArray[np.float64], mixed: int) -> int:
    """Return the level whose turbulence a particle has (fitted).

    It is the one under the particle; but in the layer over the mixed layer's top level, from a twentieth of its depth
    on, the one above.

    Parameters
    ----------
    height : float
        Height above ground over :func:`squeeze`, m.
    level : ndarray, shape (nz,)
        Heights of the levels over flat land, m.
    mixed : int
        The mixed layer's top level, :func:`mixing_level`.
    """
    k = min(int(level_of(max(height, level[0]), level)), level.size - 1)
    if k == mixed and k < level.size - 1 and height - level[k] >= _TOP_SHARE * (level[k + 1] - level[k]):
        return k + 1
    return k


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def nearest_level(height: float, level: NDArray[np.float64]) -> int:
    """Return the level that lies nearest to a height, both over flat land, m."""
    k = min(int(level_of(max(height, level[0]), level)), level.size - 1)
    if k < level.size - 1 and height - level[k] >= 0.5 * (level[k + 1] - level[k]):
        return k + 1
    return k


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def particle_turbulence(
    height: float,
    level: NDArray[np.float64],
    top: float,
    shrink: float,
    share: float,
    h0: float,
    h1: float,
    sigma0: NDArray[np.float32],
    sigma1: NDArray[np.float32],
    timescale0: NDArray[np.float32],
    timescale1: NDArray[np.float32],
) -> tuple[float, float]:
    """Return ``sigw``, m s-1, and ``tlgr``, s, of a particle, between two hours of the nearest grid point (fitted).

    Both hours are asked at the same share of their mixing heights, as in STILT (Lin et al. 2003): at the level nearest
    to the particle's own times its hour's mixing height over that of the moment.

    Parameters
    ----------
    height : float
        Height of the particle above ground over :func:`squeeze`, m.
    level : ndarray, shape (nz,)
        Heights of the levels over flat land, m.
    top : float
        The model's top, m.
    shrink : float
        :func:`squeeze` of the ground under the particle.
    share : float
        Share of the later hour: where the end of the time step lies between the two.
    h0, h1 : float
        Mixing heights of the two hours at the grid point, m.
    sigma0, sigma1, timescale0, timescale1 : ndarray, shape (nz,)
        The two hours of :func:`column_turbulence` at the grid point.
    """
    h = h0 + share * (h1 - h0)
    own = level[layer_of(height, level, mixing_level(h / shrink, level, top))]
    k0, k1 = nearest_level(own * h0 / h, level), nearest_level(own * h1 / h, level)
    sigma = sigma0[k0] + share * (sigma1[k1] - sigma0[k0])
    return sigma, timescale0[k0] + share * (timescale1[k1] - timescale0[k0])
