"""Meteorology on the levels particles move on, beside what hycs_std prints of the same files without turbulence."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from arlmet import File, HybridAxis, PressureAxis, SigmaAxis, TerrainAxis, WrfAxis
from numpy.typing import NDArray

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.fields import Fields, read_fields
from stilt_dagster.science.transport.native.levels import level_heights, level_of
from stilt_dagster_tests.science.meteorology.global_files import lonlat
from stilt_dagster_tests.science.transport.native.comparison import printed
from stilt_dagster_tests.science.transport.native.weather import BOX, Weather

Floats = NDArray[np.float64]

TOP = 25_000.0
SIGMA = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
PRESSURE = (0.0, 1000.0, 950.0, 900.0, 850.0, 800.0, 700.0, 600.0, 500.0, 400.0, 300.0)
HYBRID = (1.0, 0.97, 2.938, 8.89, 20.82, 40.75, 80.6, 120.45, 150.3, 170.15, 180.05)

#: What a file lacks of the variables that a test's file has, or has otherwise: a function of the level's number.
Changes = dict[str, Callable[[int], float] | float | None]

COLUMNS: dict[str, tuple[Any, Changes]] = {
    "sigma": (SigmaAxis(SIGMA), {}),
    "a sigma offset, no pressure": (SigmaAxis(SIGMA, offset=50.0), {"PRES": None, "PRSS": 960.0}),
    "pressure that sigma does not tell": (SigmaAxis(SIGMA), {"PRES": lambda k: SIGMA[k] * 1020.0}),
    "moist and stable": (SigmaAxis(SIGMA), {"SPHU": lambda k: 0.01 - 0.0005 * k, "T02M": 285.0}),
    "wrf": (WrfAxis(SIGMA, offset=50.0), {}),
    "hybrid": (HybridAxis(HYBRID), {"PRSS": 950.0, "SHGT": 600.0}),
    "pressure": (PressureAxis(PRESSURE), {"RELH": lambda k: 90.0 - 7 * k}),
    "levels under the ground": (PressureAxis(PRESSURE), {"SHGT": 500.0, "PRSS": 952.0}),
    "no humidity aloft": (PressureAxis(PRESSURE), {"RELH": lambda k: 80.0 if k < 5 else np.nan}),
    "above the last level": (SigmaAxis(SIGMA[:6]), {"WWND": 0.04}),
}


def write_column(path: Path, axis: Any, changes: Changes) -> Path:
    """Write two hours of air that is the same everywhere: calm but for ``WWND``, and drier and colder by the level."""
    on_pressure = isinstance(axis, PressureAxis)
    surface = {"SHGT": 0.0, "PRSS": 1000.0, "T02M": 310.0, "U10M": 0.0, "V10M": 0.0, "MSLP": 1013.0, "PBLH": 800.0}
    surface |= {"USTR": 0.3, "SHTF": 50.0, "RGHS": 0.1}
    upper: Changes = {"TEMP": lambda k: 300.0 - 3 * k, "UWND": 0.0, "VWND": 0.0, "WWND": 0.01}
    if on_pressure:
        upper |= {"HGTS": lambda k: 8300.0 * np.log(1007.0 / PRESSURE[k]), "RELH": 50.0}
    else:
        upper |= {"PRES": lambda k: axis.levels[k] * 1000.0, "SPHU": 0.01}
    surface |= {name: value for name, value in changes.items() if name in surface}  # type: ignore[misc]
    upper |= {name: value for name, value in changes.items() if name not in surface}
    grid = lonlat(246.0, 38.5, 51, 44, 0.1)
    with File(path, mode="w", source="GDAS" if on_pressure else "HRRR", grid=grid, vertical_axis=axis) as file:
        for time in pd.date_range("2023-07-15T10:00", periods=2, freq="h"):
            step = file.create_recordset(time, forecast=0)
            found: dict[tuple[str, int], Any] = {(name, 0): value for name, value in surface.items()}
            for k in range(1, len(axis.levels)):
                found |= {(name, k): value(k) if callable(value) else value for name, value in upper.items()}
            for (name, k), value in found.items():
                if value is not None and np.isfinite(value):
                    data = np.full((grid.ny, grid.nx), value, np.float32)
                    step.create_datarecord(name, level=k, forecast=0, data=data)
            file.flush()
    return path


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_have_the_values_that_hycs_std_prints(name: str, tmp_path: Path) -> None:
    axis, changes = COLUMNS[name]
    path = write_column(tmp_path / "column.arl", axis, changes)
    time = dt.datetime(2023, 7, 15, 11, tzinfo=dt.UTC)
    highest = 1300.0 if name == "above the last level" else 5000.0
    variables = ["time", "indx", "long", "lati", "zagl", "foot", "dens", "temz", "pres", "wout"]
    settings = TransportSettings(n_hours=-1, numpar=400, nturb=1, hnf_plume=False, varsiwant=variables, z_top=TOP)
    rows = Hysplit().run(Receptor(time, (-112.0, -112.0), (40.5, 40.5), (0.0, highest)), settings, path).columns
    fields = read_fields(path, TOP)
    level = fields.level * (1 - float(fields.zsfc[0, 0, 0]) / TOP)
    for variable, field, digit in (
        ("temz", fields.temp, 0.01),
        ("dens", fields.dens, 1e-5),
        ("pres", fields.pres, 0.01),
    ):
        own = np.interp(rows["zagl"], level, field[0, 5, 5])
        assert np.abs(rows[variable] - own).max() < 0.6 * digit, variable
    moved = rows["zagl"] - 60 * rows["wout"]  # backward: what is printed is the motion, the mean of both ends'
    w = 0.5 * (_vertical(fields, rows["zagl"], level) + _vertical(fields, moved, level))
    assert np.abs(rows["wout"] + w).max() < 2e-3 * np.abs(w).max()
    if name == "above the last level":
        assert rows["zagl"].max() > level[-3]


def _vertical(fields: Fields, height: Floats, level: Floats) -> Floats:
    """Return the vertical velocity at heights, linear in the number of the level."""
    squeezed = level[0] / fields.level[0]
    number = [level_of(max(z / squeezed, fields.level[0]), fields.level) for z in height]
    w = np.interp(number, np.arange(len(level)), fields.w[0, 5, 5])
    return np.asarray(w * np.minimum(1.0, height / level[0]))
