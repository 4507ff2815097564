"""How many levels of a source a scene needs: those its particles can reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.index import Header, SigmaAxis
from stilt_dagster.science.meteorology.extent.crop import Rectangle
from stilt_dagster.science.meteorology.extent.survey import Survey

#: Levels must hold this many mixing heights, and so many metres above the highest release.
MIXING_HEIGHTS, ABOVE_RELEASE = 1.5, 1000.0

#: HYSPLIT's own levels lie at A k^2 + B k + C metres (HYSPLIT user's guide, "vertical coordinate").
_A, _B, _C = 30.0, -25.0, 5.0

#: How many of HYSPLIT's own levels must lie between what is held and the end of the file's. Turbulence that it finds
#: above the mixed layer depends on three more levels: where the file ended before, particles came out otherwise.
_BEYOND = 2

#: Acceleration of gravity (m s-2), gas constant of dry air (J kg-1 K-1), lapse rate of the standard atmosphere (K m-1).
_G, _R, _LAPSE = 9.80665, 287.05, 0.0065

#: Temperature at 2 m where a file has none, K: cold, so that levels lie low.
_COLD = 255.0

#: Terrain of 2 km under a model top of 20 km squeezes the heights of terrain-following levels to this share.
_SQUEEZED = 0.85


@dataclass(frozen=True)
class Levels:
    """The levels that are kept.

    Attributes
    ----------
    count : int
        The lowest ones, the surface counted.
    why : str
        What decided it, for the metadata.
    """

    count: int
    why: str


def levels_needed(survey: Survey, rectangle: Rectangle, release_top: float) -> Levels:
    """Return the fewest levels that hold the mixed layer and what is released above it.

    They hold 1.5 times the largest mixing height of the hours and the rectangle, and 1 km above the highest release,
    and reach so far beyond that particles below come out as they do with all levels.

    Parameters
    ----------
    survey : Survey
        Of the source.
    rectangle : tuple of float
        Where air may be.
    release_top : float
        The highest release, m above the ground.
    """
    count = len(survey.header.levels)
    mixing_height = survey.fields(0, "PBLH")
    pressure = survey.fields(0, "PRSS")
    if mixing_height is None or pressure is None:
        missing = "PBLH" if mixing_height is None else "PRSS"
        return Levels(count, f"all {count}: the files have no {missing} to tell how high air is mixed")
    temperature = survey.fields(0, "T02M")
    highest = float(survey.inside(mixing_height, rectangle).max())
    needed = height_to_reach(max(MIXING_HEIGHTS * highest, release_top + ABOVE_RELEASE))
    ground = survey.inside(pressure, rectangle)
    air = np.full_like(ground, _COLD) if temperature is None else survey.inside(temperature, rectangle)
    lowest = np.min([heights(survey.header, *hour) for hour in zip(ground, air, strict=True)], axis=0)
    above = np.flatnonzero(lowest >= needed)
    kept = min(int(above[0]) + 2, count) if len(above) else count
    return Levels(
        kept,
        f"{kept} of {count}: up to {lowest[kept - 1]:.0f} m, for mixing heights up to {highest:.0f} m and releases "
        f"up to {release_top:.0f} m",
    )


def height_to_reach(held: float) -> float:
    """Return how high levels must reach for particles up to a height to come out as with all levels, m.

    That is HYSPLIT's own level :data:`_BEYOND` above the one that holds the height.
    """
    k = np.ceil((-_B + np.sqrt(_B**2 - 4 * _A * (_C - held))) / (2 * _A)) + _BEYOND
    return float(_A * k**2 + _B * k + _C)


def heights(
    header: Header, surface_pressure: NDArray[np.float32], temperature: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the lowest height each level has above the ground, m, shape ``(levels,)``.

    The first level is the ground, whatever a file says of it: on pressure levels that is 0. The pressure of the others
    follows from the vertical coordinate, height from that with a constant lapse rate (U.S. Standard Atmosphere 1976,
    eq. 33a, solved for height)::

        z = T0 / L (1 - (p / p0)^(R L / g))

    Parameters
    ----------
    header : Header
        The file.
    surface_pressure : ndarray
        hPa.
    temperature : ndarray
        At 2 m, K, of the same shape.
    """
    axis = header.axis
    if axis.flag == 3:  # levels are heights
        return _SQUEEZED * np.append(0.0, axis.levels[1:])
    if axis.flag == 5:  # close to sigma, and all that a file tells without its PRES fields
        axis = SigmaAxis(levels=axis.levels, offset=axis.offset)
    pressure = axis.to_pressure(surface_pressure=surface_pressure)
    pressure = np.broadcast_to(pressure, (*surface_pressure.shape, len(axis.levels))).copy()
    pressure[..., 0] = surface_pressure
    ratio = np.clip(pressure / surface_pressure[..., None], 1e-4, 1.0)
    z = temperature[..., None] / _LAPSE * (1 - ratio ** (_R * _LAPSE / _G))
    return np.asarray(z.reshape(-1, z.shape[-1]).min(axis=0), float)
