"""The height of the mixed layer, ``mlht``, of each grid point on each hour of the meteorology.

``kmixd: 3``, STILT's default, is the height at which a bulk Richardson number reaches 0.25 (Vogelezang and Holtslag
1996; Lin et al. 2003), of air that is warmed by an excess temperature where the ground heats it (Holtslag and Boville
1993). ``kmixd: 1`` and ``2`` are as in the HYSPLIT user's guide ("mixing depth computation method").

What these leave open was fitted to what hycs_std prints of designed columns: that differences are taken from the lowest
level, of potential temperature without moisture, and without a term in the friction velocity; the density in the
excess; and how heights between levels come about.

A particle has the heights of its nearest grid point, linear in time. What hycs_std prints of a time step is the mean of
two: where and when the mean wind began to move the particle, and where and when it ended.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.native.meteorology.fields import Fields
from stilt_dagster.science.transport.native.meteorology.levels import GRAVITY, squeeze
from stilt_dagster.science.transport.native.meteorology.surface_layer import moist_density, potential_temperature

#: Values of ``kmixd``: the meteorology's own height, of the temperature, of the turbulent kinetic energy, of the
#: Richardson number. Other values under 10 are as :data:`TEMPERATURE`, from 10 on ``kmixd`` is the height itself, m.
METEOROLOGY, TEMPERATURE, TKE, RICHARDSON, CONSTANT = 0, 1, 2, 3, 10

#: Richardson number at the mixed layer's top; least squared difference of winds in it, m2 s-2.
_CRITICAL, _LEAST_SHEAR = 0.25, 1e-4

#: Of the excess temperature: share of the heat flux over the velocity scale; share of the convective velocity scale in
#: that (both Holtslag and Boville 1993); where the ground does not cool least friction velocity, m s-1, and temperature
#: scale, K (fitted).
_EXCESS, _CONVECTIVE, _LEAST_USTAR, _LEAST_THETA_STAR = 8.5, 0.6, 1e-4, 1e-4

#: Specific heat of air, J kg-1 K-1.
_HEAT_CAPACITY = 1005.0

#: ``kmixd: 1``: excess over the column's least potential temperature, K.
_WARMER = 2.0

#: ``kmixd: 2``: energy that turbulence ends at, m2 s-2.
_LEAST_TKE = 0.21

#: No mixed layer is shallower than the lowest level and this share of the layer over it.
_LEAST_SHARE = 1e-3

#: The largest least height that ``kmix0`` has an effect up to, m (fitted: 1000, 1500 and 3000 are all 999).
_LARGEST_LEAST = 999.0


@kernel()
def excess_temperature(z: float, theta: float, density: float, ustar: float, shtf: float) -> float:
    """Return by how much air that the ground heats is warmer than the lowest level, K.

    It is ``8.5 Q / (u*^3 + 0.6 w*^3)^(1/3)``, ``w*^3 = g Q z / theta``, with the heat flux ``Q = H / (density cp)``
    (Holtslag and Boville 1993; that the density is that of the level that is tried was fitted).

    Parameters
    ----------
    z : float
        Height that is tried for the mixed layer's top, m above ground.
    theta : float
        Potential temperature of the lowest level, K.
    density : float
        Density of the air at *z*, its moisture included, kg m-3.
    ustar : float
        Friction velocity, m s-1.
    shtf : float
        Sensible heat flux, W m-2, upward; where it cools there is no excess.
    """
    if shtf < 0.0:
        return 0.0
    ustar = max(ustar, _LEAST_USTAR)
    flux = max(shtf / (density * _HEAT_CAPACITY), _LEAST_THETA_STAR * ustar)
    velocity = (ustar**3 + _CONVECTIVE * GRAVITY / theta * flux * z) ** (1.0 / 3.0)
    return float(_EXCESS * flux / velocity)


@kernel()
def richardson_height(
    z: NDArray[np.float64],
    temperature: NDArray[np.float32],
    pressure: NDArray[np.float32],
    density: NDArray[np.float32],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    ustar: float,
    shtf: float,
) -> float:
    """Return the height at which the bulk Richardson number reaches 0.25, m above ground (``kmixd: 3``).

    Upward from the lowest level, ``Ri = g / theta1 (theta - theta1 - excess) (z - z1) / |V - V1|^2``; between the last
    two levels it is linear in height. Where no level of the column reaches it, the last one's height.

    Parameters
    ----------
    z : ndarray, shape (nz,)
        Heights of the levels above this ground, m, ascending.
    temperature, pressure, density, u, v : ndarray, shape (nz,)
        K, hPa, dry air's kg m-3, m s-1.
    ustar, shtf : float
        As :func:`excess_temperature` takes them.
    """
    theta1, below = potential_temperature(temperature[0], pressure[0]), 0.0
    for k in range(1, z.size):
        moist = moist_density(temperature[k], pressure[k], density[k])
        theta = potential_temperature(temperature[k], pressure[k])
        warmer = theta - theta1 - excess_temperature(z[k], theta1, moist, ustar, shtf)
        shear = max((u[k] - u[0]) ** 2 + (v[k] - v[0]) ** 2, _LEAST_SHEAR)
        ri = GRAVITY / theta1 * warmer * (z[k] - z[0]) / shear
        if ri >= _CRITICAL:
            return float(z[k - 1] + (z[k] - z[k - 1]) * (_CRITICAL - below) / (ri - below))
        below = ri
    return float(z[-1])


@kernel()
def temperature_height(
    z: NDArray[np.float64], temperature: NDArray[np.float32], pressure: NDArray[np.float32]
) -> float:
    """Return the height of the highest level less than 2 K warmer than the coldest, m above ground (``kmixd: 1``).

    Warmth is potential temperature's; from the top down (HYSPLIT user's guide).

    Parameters
    ----------
    z, temperature, pressure : ndarray, shape (nz,)
        Heights of the levels above this ground, m; K; hPa.
    """
    coldest = math.inf
    for k in range(z.size):
        coldest = min(coldest, potential_temperature(temperature[k], pressure[k]))
    k = z.size - 1
    while k > 0 and potential_temperature(temperature[k], pressure[k]) >= coldest + _WARMER:
        k -= 1
    return float(z[k])


@kernel()
def tke_height(z: NDArray[np.float64], tke: NDArray[np.float32]) -> float:
    """Return the height of the last level of the lowest turbulent layer, m above ground (``kmixd: 2``).

    The layer ends where turbulent kinetic energy is less than half of that of the level below, or 0.21 m2 s-2 at most
    (HYSPLIT user's guide). Levels without any energy below the layer do not end it (fitted). Without a turbulent layer
    it is the lowest level's height.

    Parameters
    ----------
    z, tke : ndarray, shape (nz,)
        Heights of the levels above this ground, m; m2 s-2.
    """
    top = 0
    for k in range(1, z.size):
        if tke[k] < 0.5 * tke[k - 1] or 0.0 < tke[k] <= _LEAST_TKE:
            break
        if tke[k] > 0.0:
            top = k
    return float(z[top])


@kernel()
def mixing_heights(fields: Fields, kmixd: int) -> NDArray[np.float32]:
    """Return the mixing heights of all grid points and hours, m above ground, shape ``(nt, ny, nx)``.

    They are neither scaled (:func:`scale_factors`) nor held at their least (:func:`least_heights`), in this order.

    Parameters
    ----------
    fields : Fields
        The meteorology, with a friction velocity and a heat flux everywhere.
    kmixd : int
        Where heights come from. The temperature stands in for what the meteorology lacks: its own mixing height, or
        turbulent kinetic energy.
    """
    nt, ny, nx = fields.zsfc.shape
    out = np.empty((nt, ny, nx), np.float32)
    for t in range(nt):
        for j in range(ny):
            for i in range(nx):
                if kmixd >= CONSTANT:
                    out[t, j, i] = kmixd
                    continue
                if kmixd == METEOROLOGY and not math.isnan(fields.pblh[t, j, i]):
                    out[t, j, i] = fields.pblh[t, j, i]
                    continue
                z = fields.level * squeeze(fields.zsfc[t, j, i], fields.top)
                temp, pres = fields.temp[t, j, i], fields.pres[t, j, i]
                if kmixd == RICHARDSON:
                    out[t, j, i] = richardson_height(
                        z,
                        temp,
                        pres,
                        fields.dens[t, j, i],
                        fields.u[t, j, i],
                        fields.v[t, j, i],
                        fields.ustar[t, j, i],
                        fields.shtf[t, j, i],
                    )
                elif kmixd == TKE and fields.tke.size:
                    out[t, j, i] = tke_height(z, fields.tke[t, j, i])
                else:
                    out[t, j, i] = temperature_height(z, temp, pres)
    return out


@kernel()
def least_heights(fields: Fields, kmix0: float) -> NDArray[np.float32]:
    """Return the least mixing height of each grid point, m above ground, shape ``(ny, nx)``.

    Parameters
    ----------
    fields : Fields
        The meteorology.
    kmix0 : float
        The least one asked for, m: of more than 999 it is 999. One close to the lowest level is that of the level.
    """
    level = fields.level
    lowest = level[0] + _LEAST_SHARE * (level[1] - level[0])
    ny, nx = fields.zsfc.shape[1:]
    out = np.empty((ny, nx), np.float32)
    for j in range(ny):
        for i in range(nx):
            out[j, i] = max(min(kmix0, _LARGEST_LEAST), lowest * squeeze(fields.zsfc[0, j, i], fields.top))
    return out


def scale_factors(times: NDArray[np.float64], release: float, ziscale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the heights of each hour of the meteorology are multiplied with, shape ``(nt,)``.

    An hour of the meteorology has the factor of the whole hours that lie between it and the release, on either side; 1
    where there is none (STILT's ``ZICONTROL``, fitted). One negative factor alone is that of all hours.

    Parameters
    ----------
    times : ndarray, shape (nt,)
        Minutes since 1970.
    release : float
        Of the receptor, minutes since 1970.
    ziscale : ndarray, shape (n,)
        A factor an hour. A negative one stands for the meteorology's own height.
    """
    if ziscale.size == 1 and ziscale[0] < 0:
        return np.full(times.size, ziscale[0])
    hours = (np.abs(times - release) // 60).astype(np.int64)
    factors: NDArray[np.float64] = np.append(ziscale, 1.0)[np.minimum(hours, ziscale.size)]
    return factors
