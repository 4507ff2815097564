"""Tracks of the mean wind alone: the native engine's, and those that hycs_std prints without turbulence."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl import Box
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native import advection
from stilt_dagster.science.transport.native.meteorology.fields import read_fields
from stilt_dagster.science.transport.native.meteorology.levels import squeeze
from stilt_dagster.science.transport.native.meteorology.mean_wind import MeanWind, mean_wind
from stilt_dagster.science.transport.native.meteorology.projection import (
    MapProjection,
    map_projection,
    to_grid,
    to_lonlat,
)

Floats = NDArray[np.float64]


@numba.njit
def follow(
    wind: MeanWind,
    projection: MapProjection,
    terrain: NDArray[np.float32],
    top: float,
    minute: float,
    lon: float,
    lat: float,
    height: float,
    steps: int,
    above_sea: bool,
) -> Floats:
    """Return longitude, latitude and height above ground after each minute back in time, shape ``(<= steps, 3)``."""
    track = np.empty((steps, 3))
    x, y = to_grid(projection, lon, lat)
    z = advection.start_height(wind, terrain, top, minute, x, y, height, -1.0, above_sea)
    for i in range(steps):
        if not advection.on_grid(wind, x, y):
            return track[:i]
        here = advection.place_at(wind, advection.time_step(wind.times, minute), x, y)
        minute -= 1.0
        then = advection.time_step(wind.times, minute)
        x, y, z = advection.advect(wind, here, then, x, y, z, -1.0)
        track[i, 0], track[i, 1] = to_lonlat(projection, x, y)
        ground = advection.surface_at(terrain, advection.place_at(wind, then, x, y))
        track[i, 2] = z * squeeze(ground, top)
    return track


def follow_both(
    engine: Hysplit, meteorology: Path, time: dt.datetime, places: list[Floats], hours: int, kmsl: Any = 0
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return the native track of each place (longitude, latitude, height) and that of hycs_std."""
    lons, lats, heights = (tuple(np.round(values, 4).tolist()) for values in places)
    settings = TransportSettings(n_hours=-hours, numpar=len(lons), nturb=1, kmsl=kmsl, hnf_plume=False, seed=1)
    columns = engine.run(Receptor(time, lons, lats, heights), settings, meteorology).columns
    fields = read_fields(meteorology, settings.z_top)
    projection = map_projection(fields.projection, fields.u.shape[2])
    wind = mean_wind(fields.u, fields.v, fields.w, fields.zsfc, fields.times, projection, fields.level, fields.top)
    found = []
    for number, place in enumerate(zip(lons, lats, heights, strict=True), start=1):
        own = columns["particle"] == number
        printed = np.stack([columns[name][own] for name in ("lon", "lat", "zagl")], axis=1)
        minute = time.timestamp() / 60
        found.append(
            (follow(wind, projection, fields.zsfc, fields.top, minute, *place, hours * 60, kmsl == 1), printed)
        )
    return found


def somewhere(box: Box, n: int, highest: float = 4000.0) -> list[Floats]:
    """Return longitudes, latitudes and heights, the latter evenly in their logarithm from 10 m."""
    rng = np.random.default_rng(1)
    west, south, east, north = box
    heights = np.exp(rng.uniform(np.log(10.0), np.log(highest), n))
    return [rng.uniform(west, east, n), rng.uniform(south, north, n), heights]
