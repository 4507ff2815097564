"""Meteorology in memory: an ARL file decoded, on the levels particles move on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.arl.fields import read_records
from stilt_dagster.science.meteorology.arl.packing import values
from stilt_dagster.science.transport.native.meteorology.levels import (
    GAS_CONSTANT,
    GRAVITY,
    LEAST_TOP,
    hydrostatic_heights,
    level_heights,
    put_on_levels,
    relative_humidity,
    specific_humidity,
    squeeze,
)

#: Vertical coordinates that are served, by ARL's flags: sigma, pressure, hybrid levels, and WRF's, which have ``PRES``.
_SIGMA, _PRESSURE, _HYBRID, _WRF = 1, 2, 4, 5

#: Nominal pressure at the ground, hPa, where levels are shares of it.
_NOMINAL = 1013.0

#: Of the ground: ARL's name of each field of :class:`Fields`.
_SURFACE = {
    "zsfc": "SHGT",
    "psfc": "PRSS",
    "t2m": "T02M",
    "u10": "U10M",
    "v10": "V10M",
    "ustar": "USTR",
    "umof": "UMOF",
    "vmof": "VMOF",
    "shtf": "SHTF",
    "lhtf": "LHTF",
    "dswf": "DSWF",
    "pblh": "PBLH",
    "z0": "RGHS",
}

#: Of the levels: rows of what :func:`put_on_levels` takes. Specific humidity is made relative.
_U, _V, _OMEGA, _T, _RH, _P, _TKE = range(7)
_UPPER = {"UWND": _U, "VWND": _V, "WWND": _OMEGA, "TEMP": _T, "SPHU": _RH, "RELH": _RH, "PRES": _P, "TKEN": _TKE}

#: Levels above the highest one that data reach: in them particles rise ever slower.
_BEYOND = 2


class Fields(NamedTuple):
    """A scene's meteorology, as the transport's kernels take it.

    Winds, temperature, density and pressure lie on the levels of :mod:`levels`, the last dimension, float32, shape
    ``(nt, ny, nx, nz)``; fields of the ground have shape ``(nt, ny, nx)`` and are NaN where the file has none.

    Attributes
    ----------
    times : ndarray of float64, shape (nt,)
        Minutes since 1970, ascending.
    projection : ndarray of float64, shape (11,)
        As in the index record: pole latitude and longitude, tangent latitude and longitude, grid size (km; 0 of a
        latitude-longitude grid), orientation, cone angle, synchronisation point x, y (from 1), latitude, longitude.
    top : float
        Where levels are level, m above sea level: what :func:`squeeze` takes.
    level : ndarray of float64, shape (nz,)
        Heights of the levels above ground at sea level, m.
    highest_start : float
        Height that hycs_std starts no particle above, m.
    u, v : ndarray
        Wind along the grid's axes, m s-1.
    w : ndarray
        Vertical velocity, m s-1, upward, at rest against the terrain-following levels.
    temp : ndarray
        Temperature, K.
    dens : ndarray
        Density of dry air, kg m-3.
    pres : ndarray
        Pressure, hPa.
    tke : ndarray
        Turbulent kinetic energy, m2 s-2; of no size where the file has none.
    zsfc, psfc : ndarray
        Height of the terrain, m; pressure at the ground, hPa.
    t2m, u10, v10 : ndarray
        Temperature at 2 m, K; wind at 10 m along the grid's axes, m s-1.
    ustar, umof, vmof : ndarray
        Friction velocity, m s-1; stresses of the wind at the ground, N m-2.
    shtf, lhtf, dswf : ndarray
        Sensible and latent heat flux, downward short-wave radiation, W m-2.
    pblh, z0 : ndarray
        The model's mixing height, roughness length, m.
    """

    times: NDArray[np.float64]
    projection: NDArray[np.float64]
    top: float
    level: NDArray[np.float64]
    highest_start: float
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    w: NDArray[np.float32]
    temp: NDArray[np.float32]
    dens: NDArray[np.float32]
    pres: NDArray[np.float32]
    tke: NDArray[np.float32]
    zsfc: NDArray[np.float32]
    psfc: NDArray[np.float32]
    t2m: NDArray[np.float32]
    u10: NDArray[np.float32]
    v10: NDArray[np.float32]
    ustar: NDArray[np.float32]
    umof: NDArray[np.float32]
    vmof: NDArray[np.float32]
    shtf: NDArray[np.float32]
    lhtf: NDArray[np.float32]
    dswf: NDArray[np.float32]
    pblh: NDArray[np.float32]
    z0: NDArray[np.float32]


def read_fields(path: Path, z_top: float) -> Fields:
    """Decode an ARL file.

    Parameters
    ----------
    path : Path
        The file, of one grid and of all the hours a run needs; of analyses or of a forecast.
    z_top : float
        The model's top, m.

    Raises
    ------
    MeteorologyError
        Naming the file and what it lacks, or what is damaged.
    """
    header = arl.read_header(path)
    if header.axis.flag not in (_SIGMA, _PRESSURE, _HYBRID, _WRF):
        raise MeteorologyError(
            f"{path} is on levels that the native engine cannot place (ARL vertical coordinate {header.axis.flag}): "
            "use engine: hysplit"
        )
    nt, ny, nx = len(header.steps), header.grid.ny, header.grid.nx
    surface = {name: np.full((nt, ny, nx), np.nan, np.float32) for name in _SURFACE}
    top = max(z_top, LEAST_TOP)
    level, upper = level_heights(_nominal_pressure(header), z_top), np.empty((0, 0, 0, 0, 0), np.float32)
    highest_start = float(level[-1])
    for t, step in enumerate(header.steps):
        found = _read_step(header, step)
        for name, variable in _SURFACE.items():
            if (0, variable) in found:
                surface[name][t] = found[0, variable]
        columns, heights, relative = _columns(header, found)
        if not t:
            count, highest_start = _reach(level, columns, heights, surface["zsfc"][0], top)
            level = level[:count]
            upper = np.empty((6 + ((1, "TKEN") in found), nt, ny, nx, level.size), np.float32)
        if not _grid_on_levels(level, top, surface["zsfc"][t], columns, heights, relative, upper[:, t]):
            raise MeteorologyError(f"{header.file.location} has no level above the ground somewhere: keep more levels")
    place = header.grid.projection
    u, v, w, temp, dens, pres, *tke = upper
    return Fields(
        times=np.array([step.time.timestamp() / 60 for step in header.steps]),
        projection=np.array(
            [
                place.pole_lat, place.pole_lon, place.tangent_lat, place.tangent_lon, place.grid_size,
                place.orientation, place.cone_angle, place.sync_x, place.sync_y, place.sync_lat, place.sync_lon,
            ]
        ),
        top=top,
        level=level,
        highest_start=highest_start,
        u=u, v=v, w=w, temp=temp, dens=dens, pres=pres,
        tke=tke[0] if tke else np.empty((0, 0, 0, 0), np.float32),
        **surface,
    )  # fmt: skip


def _read_step(header: arl.Header, step: arl.Step) -> dict[tuple[int, str], NDArray[np.float32]]:
    """Return the fields of a time step by level (0 is the ground) and variable, with their ``DIF`` records added.

    Raises
    ------
    MeteorologyError
        Naming what is missing.
    """
    wanted, group = [], (-1, "")
    for record in step.records(header.record_length):
        if record.variable.startswith("DIF"):
            if record.level == group[0]:
                wanted.append((step, record))
            continue
        known = _SURFACE.values() if record.level == 0 else (*_UPPER, "HGTS")
        group = (record.level, record.variable) if record.variable in known else (-1, "")
        if record.variable in known:
            wanted.append((step, record))
    window = (0, header.grid.nx, 0, header.grid.ny)
    found: dict[tuple[int, str], NDArray[np.float32]] = {}
    for _, record, field in read_records(header, wanted):
        is_rest = record.variable.startswith("DIF")
        if not is_rest:
            group = record.level, record.variable
        if field.is_missing:
            continue
        if not is_rest:
            found[group] = values(field, window)
        elif group in found:
            found[group] += values(field, window)
    needed = [(0, v) for v in ("PRSS", "SHGT", "T02M", "U10M", "V10M")]
    needed += [(k, v) for k in range(1, len(header.levels)) for v in ("TEMP", "UWND", "VWND")]
    if (extra := {_PRESSURE: "HGTS", _WRF: "PRES"}.get(header.axis.flag)) is not None:
        needed += [(k, extra) for k in range(1, len(header.levels))]
    for level, variable in needed:
        if (level, variable) not in found:
            raise MeteorologyError(
                f"{header.file.location} has no {variable} at level {level}, {step.time:%Y-%m-%d %H:%M} UTC, which the "
                "native engine needs: use engine: hysplit, or other meteorology"
            )
    return found


def _reach(
    level: NDArray[np.float64],
    columns: NDArray[np.float32],
    heights: NDArray[np.float32],
    zsfc: NDArray[np.float32],
    top: float,
) -> tuple[int, float]:
    """Return how many levels are kept and the highest start, m.

    Kept are those that data reach, and some; three tell the grid. The highest start is the second level over those
    that the data of some column reach, over whatever terrain, and whether heights are above ground or sea level: found
    to 0.3 m, by starts ever higher, on sigma, pressure and hybrid levels.
    """
    if heights.size:
        highest = heights[-1] - zsfc
    else:
        t, p = columns[_T], columns[_P]
        highest = (GAS_CONSTANT / GRAVITY * 0.5 * (t[1:] + t[:-1]) * np.log(p[:-1] / p[1:])).sum(axis=0)
    over = highest / (1.0 - zsfc / top)  # heights over flat land, of all columns
    reached = int(np.searchsorted(level, over.max(), side="right"))
    count = max(3, int(np.searchsorted(level * squeeze(float(zsfc.max()), top), highest.max())) + _BEYOND)
    return count, float(level[min(reached + 1, level.size - 1)])


def _columns(
    header: arl.Header, found: dict[tuple[int, str], NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """Return the columns of a time step, heights of pressure levels above sea level, and whether humidity is relative.

    Returns
    -------
    columns : ndarray, shape (7, n, ny, nx)
        As :func:`put_on_levels` takes them, the ground first, but humidity as the file has it.
    heights : ndarray, shape (n, ny, nx)
        Of no size on other than pressure levels.
    relative : bool
        Whether the file has relative humidity.
    """
    n, ny, nx = len(header.levels), header.grid.ny, header.grid.nx
    columns, heights = np.zeros((7, n, ny, nx), np.float32), np.empty((0, ny, nx), np.float32)
    for variable, row in {"U10M": _U, "V10M": _V, "T02M": _T, "PRSS": _P}.items():
        columns[row, 0] = found[0, variable]
    for k in range(1, n):
        columns[_P, k] = _pressure(header, k, found[0, "PRSS"])
        for variable, row in _UPPER.items():
            if (k, variable) in found and not (variable == "PRES" and header.axis.flag in (_PRESSURE, _HYBRID)):
                columns[row, k] = found[k, variable]
    if header.axis.flag == _PRESSURE:
        heights = np.stack([found[0, "SHGT"], *(found[k, "HGTS"] for k in range(1, n))])
    relative = (1, "SPHU") not in found
    if relative:
        columns[_RH] /= 100.0
    columns[[_RH, _TKE], 0] = columns[[_RH, _TKE], 1]
    return columns, heights, relative


def _pressure(header: arl.Header, k: int, psfc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pressure of a level over ground of a pressure, hPa."""
    axis, level = header.axis, header.levels[k]
    if axis.flag == _PRESSURE:
        return np.full_like(psfc, level)
    if axis.flag == _HYBRID:  # whole hPa, and a fraction of the pressure at the ground
        return np.asarray(np.floor(level) + psfc * (level % 1.0), np.float32)
    return np.asarray(axis.offset + (psfc - axis.offset) * level, np.float32)


