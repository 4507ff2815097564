"""Which soundings of a retrieval become receptors: area, quality, thinning, super-observations.

Cells for thinning and aggregation are the same wherever and whenever: rows of latitude of equal height, cut into cells
of equal width from the meridian of Greenwich, so that reprocessing a granule moves no receptor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import counted
from stilt_dagster.science.observations.soundings import POSITION_DECIMALS, Soundings
from stilt_dagster.science.scenes.grid import EARTH_RADIUS
from stilt_dagster.science.scenes.observation_settings import Aggregation, Selection

_KM_PER_DEGREE = np.pi / 180 * EARTH_RADIUS / 1000


@dataclass(frozen=True)
class Counts:
    """How many soundings were left after each step.

    Attributes
    ----------
    read, in_area, whole, good, selected : int
        In the granule; inside the area; of these with no number missing; of these of the quality; receptors made.
    """

    read: int
    in_area: int
    whole: int
    good: int
    selected: int

    def reason_for_none(self) -> str:
        """Return why there are no receptors."""
        if not self.in_area:
            return f"none of {counted(self.read, 'sounding')} lies in the area"
        if not self.whole:
            some = counted(self.in_area, "sounding")
            return f"none of {some} in the area is whole: they lack values, kernels or pressures"
        if not self.good:
            return f"none of the {self.whole} whole soundings in the area has the quality asked for"
        return f"no cell holds as many of the {self.good} good soundings as min_pixels asks for"


def select(soundings: Soundings, selection: Selection, read: int | None = None) -> tuple[Soundings, Counts]:
    """Return the soundings that become receptors, and how many each step left.

    Parameters
    ----------
    soundings : Soundings
        Of a granule, or of some part of it that holds the area.
    selection : Selection
        Which.
    read : int, optional
        How many there are in the granule, if *soundings* are not all.

    Returns
    -------
    (Soundings, Counts)
        None, if nothing is left.
    """
    inside = np.ones(len(soundings), bool)
    if selection.area is not None:
        inside = selection.area.contains(soundings.longitude, soundings.latitude)
    whole = inside & soundings.is_whole
    good = whole & (soundings.quality >= selection.quality - 1e-6)  # a float32's 0.5
    chosen = soundings.select(good)
    if selection.thin_km is not None:
        chosen = thin(chosen, selection.thin_km)
    elif selection.aggregate is not None:
        chosen = aggregate(chosen, selection.aggregate)
    n_read = len(soundings) if read is None else read
    return chosen, Counts(n_read, int(inside.sum()), int(whole.sum()), int(good.sum()), len(chosen))


def cells(longitude: NDArray[Any], latitude: NDArray[Any], km: float) -> NDArray[np.int64]:
    """Return the row and column of the cell each position lies in, shape ``(n, 2)``."""
    height = km / _KM_PER_DEGREE
    row = np.floor(latitude / height).astype(np.int64)
    column = np.floor(longitude / _widths(row, km)).astype(np.int64)
    return np.column_stack([row, column])


def _widths(row: NDArray[np.int64], km: float) -> NDArray[np.float64]:
    """Return the width of the cells of a row, degrees of longitude."""
    height = km / _KM_PER_DEGREE
    cosine = np.cos(np.deg2rad(np.clip((row + 0.5) * height, -89.0, 89.0)))
    return np.asarray(height / cosine)


def centres(cell: NDArray[np.int64], km: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the longitude and latitude of cells' centres, degrees."""
    row, column = cell.T
    lat = np.clip((row + 0.5) * km / _KM_PER_DEGREE, -90, 90)
    lon = ((column + 0.5) * _widths(row, km) + 180) % 360 - 180
    return np.round(lon, POSITION_DECIMALS), np.round(lat, POSITION_DECIMALS)


def thin(soundings: Soundings, km: float) -> Soundings:
    """Return one sounding a cell: that of the least uncertainty, and of those alike the first id."""
    if not len(soundings):
        return soundings
    cell = cells(soundings.longitude, soundings.latitude, km)
    order = np.lexsort((soundings.sounding.astype(str), soundings.uncertainty))
    _, first = np.unique(cell[order], axis=0, return_index=True)
    return soundings.select(np.sort(order[first]))


def aggregate(soundings: Soundings, how: Aggregation) -> Soundings:
    """Return super-observations: the mean of the pixels of each cell, at the cell's centre.

    The operator of the mean is the mean of the operators: pressure weights are averaged, kernels and priors with the
    pressure weights, level by level from the surface, and pressures, which follow the surface's, level by level. The
    uncertainty is that of a mean of ``n`` values of errors correlated by ``c``:
    ``sqrt((1 - c) sum(s^2) / n^2 + c (sum(s) / n)^2)`` (Chen et al. 2023, ACP 23, 5945, eq. 5, without its transport
    error).

    Parameters
    ----------
    soundings : Soundings
        The pixels.
    how : Aggregation
        Cells, and how errors go together.

    Returns
    -------
    Soundings
        ``n_pixels`` and ``pixels`` tell which went in; the id is the cell's.
    """
    if not len(soundings):
        return soundings
    cell, which = np.unique(cells(soundings.longitude, soundings.latitude, how.km), axis=0, return_inverse=True)
    which = which.ravel()
    n = np.bincount(which, minlength=len(cell))
    order = np.argsort(which, kind="stable")
    starts = np.r_[0, np.cumsum(n)[:-1]]

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.add.reduceat(np.asarray(values, np.float64)[order], starts, axis=0)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = total(values)
        return sums / (n if sums.ndim == 1 else n[:, None])

    weight = np.asarray(soundings.pressure_weight, np.float64)
    weights = total(weight)

    def weighted(values: NDArray[Any]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weights > 0, total(values * weight) / weights, mean(values))

    s = np.asarray(soundings.uncertainty, np.float64)
    c = how.correlation
    uncertainty = np.sqrt((1 - c) * total(s**2) / n**2 + c * (total(s) / n) ** 2)
    angle = np.deg2rad(np.asarray(soundings.azimuth, np.float64))
    azimuth = np.rad2deg(np.arctan2(mean(np.sin(angle)), mean(np.cos(angle)))) % 360
    lon, lat = centres(cell, how.km)
    ids = np.split(soundings.sounding[order], starts[1:])
    made = Soundings(
        sounding=np.array([f"cell_{r}_{k}" for r, k in cell.tolist()], object),
        time=np.round(mean(soundings.time.astype("datetime64[s]").astype(np.int64))).astype("datetime64[s]"),
        longitude=lon,
        latitude=lat,
        value=mean(soundings.value),
        uncertainty=uncertainty,
        quality=mean(soundings.quality),
        surface_pressure=mean(soundings.surface_pressure),
        surface_altitude=mean(soundings.surface_altitude),
        zenith=mean(soundings.zenith),
        azimuth=azimuth,
        pressure=mean(soundings.pressure),
        averaging_kernel=weighted(soundings.averaging_kernel),
        pressure_weight=weights / n[:, None],
        prior=weighted(soundings.prior),
        altitude=None if soundings.altitude is None else mean(soundings.altitude),
        n_pixels=n.astype(np.int32),
        pixels=tuple(tuple(group.tolist()) for group in ids),
    )
    return made.select(n >= how.min_pixels)
