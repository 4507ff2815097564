"""Meteorology made from formulas, in the shape of HRRR, so that real HYSPLIT runs without a network.

An atmosphere in hydrostatic balance: potential temperature constant up to the mixing height, rising 5 K/km above it; a
mixing height that follows the sun; one wind everywhere, which may turn with time and slow down near the ground. What
particles must do in it is known, which is what tests of transport are made on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stilt_dagster.science.meteorology import arl

_G, _CP, _R = 9.80665, 1004.0, 287.05
_KAPPA = _R / _CP
_LAPSE = 0.005  # K m-1, of potential temperature above the mixing height
_SURFACE_THETA = 300.0  # K
_SEA_LEVEL = 1013.0  # hPa

#: Sigma levels, the surface first: as close together near the ground as HRRR's.
SIGMA = [
    1.0,
    0.999,
    0.996,
    0.990,
    0.981,
    0.967,
    0.949,
    0.927,
    0.903,
    0.877,
    0.848,
    0.816,
    0.781,
    0.743,
    0.702,
    0.658,
    0.611,
    0.561,
    0.511,
    0.461,
    0.411,
    0.361,
    0.311,
    0.261,
    0.211,
]


@dataclass(frozen=True)
class Weather:
    """The weather of an analytic atmosphere.

    Attributes
    ----------
    speed : float
        Wind speed, m/s.
    direction : float
        Where the wind comes from, degrees clockwise from north, at the start.
    veer : float
        How much it turns an hour, degrees.
    shear : bool
        Slow the wind down towards the ground, by the logarithm of height up to 100 m.
    hill : float
        Height of a Gaussian hill in the middle of the domain, m.
    """

    speed: float = 5.0
    direction: float = 270.0
    veer: float = 0.0
    shear: bool = False
    hill: float = 0.0


def make_meteorology(
    directory: Path,
    start: str,
    hours: int,
    bbox: arl.Box,
    weather: Weather,
    *,
    spacing_km: float = 9.0,
    hours_per_file: int = 6,
) -> list[Path]:
    """Write hourly ARL files named as NOAA names HRRR's: ``20230715_00-05_hrrr``.

    Parameters
    ----------
    directory : Path
        Where to write; files that are there are kept.
    start : str
        First hour, UTC.
    hours : int
        Number of hours.
    bbox : tuple of float
        West, south, east, north, degrees.
    weather : Weather
        What it is like.
    spacing_km : float
        Grid spacing, km.
    hours_per_file : int
        Hours of the day a file holds.

    Returns
    -------
    list of Path
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    grid = arl.lambert(bbox, spacing_km)
    times = [pd.Timestamp(start) + pd.Timedelta(hours=h) for h in range(hours)]
    blocks: dict[str, list[pd.Timestamp]] = {}
    for time in times:
        first = time.hour // hours_per_file * hours_per_file
        blocks.setdefault(f"{time:%Y%m%d}_{first:02d}-{first + hours_per_file - 1:02d}_hrrr", []).append(time)
    paths = []
    for name, members in blocks.items():
        path = directory / name
        if not path.exists():
            part = directory / f".{name}.part"
            arl.create(part, "HRRR", grid, SIGMA, _steps(members, times[0], grid, bbox, weather))
            part.replace(path)
        paths.append(path)
    return paths


