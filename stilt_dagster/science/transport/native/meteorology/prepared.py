"""A scene's meteorology as particles meet it: winds in grid units, density, turbulence, mixing heights."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.native.meteorology.fields import read_fields
from stilt_dagster.science.transport.native.meteorology.levels import second_half_density
from stilt_dagster.science.transport.native.meteorology.mean_wind import MeanWind, mean_wind
from stilt_dagster.science.transport.native.meteorology.mixing_height import (
    least_heights,
    mixing_heights,
    scale_factors,
)
from stilt_dagster.science.transport.native.meteorology.projection import MapProjection, map_projection
from stilt_dagster.science.transport.native.meteorology.surface_layer import complete_surface
from stilt_dagster.science.transport.native.meteorology.turbulence import fill_turbulence


class Meteorology(NamedTuple):
    """What of a scene's meteorology the particle loop reads.

    Attributes
    ----------
    projection : MapProjection
        Longitude and latitude to grid coordinates.
    wind : MeanWind
        Winds in grid units, and the times, minutes since 1970.
    level : ndarray of float64, shape (nz,)
        Heights of the levels over flat land, m.
    top : float
        Where levels are level, m above sea level (:class:`Fields`).
    dens : ndarray of float32, shape (nt, ny, nx, nz)
        Density of dry air, kg m-3.
    second_half_dens : ndarray of float32, shape (nt, ny, nx, nz)
        Density that a footprint counts in the second half of a minute, kg m-3.
    sigma_w, timescale : ndarray of float32, shape (nt, ny, nx, nz)
        Standard deviation of the vertical velocity, m s-1, and its Lagrangian timescale, s.
    height : ndarray of float32, shape (nt, ny, nx)
        Mixing height above ground, m.
    terrain : ndarray of float32, shape (nt, ny, nx)
        Height of the ground, m.
    """

    projection: MapProjection
    wind: MeanWind
    level: NDArray[np.float64]
    top: float
    dens: NDArray[np.float32]
    second_half_dens: NDArray[np.float32]
    sigma_w: NDArray[np.float32]
    timescale: NDArray[np.float32]
    height: NDArray[np.float32]
    terrain: NDArray[np.float32]


_lock = threading.Lock()


def prepare(path: Path, settings: TransportSettings, release: float) -> Meteorology:
    """Return the meteorology of an ARL file, decoded the first time that a process asks for it.

    Parameters
    ----------
    path : Path
        The file, of one grid and of all the hours a run needs.
    settings : TransportSettings
        Of these ``z_top``, ``kmixd``, ``kmix0``, ``ziscale`` and ``kbls`` count.
    release : float
        When the particles are released, minutes since 1970: hours of ``ziscale`` count from there.

    Raises
    ------
    MeteorologyError
        Naming the file and what it lacks, or what is damaged.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise MeteorologyError(f"{path} cannot be read: {error.strerror}") from error
    scale = settings.hourly_ziscale()
    scaled = (*scale, release) if any(factor != 1.0 for factor in scale) else ()
    with _lock:  # threads that start together decode once
        return _prepare(
            path.resolve(),
            (state.st_mtime_ns, state.st_size),
            settings.z_top,
            settings.kmixd,
            settings.kmix0,
            scaled,
            settings.kbls,
        )


@lru_cache(maxsize=1)
def _prepare(
    path: Path,
    _version: tuple[int, int],
    top: float,
    kmixd: int,
    kmix0: float,
    scaled: tuple[float, ...],
    kbls: int,
) -> Meteorology:
    """Prepare a file; its time and size are in the cache's key, so that a file made anew is read anew."""
    fields = complete_surface(read_fields(path, top), *arl.grid_lonlat(arl.read_header(path).grid), kbls == 1)
    height = mixing_heights(fields, kmixd)
    if scaled:
        factors = scale_factors(fields.times, scaled[-1], np.array(scaled[:-1]))[:, None, None]
        own = np.where(np.isnan(fields.pblh), height, fields.pblh)
        height = np.where(factors >= 0, height * factors, own).astype(np.float32)
    height = np.maximum(height, least_heights(fields, kmix0))
    sigma_w, timescale = np.empty_like(fields.dens), np.empty_like(fields.dens)
    fill_turbulence(fields, height, sigma_w, timescale)
    projection = map_projection(fields.projection, fields.zsfc.shape[2])
    return Meteorology(
        projection=projection,
        wind=mean_wind(fields.u, fields.v, fields.w, fields.zsfc, fields.times, projection, fields.level, fields.top),
        level=fields.level,
        top=fields.top,
        dens=fields.dens,
        second_half_dens=second_half_density(fields.dens, fields.temp, fields.pres),
        sigma_w=sigma_w,
        timescale=timescale,
        height=height,
        terrain=fields.zsfc,
    )
