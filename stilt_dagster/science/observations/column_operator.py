"""Columns: where a sounding's particles are released, and what each stands for in the retrieval's column.

A retrieval reports ``X = sum_l h_l (A_l x_l + (1 - A_l) x_prior,l)``: pressure weights ``h``, averaging kernel ``A``
(Rodgers and Connor 2003, doi:10.1029/2002JD002299; O'Dell et al. 2012, doi:10.5194/amt-5-99-2012). Particles are
released evenly over height, so particle ``i`` of ``n`` stands for the ``i``-th of ``n`` slabs of equal height (R
STILT's ``xhgt``), and carries that part of ``sum_l h_l A_l`` which lies in its slab's range of pressure. Its influence,
times this weight, summed over particles, is d(X)/d(flux) (Wu et al. 2018, doi:10.5194/gmd-11-4843-2018).

What the particles do not see is the prior's: ``prior_term`` holds ``(1 - A) x_prior`` below the top of the column and
``x_prior`` above it, so that ``X = H flux + background + prior_term``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.observations.soundings import POSITION_DECIMALS, Soundings
from stilt_dagster.science.scenes.grid import EARTH_RADIUS
from stilt_dagster.science.scenes.receptors import Receptor, Receptors, checked_receptors

if TYPE_CHECKING:
    from stilt_dagster.science.scenes.spec import Scene

Floats = NDArray[np.float64]

#: US Standard Atmosphere 1976 below 11 km, for products that give no heights: K, K m-1, and the exponent of pressure.
_SEA_LEVEL, _LAPSE = 288.15, 0.0065
_EXPONENT = 287.05 * _LAPSE / 9.80665

#: Steeper lines of sight than this are taken for errors of the product, degrees.
MAX_ZENITH = 85.0


def level_heights(soundings: Soundings) -> Floats:
    """Return the heights of a retrieval's pressure levels above its ground, m, shape of ``soundings.pressure``.

    The product's own, where it has any; else those of the standard atmosphere over the sounding's surface pressure and
    altitude.
    """
    ground = np.asarray(soundings.surface_altitude, np.float64)[:, None]
    if soundings.altitude is not None and np.isfinite(ground).all():
        return np.asarray(np.maximum.accumulate(np.asarray(soundings.altitude, np.float64) - ground, axis=1))
    relative = np.asarray(soundings.pressure, np.float64) / np.asarray(soundings.surface_pressure, np.float64)[:, None]
    temperature = _SEA_LEVEL - _LAPSE * np.nan_to_num(ground)
    return np.asarray(temperature / _LAPSE * (1 - np.clip(relative, 0, None) ** _EXPONENT))


def column_receptors(soundings: Soundings, top: float, *, slant: bool) -> Receptors:
    """Return a column receptor for each sounding.

    Parameters
    ----------
    soundings : Soundings
        The soundings.
    top : float
        Least height of the column, m above ground: it ends at the lowest of the sounding's pressure levels at or above
        that, or at the highest there is, to the metre.
    slant : bool
        Along the line of sight, from the sounding's position at the ground; else vertical.

    Returns
    -------
    Receptors
        In the order of the soundings.

    Raises
    ------
    ValueError
        If *slant* is asked of soundings without viewing angles, or a line of sight is nearly level.
    """
    heights = level_heights(soundings)
    ends = np.where(heights >= top - 0.5, heights, np.inf).min(axis=1)
    ends = np.round(np.where(np.isfinite(ends), ends, heights.max(axis=1)))
    lon, lat = soundings.longitude, soundings.latitude
    lon_top, lat_top = lon, lat
    if slant:
        zenith = np.asarray(soundings.zenith, np.float64)
        if not np.isfinite(zenith).all() or not np.isfinite(soundings.azimuth).all():
            raise ValueError("geometry slant needs viewing angles, which this product does not have: use vertical")
        if (zenith > MAX_ZENITH).any():
            raise ValueError(f"a viewing zenith angle is {zenith.max():g} degrees, over {MAX_ZENITH:g}: use vertical")
        away = np.rad2deg(ends * np.tan(np.deg2rad(zenith)) / EARTH_RADIUS)
        bearing = np.deg2rad(np.asarray(soundings.azimuth, np.float64))
        lat_top = np.round(lat + away * np.cos(bearing), POSITION_DECIMALS)
        lon_top = np.round(lon + away * np.sin(bearing) / np.cos(np.deg2rad(lat)), POSITION_DECIMALS)
        lon_top = np.round((lon_top + 180) % 360 - 180, POSITION_DECIMALS)
    minutes = soundings.time.astype("datetime64[s]").astype(np.int64) // 60
    ground = np.zeros(len(ends))
    return checked_receptors(
        minutes, *(np.column_stack(pair) for pair in ((lon, lon_top), (lat, lat_top), (ground, ends)))
    )


@dataclass(frozen=True)
class ColumnOperator:
    """What makes a column of one sounding's levels.

    Attributes
    ----------
    pressure : ndarray
        hPa, falling: of the levels, or the edges of layers, one more.
    height : ndarray
        Of *pressure*, m above ground, rising.
    kernel, weight, prior : ndarray
        Averaging kernel, pressure weight, and prior (ppm) of the levels.
    """

    pressure: Floats
    height: Floats
    kernel: Floats
    weight: Floats
    prior: Floats

    def _below(self, values: Floats, height: Floats | float) -> Floats:
        """Return how much of ``sum(weight * values)`` lies below some heights, m above ground.

        A layer's share is spread evenly over its pressures. A level's lies around it, falling to nothing at its
        neighbours, as linear interpolation between levels has it.
        """
        logs = np.log(np.maximum(self.pressure, 1e-3))
        pressure = np.exp(np.interp(height, self.height, logs))
        share = self.weight * values
        if len(self.pressure) > len(share):
            return np.asarray(np.interp(-pressure, -self.pressure, np.concatenate([[0.0], np.cumsum(share)])))
        step = -np.diff(self.pressure)
        reach = np.convolve(step, [0.5, 0.5])  # of a level, hPa: half the way to each neighbour
        density = share / reach
        total = np.concatenate([[0.0], np.cumsum(step * (density[:-1] + density[1:]) / 2)])
        k = np.clip(np.searchsorted(-self.pressure, -pressure, side="right") - 1, 0, len(step) - 1)
        t = np.clip(self.pressure[k] - pressure, 0.0, step[k])
        return np.asarray(total[k] + density[k] * t + (density[k + 1] - density[k]) * t**2 / (2 * step[k]))

    def particle_weights(self, bottom: float, top: float, numpar: int, *, kernel: bool = True) -> Floats:
        """Return what each particle's influence counts, shape ``(numpar,)``, particle 1 the lowest.

        They sum to the part of the column between *bottom* and *top* (m above ground), with the averaging kernel or,
        if *kernel* is false, without.
        """
        edges = bottom + (top - bottom) * np.arange(numpar + 1) / numpar
        return np.diff(self._below(self.kernel if kernel else np.ones_like(self.kernel), edges))

    def prior_term(self, bottom: float, top: float, *, kernel: bool = True) -> float:
        """Return what the prior adds to the column, ppm: all of it the particles do not see."""
        seen = self.prior * self.kernel if kernel else self.prior
        below = self._below(seen, np.array([bottom, top]))
        return float((self.weight * self.prior).sum() - (below[1] - below[0]))


def operators(soundings: Soundings) -> list[ColumnOperator]:
    """Return the column operator of each sounding."""
    heights = level_heights(soundings)
    kernel, weight, prior, pressure = (
        np.asarray(v, np.float64)
        for v in (soundings.averaging_kernel, soundings.pressure_weight, soundings.prior, soundings.pressure)
    )
    return [ColumnOperator(pressure[i], heights[i], kernel[i], weight[i], prior[i]) for i in range(len(soundings))]


def redistributed_weights(weights: Floats, numbers: NDArray[Any]) -> Floats:
    """Return the weights of the particles there are, which take over what those that are missing stood for.

    Parameters
    ----------
    weights : ndarray
        Of all particles of an ensemble, shape ``(numpar,)``.
    numbers : ndarray of int
        Numbers of those that have a row, from 1; those of further ensembles go on, and share the weights.

    Returns
    -------
    ndarray
        Shape of *numbers*, with the sum of *weights*.
    """
    place = np.asarray(numbers) - 1
    some: Floats = weights[place % len(weights)]
    total = float(some.sum())
    complete = len(some) == len(weights) and bool((place < len(weights)).all())
    return some if complete or total == 0 else some * (float(weights.sum()) / total)


def particle_weights(scene: Scene, receptor: Receptor) -> NDArray[np.float64] | None:
    """Return what each particle of a retrieval's receptor counts, shape ``(numpar,)``; None for other receptors."""
    if not scene.has_columns:
        return None
    row = scene.sounding_rows[receptor.id]
    [operator] = operators(scene.soundings.select(slice(row, row + 1)))
    bottom, top = receptor.heights
    return operator.particle_weights(bottom, top, scene.transport.numpar, kernel=scene.weighting.averaging_kernel)