def _steps(
    times: list[pd.Timestamp], first: pd.Timestamp, grid: Any, bbox: arl.Box, weather: Weather
) -> Iterator[tuple[pd.Timestamp, dict[tuple[str, int, str | None], Any]]]:
    lon, lat = arl.grid_lonlat(grid)
    middle_lon, middle_lat = (bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2
    km = 111.2 * np.hypot((lon - middle_lon) * np.cos(np.radians(middle_lat)), lat - middle_lat)
    terrain = weather.hill * np.exp(-0.5 * (km / 30.0) ** 2)
    for time in times:
        elapsed = (time - first) / pd.Timedelta(hours=1)
        yield time, _fields(time, elapsed, lon, middle_lon, terrain, weather)


def _sunshine(time: pd.Timestamp, lon: float) -> float:
    """Return 0 at night and 1 at noon, local solar time."""
    hour = (time.hour + time.minute / 60 + lon / 15) % 24
    return max(0.0, float(np.sin(np.pi * (hour - 6) / 12)))


def _exner(z: NDArray[np.float64] | float, mixing_height: float) -> NDArray[np.float64]:
    """Return the Exner function at height *z* (m above sea level) of the hydrostatic atmosphere."""
    surface = (_SEA_LEVEL / 1000) ** _KAPPA
    mixed = np.minimum(z, mixing_height)
    above = np.maximum(np.asarray(z) - mixing_height, 0.0)
    return np.asarray(
        surface - _G / _CP * (mixed / _SURFACE_THETA + np.log1p(_LAPSE * above / _SURFACE_THETA) / _LAPSE)
    )


def _height(exner: NDArray[np.float64], mixing_height: float) -> NDArray[np.float64]:
    """Return the height of an Exner value: the inverse of :func:`_exner`."""
    depth = ((_SEA_LEVEL / 1000) ** _KAPPA - exner) * _CP / _G
    above = np.maximum(depth - mixing_height / _SURFACE_THETA, 0.0)
    mixed = np.minimum(depth * _SURFACE_THETA, mixing_height)
    return mixed + _SURFACE_THETA / _LAPSE * np.expm1(_LAPSE * above)


def _fields(
    time: pd.Timestamp,
    elapsed: float,
    lon: NDArray[np.float64],
    middle_lon: float,
    terrain: NDArray[np.float64],
    weather: Weather,
) -> dict[tuple[str, int, str | None], Any]:
    """Return the fields of one hour, by name, level and difference record, as HRRR has them."""
    sun = _sunshine(time, middle_lon)
    mixing_height = 250.0 + 1250.0 * sun
    heat = -15.0 + 265.0 * sun
    towards = np.radians(weather.direction + weather.veer * elapsed + 180)
    east, north = weather.speed * np.sin(towards), weather.speed * np.cos(towards)
    # Winds of a projected grid are along its axes, which lean by the convergence of the meridians.
    lean = np.radians(np.sin(np.radians(38.5)) * ((lon + 97.5 + 180) % 360 - 180))
    along_x, along_y = east * np.cos(lean) - north * np.sin(lean), east * np.sin(lean) + north * np.cos(lean)

    def slowed(height: NDArray[np.float64] | float) -> Any:
        if not weather.shear:
            return np.ones_like(np.asarray(height, float))
        return np.clip(np.log1p(np.maximum(height, 0) / 0.1) / np.log1p(100 / 0.1), 0.05, 1.0)

    ground = _exner(terrain, mixing_height)
    pressure = 1000 * ground ** (1 / _KAPPA)
    near = slowed(10.0)
    fields: dict[tuple[str, int, str | None], Any] = {
        ("SHGT", 0, None): terrain,
        ("MSLP", 0, None): _SEA_LEVEL,
        ("TPP1", 0, "DIFR"): 0.0,
        ("T02M", 0, None): ground * _SURFACE_THETA,
        ("RH2M", 0, None): 40.0,
        ("U10M", 0, None): along_x * near,
        ("V10M", 0, None): along_y * near,
        ("PRSS", 0, None): pressure,
        ("LHTF", 0, None): max(0.0, heat / 2),
        ("SHTF", 0, None): heat,
        ("USTR", 0, None): 0.4 * weather.speed / np.log1p(100 / 0.1),
        ("RGHS", 0, None): 0.1,
        ("DSWF", 0, None): 900.0 * sun,
        ("PBLH", 0, None): mixing_height,
        ("TCLD", 0, None): 0.0,
        ("REFC", 0, None): 0.0,
        ("CAPE", 0, None): 0.0,
    }
    for level, sigma in enumerate(SIGMA[1:], start=1):
        exner = (sigma * pressure / 1000) ** _KAPPA
        z = _height(exner, mixing_height)
        theta = _SURFACE_THETA + _LAPSE * np.maximum(z - mixing_height, 0.0)
        above_ground = z - terrain
        slow = slowed(above_ground)
        fields |= {
            ("TEMP", level, None): theta * exner,
            ("UWND", level, None): along_x * slow,
            ("VWND", level, None): along_y * slow,
            ("WWND", level, "DIFW"): 0.0,
            ("SPHU", level, None): np.maximum(0.008 * np.exp(-above_ground / 2500), 1e-6),
            ("TKEN", level, None): np.where(above_ground < mixing_height, 0.1 + sun, 0.01),
            ("PRES", level, None): sigma * pressure,
        }
    return fields
