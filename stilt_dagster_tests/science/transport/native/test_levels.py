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
from stilt_dagster.science.transport.native.meteorology.fields import Fields, read_fields
from stilt_dagster.science.transport.native.meteorology.levels import level_heights, level_of
from stilt_dagster_tests.science.meteorology.global_files import lonlat
from stilt_dagster_tests.science.transport.native.comparison import printed
from stilt_dagster_tests.science.transport.native.weather import Weather

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


@pytest.mark.parametrize("vertical", ["sigma", "pressure", "hybrid"])
def test_places_over_mountains_have_the_values_that_hycs_std_prints(vertical: Any, tmp_path: Path) -> None:
    path = Weather(vertical, relief=1500.0, hours=4).write(tmp_path / "weather.arl")
    _compare_places(path, (-113.5, 39.5, -110.5, 41.9), dt.datetime(2023, 7, 15, 6, tzinfo=dt.UTC))


def test_places_on_real_hrrr_have_the_values_that_hycs_std_prints(hrrr: Path) -> None:
    time = dt.datetime(2019, 5, 30, 4, tzinfo=dt.UTC)
    _compare_places(hrrr / "20190530_00-05_hrrr", (-112.6, 40.3, -111.4, 41.0), time)


def _compare_places(path: Path, box: arl.Box, time: dt.datetime) -> None:
    rows = printed(path, box, time, n=300)
    fields = read_fields(path, TOP)
    x, y = arl.read_header(path).grid.fractional_indices(rows["lon"], rows["lat"])
    at = (rows["minute"] - fields.times[0]) / 60
    height = rows["zagl"] / (1 - _between(fields.zsfc, at, x, y) / TOP)
    k = np.clip(np.searchsorted(fields.level, height, side="right") - 1, 0, len(fields.level) - 2)
    share = np.clip((height - fields.level[k]) / np.diff(fields.level)[k], 0, 1)
    for variable, field in (("dens", fields.dens), ("temz", fields.temp), ("pres", fields.pres)):
        low, high = (_between(field, at, x, y, k + i) for i in (0, 1))
        errors = np.abs((low + share * (high - low)) / rows[variable] - 1)
        # What is left is that of places, which are printed to 1e-4 degree.
        assert (np.percentile(errors, [50, 95, 100]) < [3e-5, 4e-4, 4e-3]).all(), variable


def _between(field: Any, at: Floats, x: Floats, y: Floats, k: Any = ()) -> Floats:
    """Interpolate a field, linearly in time, x and y; of one with levels at level *k*."""
    total = np.zeros(len(x))
    t, j, i = (np.floor(v).astype(int) for v in (at, y, x))
    for later, north, east in np.ndindex(2, 2, 2):
        weight = np.ones(len(x))
        for value, corner, step in ((at, t, later), (y, j, north), (x, i, east)):
            weight = weight * np.abs(1 - step - (value - corner))
        index = (np.minimum(t + later, len(field) - 1), j + north, i + east)
        total += weight * (field[(*index, k)] if field.ndim == 4 else field[index])
    return total


@pytest.mark.parametrize(
    ("count", "z_top"), [(14, 500), (14, 5000), (14, 6380), (14, 11_000), (25, 25_000), (30, 25_000)]
)
def test_the_vertical_grid_is_the_one_that_hycs_std_tells(count: int, z_top: float, tmp_path: Path) -> None:
    sigma = np.round(np.linspace(1.0, 0.1, count), 3).tolist()
    path = write_column(tmp_path / "column.arl", SigmaAxis(sigma), {})
    receptor = Receptor(dt.datetime(2023, 7, 15, 11, tzinfo=dt.UTC), (-112.0,), (40.5,), (10.0,))
    run = tmp_path / "run"
    run.mkdir()
    Hysplit().prepare(run, receptor, TransportSettings(n_hours=-1, numpar=1, z_top=z_top), path)
    subprocess.run([run / "hycs_std"], cwd=run, check=True, capture_output=True)
    told = re.search(r"nlvl,aa,bb,cc\):\s+(\d+)\s+(\S+)\s+(\S+)\s+(\S+)", (run / "MESSAGE").read_text())
    assert told is not None
    n, a, b, c = (float(value) for value in told.groups())
    k = np.arange(1, n + 1)
    np.testing.assert_allclose(level_heights([1013 * s for s in sigma], z_top), a * k**2 + b * k + c)
    heights = read_fields(path, z_top).level
    assert [level_of(z, heights) for z in heights] == pytest.approx(range(len(heights)))


@pytest.mark.parametrize(
    ("axis", "changes", "message"),
    [
        (SigmaAxis(SIGMA), {"T02M": None}, "has no T02M at level 0, 2023-07-15 10:00 UTC"),
        (SigmaAxis(SIGMA), {"UWND": lambda k: np.nan if k == 7 else 1.0}, "has no UWND at level 7"),
        (PressureAxis(PRESSURE), {"HGTS": None}, "has no HGTS at level 1"),
        (PressureAxis(PRESSURE), {"SHGT": 12_000.0}, "has no level above the ground"),
        (WrfAxis(SIGMA, offset=50.0), {"PRES": None}, "has no PRES at level 1"),
        (TerrainAxis([0.0, *range(100, 2000, 200)]), {"PRES": None}, "ARL vertical coordinate 3"),
    ],
)
def test_what_cannot_be_placed_is_named(axis: Any, changes: Changes, message: str, tmp_path: Path) -> None:
    path = write_column(tmp_path / "column.arl", axis, changes)
    with pytest.raises(MeteorologyError, match=re.escape(message)) as raised:
        read_fields(path, TOP)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