def _nominal_pressure(header: arl.Header) -> list[float]:
    """Return the pressure of the levels where it is 1013 hPa at the ground, the ground first, hPa."""
    ground = np.full(1, _NOMINAL, np.float32)
    return [_NOMINAL, *(float(_pressure(header, k, ground)[0]) for k in range(1, len(header.levels)))]


@kernel()
def _grid_on_levels(
    level: NDArray[np.float64],
    top: float,
    zsfc: NDArray[np.float32],
    columns: NDArray[np.float32],
    hgts: NDArray[np.float32],
    relative: bool,
    out: NDArray[np.float32],
) -> bool:
    """Put the columns of a time step on the levels; return whether each has one above the ground.

    Parameters
    ----------
    level : ndarray, shape (nz,)
        Heights of the levels above ground at sea level, m.
    top : float
        The model's top, m.
    zsfc : ndarray, shape (ny, nx)
        Height of the terrain, m.
    columns, hgts, relative
        As :func:`_columns` returns them.
    out : ndarray, shape (6 or 7, ny, nx, nz)
        Filled in, as by :func:`put_on_levels`.
    """
    n, ny, nx = columns.shape[1:]
    column, height = np.empty((8, n)), np.empty(n)
    for j in range(ny):
        for i in range(nx):
            above = level * squeeze(zsfc[j, i], top)
            count = 1
            for k in range(n):
                # The ground takes the place of levels below it, and of those that lie under the lowest level.
                if hgts.size:
                    z = hgts[k, j, i] - zsfc[j, i]
                    if k > 0 and z < above[0]:
                        continue
                    height[count if k else 0] = z
                column[:7, count if k else 0] = columns[:, k, j, i]
                count += k > 0
            if count < 2:
                return False
            rh, pressure, humidity = column[4], column[5], column[7]
            for k in range(count):
                if relative:
                    humidity[k] = specific_humidity(pressure[k], column[3, k], rh[k])
                else:  # at the ground with the temperature of the first level
                    humidity[k] = rh[k]
                    rh[k] = relative_humidity(pressure[k], column[3, max(k, 1)], humidity[k])
            if not hgts.size:
                hydrostatic_heights(pressure, column[3], humidity, height)
            put_on_levels(above, height[:count], column[:, :count], out[:, j, i])
    return True
