"""The surface layer: friction velocity, temperature scale and Obukhov length, from fluxes or from profiles.

Stability, fluxes and profiles are those of Draxler and Hess (1997, NOAA Tech. Memo. ERL ARL-224, sections 4.1 and 4.2).
Limits, constants, and which level counts (the second, 75 m over flat land) were fitted to what hycs_std prints.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.pystilt import roughness_table
from stilt_dagster.science.transport.native.compiled import compiled
from stilt_dagster.science.transport.native.meteorology.fields import Fields
from stilt_dagster.science.transport.native.meteorology.levels import GAS_CONSTANT, GRAVITY, squeeze

#: Von Karman's constant.
KARMAN = 0.4

#: Specific heat of air (J kg-1 K-1), exponent of potential temperature.
_HEAT_CAPACITY, _KAPPA = 1005.0, 0.286

#: Least temperature scale, K; height over Obukhov length of the second level at most, unstable and stable.
_LEAST_THETA_STAR, _MOST_UNSTABLE, _MOST_STABLE = 1e-4, -2.0, 10.0

#: Least friction velocity, m s-1, and least share of each stress of the wind, m2 s-2.
_LEAST_USTAR, _LEAST_STRESS = 1e-4, 1e-4

#: Of profiles: least squared difference of winds, m2 s-2; roughness length of heat over that of momentum, and the least
#: of the latter, m.
_LEAST_SPEED2, _HEAT_ROUGHNESS, _LEAST_ROUGHNESS = 1e-4, 0.1, 1e-4


def _land_roughness(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the roughness length, m, of places, degrees, in HYSPLIT's table, where a file has none (``RGHS``)."""
    table = np.array([[int(row[i : i + 4]) for i in range(0, 1440, 4)] for row in roughness_table().splitlines()])
    row = np.clip(np.floor(90.0 - lat), 0, len(table) - 1).astype(int)  # the north first, centimetres
    return np.asarray(table[row, np.floor(lon + 180.0).astype(int) % 360] / 100.0, np.float32)


def complete_surface(fields: Fields, lon: NDArray[np.float64], lat: NDArray[np.float64], from_fluxes: bool) -> Fields:
    """Return the meteorology with a roughness, a friction velocity and a heat flux everywhere.

    A roughness that the file lacks is that of HYSPLIT's table; a friction velocity is made of stresses. Without fluxes
    both are made of profiles, as with ``kbls: 2``.

    Parameters
    ----------
    fields : Fields
        The meteorology.
    lon, lat : ndarray, shape (ny, nx)
        Where its points are, degrees.
    from_fluxes : bool
        ``kbls`` 1, not 2.
    """
    if np.isnan(fields.z0).any():
        fields = fields._replace(z0=np.where(np.isnan(fields.z0), _land_roughness(lon, lat), fields.z0))
    if from_fluxes and not np.isnan(fields.ustar + fields.shtf).any():
        return fields
    fields = fields._replace(ustar=fields.ustar.copy(), shtf=fields.shtf.copy())
    _fill_fluxes(fields, from_fluxes)
    return fields


@kernel()
def _fill_fluxes(fields: Fields, from_fluxes: bool) -> None:
    """Overwrite friction velocities and heat fluxes that are missing, or all of them where not *from_fluxes*."""
    nt, ny, nx = fields.ustar.shape
    for t in range(nt):
        for j in range(ny):
            for i in range(nx):
                ustar, heat = fields.ustar[t, j, i], fields.shtf[t, j, i]
                temp, pres = fields.temp[t, j, i], fields.pres[t, j, i]
                density = moist_density(temp[1], pres[1], fields.dens[t, j, i, 1])
                if math.isnan(ustar):
                    ustar = friction_from_stress(fields.umof[t, j, i], fields.vmof[t, j, i], density)
                if not from_fluxes or math.isnan(ustar + heat):
                    z1, z2 = fields.level[:2] * squeeze(fields.zsfc[t, j, i], fields.top)
                    theta1, theta2 = potential_temperature(temp[0], pres[0]), potential_temperature(temp[1], pres[1])
                    u, v = fields.u[t, j, i], fields.v[t, j, i]
                    speed2 = (u[1] - u[0]) ** 2 + (v[1] - v[0]) ** 2
                    ustar, theta_star = scales_from_profiles(z1, z2, speed2, theta1, theta2, fields.z0[t, j, i])
                    heat = -theta_star * density * _HEAT_CAPACITY * ustar
                fields.ustar[t, j, i], fields.shtf[t, j, i] = ustar, heat


@kernel()
def potential_temperature(temperature: float, pressure: float) -> float:
    """Return the potential temperature, K, of a temperature, K, and a pressure, hPa."""
    return float(temperature * (1000.0 / pressure) ** _KAPPA)


@kernel()
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


@kernel()
def friction_from_stress(umof: float, vmof: float, density: float) -> float:
    """Return the friction velocity, m s-1, of a file that has stresses of the wind, N m-2, in its place (fitted).

    The two stresses are added as they are, and not as sides of a triangle.
    """
    if math.isnan(umof + vmof):
        return math.nan
    return math.sqrt(max(abs(umof) / density, _LEAST_STRESS) + max(abs(vmof) / density, _LEAST_STRESS))


@kernel()
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
    ustar = max(ustar, _LEAST_USTAR)
    theta_star = -heat_flux / (density * _HEAT_CAPACITY * ustar)
    if abs(theta_star) < _LEAST_THETA_STAR:
        theta_star = _LEAST_THETA_STAR if heat_flux < 0.0 else -_LEAST_THETA_STAR
    return ustar, theta_star


@kernel()
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
        x = rb * (s * s / t - 0.5)
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
    gradient = KARMAN * z2 / dz
    return gradient * math.sqrt(speed2) / phi_m, gradient * dtheta / phi_h


@compiled
def stable_heat(x: float) -> float:
    """Return ``phi_h`` of Beljaars and Holtslag (1991, eq. 28 and 32) with 0.923 where neutral; *x* is ``z / L``."""
    return 0.923 * (1.0 + x * (math.sqrt(1.0 + x / 1.5) + math.exp(-0.35 * x) / 1.5 * (6.0 - 0.35 * x)))


@kernel()
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
    stability = z2 * KARMAN * GRAVITY * theta_star / (ustar * ustar * theta)
    length = z2 / min(max(stability, _MOST_UNSTABLE), _MOST_STABLE) if stability else math.inf
    return length, abs(GRAVITY * ustar * theta_star / theta)
