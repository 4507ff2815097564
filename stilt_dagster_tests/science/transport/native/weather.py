"""ARL files of weather from formulas, varied enough that all that engines diagnose varies in space, height and time.

Unlike the steady winds of other tests, the mixed layer's depth, heat flux, roughness and wind differ from place to
place, the wind turns and shears with height, there is a nocturnal inversion with a low-level jet, a convective day, and
large-scale vertical motion. Columns are hydrostatic; horizontally nothing is in balance, which transport does not ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from arlmet import File, HybridAxis, PressureAxis, SigmaAxis
from numpy.typing import NDArray

from stilt_dagster.demo.meteorology import SIGMA
from stilt_dagster.science.meteorology import arl
from stilt_dagster_tests.science.meteorology.global_files import HYBRID, PRESSURE, lonlat

_G, _CP, _KAPPA, _R = 9.80665, 1004.0, 287.05 / 1004.0, 287.05
_THETA, _LAPSE, _GROUND = 300.0, 0.005, 1013.0  # K, K m-1, hPa

#: The box of the files, and when they begin: 20 hours are a night, and the day that follows it in North America.
BOX = (-114.0, 39.0, -110.0, 42.4)
START = pd.Timestamp("2023-07-15T04:00")

Floats = NDArray[np.float64]
Vertical = Literal["sigma", "pressure", "hybrid"]


@dataclass(frozen=True)
class Weather:
    """One of the files.

    Attributes
    ----------
    vertical : {"sigma", "pressure", "hybrid"}
        Its levels. Sigma has HRRR's variables on a Lambert grid; the others have GDAS's, on longitude and latitude.
    relief : float
        Height of its ranges of mountains above the plain, m.
    wind : float
        Speed aloft, m/s.
    friction : bool
        Whether files on longitude and latitude say the friction velocity and the roughness, which GDAS's do not.
    steady : float, optional
        A solar hour at which the weather stays, the same everywhere.
    hours : int
        How many hourly steps it has.
    """

    vertical: Vertical
    relief: float = 0.0
    wind: float = 5.0
    friction: bool = False
    steady: float | None = None
    hours: int = 20

    def write(self, path: Path) -> Path:
        """Write the file, if it is not there."""
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        lambert = self.vertical == "sigma"
        grid = arl.lambert(BOX, 9.0) if lambert else lonlat(BOX[0] % 360, BOX[1], 51, 44, 0.08)
        levels = {"sigma": SIGMA, "pressure": list(PRESSURE), "hybrid": list(HYBRID)}[self.vertical]
        axis = {"sigma": SigmaAxis, "pressure": PressureAxis, "hybrid": HybridAxis}[self.vertical](levels=levels)
        lon, lat = arl.grid_lonlat(grid)
        with File(part, mode="w", source="HRRR" if lambert else "GDAS", grid=grid, vertical_axis=axis) as file:
            for hour in range(self.hours):
                time = START + pd.Timedelta(hours=hour)
                step = file.create_recordset(time, forecast=0)
                for (name, level, diff), values in self._fields(lon, lat, time, axis).items():
                    data = np.broadcast_to(np.asarray(values, np.float32), lon.shape).copy()
                    step.create_datarecord(name, level=level, forecast=0, data=data, diff=diff)
                file.flush()
        return part.replace(path)

    def _fields(self, lon: Floats, lat: Floats, time: pd.Timestamp, axis: Any) -> dict[tuple[str, int, Any], Any]:
        """Return the fields of one hour, by name, level and difference record."""
        x = (lon - (BOX[0] + BOX[2]) / 2) * 85.0
        y = (lat - (BOX[1] + BOX[3]) / 2) * 111.2
        if self.steady is not None:
            x, y = np.zeros_like(x), np.zeros_like(y)
        ground = _Ground(x, y, time, lon, self)
        # Each column is integrated upwards from its ground, on heights fine enough for the lowest level.
        z = np.concatenate([np.arange(0, 400, 4.0), np.arange(400, 16_000, 50.0)])
        theta = ground.theta(z)
        middle = 0.5 * (theta[1:] + theta[:-1])
        fall = _G / _CP / middle * np.diff(z)[:, None, None]
        exner = (ground.pressure / 1000) ** _KAPPA - np.concatenate([np.zeros((1, *x.shape)), np.cumsum(fall, axis=0)])
        lambert = self.vertical == "sigma"
        lean = np.radians(np.sin(np.radians(38.5)) * ((lon + 97.5 + 180) % 360 - 180)) if lambert else np.zeros_like(x)

        def along(height: Floats) -> tuple[Floats, Floats]:
            east, north = ground.wind(height)
            return east * np.cos(lean) - north * np.sin(lean), east * np.sin(lean) + north * np.cos(lean)

        u10, v10 = along(np.full_like(x, 10.0))
        surface: dict[str, Any] = {
            "SHGT": ground.height, "MSLP": _GROUND, "T02M": ground.theta(np.array([2.0]))[0] * exner[0],
            "RH2M": 40.0, "U10M": u10, "V10M": v10, "PRSS": ground.pressure, "SHTF": ground.heat,
            "DSWF": 900 * ground.sun, "PBLH": ground.mixing_height, "TCLD": 0.0, "CAPE": 0.0,
        }  # fmt: skip
        if lambert:
            surface |= {"LHTF": 0.4 * np.maximum(ground.heat, 0), "REFC": 0.0}
        else:
            stress = 1.1 * ground.friction**2 / np.maximum(np.hypot(u10, v10), 0.1)
            surface |= {"UMOF": -stress * u10, "VMOF": -stress * v10, "TPP6": 0.0}
        if lambert or self.friction:
            surface |= {"USTR": ground.friction, "RGHS": ground.roughness}
        found: dict[tuple[str, int, Any], Any] = {(name, 0, None): values for name, values in surface.items()}
        if lambert:
            found["TPP1", 0, "DIFR"] = 0.0
        levels = np.moveaxis(
            np.broadcast_to(axis.to_pressure(surface_pressure=ground.pressure), (*x.shape, len(axis.levels))), -1, 0
        )
        for level, pressure in enumerate(levels[1:], start=1):
            wanted = (pressure / 1000) ** _KAPPA
            height = _crossing(z, exner, wanted)
            u, v = along(np.maximum(height, 1.0))
            aloft: dict[str, Any] = {"TEMP": _at(z, theta, height) * wanted, "UWND": u, "VWND": v}
            # hPa/s; none at the ground.
            lift = 3e-3 * np.sin(x / 25) * np.cos(y / 30) * np.clip(height / 1500, 0, 1)
            if lambert:
                found["WWND", level, "DIFW"] = lift
                humidity = np.maximum(0.008 * np.exp(-height / 2500), 1e-6)
                aloft |= {"SPHU": humidity, "TKEN": ground.tke(height), "PRES": pressure}
            else:
                aloft |= {"WWND": lift, "RELH": np.clip(60 - height / 150, 5, 60)}
            if self.vertical == "pressure":
                aloft["HGTS"] = height + ground.height
            found |= {(name, level, None): values for name, values in aloft.items()}
        return found


class _Ground:
    """The surface and the boundary layer above it at one time, fields of shape ``(ny, nx)``."""

    def __init__(self, x: Floats, y: Floats, time: pd.Timestamp, lon: Floats, weather: Weather) -> None:
        hours = (time - START) / pd.Timedelta(hours=1) if weather.steady is None else 0.0
        solar = (time.hour + time.minute / 60 + lon / 15) % 24 if weather.steady is None else 0 * lon + weather.steady
        self.sun = np.maximum(0.0, np.sin(np.pi * (solar - 6) / 12))
        self.night = np.clip(1 - 4 * self.sun, 0, 1)
        uneven = 1 + 0.3 * np.sin(x / 19 + 1) * np.cos(y / 23)
        self.height = weather.relief * (0.5 + 0.5 * np.sin(x / 14) * np.cos(y / 40)) ** 2
        self.pressure = _GROUND * np.exp(-self.height / 8400)
        self.mixing_height = (180 + 1300 * self.sun) * uneven
        self.heat = (-25 + 325 * self.sun) * uneven
        self.roughness = 0.05 + 0.45 * (0.5 + 0.5 * np.sin(x / 31) * np.sin(y / 17))
        self._calm = 0.1 + 0.9 * (0.5 + 0.5 * np.sin(x / 27)) ** 2  # where it is windy the inversion is weak
        self._turn = np.radians(250 + 3 * hours + 25 * np.sin(y / 50))
        self._jet = weather.wind
        self._speed = weather.wind * (1 + 0.3 * np.cos(x / 40 - hours / 4))
        self.friction = 0.4 * np.hypot(*self.wind(np.full_like(x, 10.0))) / np.log(10 / self.roughness)

    def theta(self, z: Floats) -> Floats:
        """Return potential temperature at heights above ground, shape ``(nz, ny, nx)``."""
        heights = z[:, None, None]
        above = np.maximum(heights - self.mixing_height, 0.0)
        inversion = 7 * self.night * self._calm * np.exp(-heights / 120)
        hot = 1.5 * self.sun * np.exp(-heights / 20)  # superadiabatic
        return np.asarray(_THETA + _LAPSE * self.height + _LAPSE * above - inversion + hot)

    def wind(self, z: Floats) -> tuple[Floats, Floats]:
        """Return the wind to the east and to the north at a height of each column."""
        slow = np.clip(np.log1p(z / self.roughness) / np.log1p(150 / self.roughness), 0, 1)
        jet = self._jet * self.night * np.exp(-(((z - 280) / 150) ** 2))
        speed = self._speed * slow * (1 + z / 6000) + jet
        towards = self._turn + np.radians(np.minimum(z, 3000) / 60) + np.pi
        return speed * np.sin(towards), speed * np.cos(towards)

    def tke(self, z: Floats) -> Floats:
        """Return turbulent kinetic energy, m2 s-2."""
        part = np.clip(z / self.mixing_height, 0, 1)
        return np.asarray(0.01 + (1 - part) * (4 * self.friction**2 + 2.0 * self.sun * part ** (2 / 3)))


def _at(z: Floats, values: Floats, height: Floats) -> Floats:
    """Return values of columns, shape ``(nz, ny, nx)``, at a height of each."""
    inside = np.clip(height, z[0], z[-1])
    upper = np.clip(np.searchsorted(z, inside), 1, len(z) - 1)
    share = (inside - z[upper - 1]) / (z[upper] - z[upper - 1])
    low, high = (np.take_along_axis(values, k[None], 0)[0] for k in (upper - 1, upper))
    return np.asarray(low + share * (high - low))


def _crossing(z: Floats, exner: Floats, wanted: Floats) -> Floats:
    """Return the height at which each column's Exner function has a value; below ground a lapse goes on."""
    upper = np.clip((exner > wanted).sum(axis=0), 1, len(z) - 1)
    low, high = (np.take_along_axis(exner, k[None], 0)[0] for k in (upper - 1, upper))
    return np.asarray(z[upper - 1] + (low - wanted) / (low - high) * (z[upper] - z[upper - 1]))
