"""ARL files on longitude/latitude grids, on pressure or hybrid levels, of an atmosphere from formulas.

The air turns around an axis as a solid body, which is a steady wind everywhere, at the poles too: where air comes from
is known to the metre. It is in hydrostatic balance: potential temperature is constant up to the mixing height and rises
5 K/km above it; the ground is flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from arlmet import File, Grid, HybridAxis, PressureAxis, Projection, SigmaAxis
from numpy.typing import NDArray

_G, _CP, _KAPPA = 9.80665, 1004.0, 287.05 / 1004.0
_LAPSE, _THETA, _GROUND = 0.005, 300.0, 1013.0  # K m-1, K, hPa

#: Radius of HYSPLIT's Earth, m.
RADIUS = 6_371_200.0

#: GDAS1's levels up to 300 hPa, the surface first; some of GFS's, whole hPa plus a share of the surface's pressure.
PRESSURE = (0.0, 1000.0, 975.0, 950.0, 925.0, 900.0, 850.0, 800.0, 750.0, 700.0, 600.0, 500.0, 400.0, 300.0)
HYBRID = (1.0, 0.995, 0.985, 0.97, 0.95, 0.925, 0.895, 5.855, 9.805, 15.745, 23.667, 34.566, 45.455, 60.24)
SIGMA = (1.0, 0.995, 0.985, 0.97, 0.95, 0.925, 0.895, 0.86, 0.815, 0.76, 0.69, 0.6, 0.5, 0.3)

Vertical = Literal["sigma", "pressure", "hybrid"]
_AXES = {"sigma": (SigmaAxis, SIGMA), "pressure": (PressureAxis, PRESSURE), "hybrid": (HybridAxis, HYBRID)}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rotation:
    """Air that turns around an axis, counterclockwise as seen from where that leaves the Earth.

    Attributes
    ----------
    longitude, latitude : float
        Where the axis leaves the Earth, degrees; the wind blows along circles around it.
    speed : float
        Along the largest of them, m/s.
    """

    longitude: float
    latitude: float
    speed: float = 10.0

    def wind(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Return the wind to the east and to the north, m/s."""
        velocity = self.speed * np.cross(unit(self.longitude, self.latitude), unit(lon, lat))
        lam, phi = np.radians(lon), np.radians(lat)
        east = np.stack([-np.sin(lam), np.cos(lam), np.zeros_like(lam)], -1)
        north = np.stack([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)], -1)
        return (velocity * east).sum(-1), (velocity * north).sum(-1)

    def origin(self, lon: float, lat: float, hours: float) -> Floats:
        """Return where air was some hours before it came to a place, as a vector from the Earth's centre.

        Rodrigues' formula, by an angle of ``-speed * time / radius``.
        """
        axis, place, angle = unit(self.longitude, self.latitude), unit(lon, lat), -self.speed * hours * 3600 / RADIUS
        along = axis * (axis @ place)
        return np.asarray(along + (place - along) * np.cos(angle) + np.cross(axis, place) * np.sin(angle))


def unit(lon: Any, lat: Any) -> Floats:
    """Return places as vectors of length one from the Earth's centre, shape ``(..., 3)``."""
    lam, phi = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], -1)


def lonlat(west: float, south: float, nx: int, ny: int, step: float) -> Grid:
    """Return a longitude/latitude grid as index records have them."""
    return Grid(
        Projection(
            pole_lat=south + (ny - 1) * step, pole_lon=west + (nx - 1) * step, tangent_lat=step, tangent_lon=step,
            grid_size=0.0, orientation=0.0, cone_angle=0.0, sync_x=1.0, sync_y=1.0, sync_lat=south, sync_lon=west,
        ),
        nx=nx, ny=ny,
    )  # fmt: skip


#: One degree around the globe, as GDAS1's files and others have it.
GLOBES = {"0 to 360": lonlat(0.0, -90.0, 360, 181, 1.0), "-180 to 180": lonlat(-180.0, -90.0, 360, 181, 1.0)}


def write(
    path: Path,
    grid: Grid,
    vertical: Vertical,
    wind: Rotation,
    times: pd.DatetimeIndex,
    *,
    mixing_height: float = 1200.0,
    source: str = "GDAS",
) -> Path:
    """Write an ARL file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axis, levels = _AXES[vertical]
    fields = _fields(grid, vertical, wind, mixing_height)
    with File(path, mode="w", source=source, grid=grid, vertical_axis=axis(levels=list(levels))) as file:
        for time in times:
            step = file.create_recordset(time, forecast=0)
            for (name, level), values in fields.items():
                step.create_datarecord(name, level=level, forecast=0, data=values)
            file.flush()
    return path


def _exner(z: Floats, mixing_height: float) -> Floats:
    mixed, above = np.minimum(z, mixing_height), np.maximum(z - mixing_height, 0.0)
    lost = mixed / _THETA + np.log1p(_LAPSE * above / _THETA) / _LAPSE
    return np.asarray((_GROUND / 1000) ** _KAPPA - _G / _CP * lost)


def height_of(pressure: float, mixing_height: float) -> float:
    """Return the height above the ground of a pressure, m; below it where that is higher than the ground's."""
    z = np.arange(-500.0, 15_000.0, 5.0)
    return float(np.interp(-np.log(pressure), -np.log(1000 * _exner(z, mixing_height) ** (1 / _KAPPA)), z))


def _fields(
    grid: Grid, vertical: Vertical, wind: Rotation, mixing_height: float
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """Return the fields of a step, by name and level."""
    coords = grid.calculate_coords()
    lon, lat = np.meshgrid(coords["lon"][1], coords["lat"][1])
    u, v = wind.wind(lon, lat)
    axis, levels = _AXES[vertical]
    surface: dict[str, Any] = {
        "PRSS": _GROUND, "MSLP": _GROUND, "TPP6": 0.0, "SHGT": 0.0, "UMOF": 0.0, "VMOF": 0.0, "SHTF": 100.0,
        "DSWF": 400.0, "RH2M": 40.0, "U10M": u, "V10M": v, "T02M": _THETA, "TCLD": 0.0, "CAPE": 0.0,
        "PBLH": mixing_height,
    }  # fmt: skip
    found: dict[tuple[str, int], Any] = {(name, 0): values for name, values in surface.items()}
    for level, pressure in enumerate(axis(levels=list(levels)).to_pressure(surface_pressure=_GROUND)[1:], 1):
        z = height_of(pressure, mixing_height)
        theta = _THETA + _LAPSE * max(z - mixing_height, 0.0)
        heights = {"HGTS": z} if vertical == "pressure" else {}
        aloft = {"TEMP": theta * (pressure / 1000) ** _KAPPA, "UWND": u, "VWND": v, "WWND": 0.0, "RELH": 40.0}
        found |= {(name, level): values for name, values in (heights | aloft).items()}
    return {k: np.broadcast_to(np.asarray(a, np.float32), (grid.ny, grid.nx)).copy() for k, a in found.items()}
