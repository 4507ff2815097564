"""Particles moved by the mean wind alone, beside those of hycs_std without turbulence, minute by minute."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import arlmet
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.meteorology.projection import map_projection, to_grid, to_lonlat
from stilt_dagster_tests.science.transport.native.mean_tracks import follow_both, somewhere
from stilt_dagster_tests.science.transport.native.weather import BOX, Weather

#: Half of the last digit that hycs_std prints of a place, degrees, and what single precision leaves of it.
PRINTED = 0.7e-4

#: Index records of projections with their constants, and a place in the middle of 60 by 60 cells.
PROJECTIONS = {
    "degrees": ([43.9, 250.9, 0.1, 0.1, 0, 0, 0, 1, 1, 38, 245], (-112.0, 41.0)),
    "lambert": ([90, 0, 38.5, 262.5, 9, 0, 38.5, 1, 1, 38.5, 245], (-112.0, 41.0)),
    "lambert of another scale": ([90, 0, 40, 262.5, 20, 0, 45, 1, 1, 38, 242], (-112.0, 43.0)),
    "mercator": ([90, 0, 20, 255, 20, 0, 0, 1, 1, 10, 245], (-110.0, 16.0)),
    "stereographic": ([90, 0, 60, 255, 20, 0, 90, 1, 1, 38.5, 245], (-109.0, 42.0)),
    "southern lambert": ([90, 0, -30, 150, 20, 0, -35, 1, 1, -40, 140], (147.0, -36.0)),
    "southern stereographic": ([90, 0, -60, 150, 20, 0, -90, 1, 1, -75, 140], (157.0, -72.0)),
}


def hold(tracks: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Demand that tracks agree: in the first minute to what is printed, after an hour to 1e-3 degrees and 1 m."""
    first = np.array([np.abs(native[0] - printed[0]) for native, printed in tracks])
    assert first[:, :2].max() < PRINTED
    assert first[:, 2].max() < 0.05
    whole = [(native, printed) for native, printed in tracks if len(printed) >= 60]
    assert len(whole) > 0.8 * len(tracks)
    for native, printed in tracks:
        assert abs(len(native) - len(printed)) <= 1, "of the step at which a particle leaves the grid"
    after = np.array([np.abs(native[59] - printed[59]) for native, printed in whole])
    assert np.median(after[:, :2]) < PRINTED
    assert after[:, :2].max() < 1e-3
    assert np.median(after[:, 2]) < 0.05
    assert after[:, 2].max() < 1.0


@pytest.mark.parametrize("vertical", ["sigma", "pressure"])
def test_in_mountains_of_generated_weather(tmp_path: Path, vertical: Any) -> None:
    meteorology = Weather(vertical, relief=1500.0).write(tmp_path / "weather")
    west, south, east, north = BOX
    box = (west + 0.7, south + 0.7, east - 0.7, north - 0.7)
    hold(follow_both(Hysplit(), meteorology, dt.datetime(2023, 7, 15, 12, 10, tzinfo=dt.UTC), somewhere(box, 60), 1))


@pytest.mark.parametrize(("name", "hour"), [("20190530_00-05_hrrr", 2), ("20190530_06-11_hrrr", 10)])
def test_in_real_mountains(hrrr: Path, name: str, hour: int) -> None:
    box = (-112.6, 40.4, -111.4, 41.1)
    hold(follow_both(Hysplit(), hrrr / name, dt.datetime(2019, 5, 30, hour, 40, tzinfo=dt.UTC), somewhere(box, 60), 1))


def test_heights_above_sea_level(hrrr: Path) -> None:
    """Those under the ground start at it."""
    lon, lat, _ = somewhere((-112.6, 40.4, -111.4, 41.1), 60)
    time = dt.datetime(2019, 5, 30, 3, 20, tzinfo=dt.UTC)
    tracks = follow_both(
        Hysplit(), hrrr / "20190530_00-05_hrrr", time, [lon, lat, np.linspace(1000.0, 5000.0, 60)], 1, kmsl=1
    )
    first = np.array([np.abs(native[0] - printed[0]) for native, printed in tracks])
    assert first[:, :2].max() < PRINTED
    assert first[:, 2].max() < 0.3
    assert min(printed[0, 2] for _, printed in tracks) == 0.0


def steady(path: Path, grid: arlmet.Grid, u: Any, v: Any, hours: int = 4, pressure: bool = False) -> Path:
    """Write a file whose wind is the same at all heights: numbers, or functions of column and row."""
    rows, columns = np.mgrid[0 : grid.ny, 0 : grid.nx]
    u, v = (value(columns, rows) if callable(value) else value for value in (u, v))
    levels = [1000.0, 950.0, 850.0, 700.0, 500.0] if pressure else [0.99, 0.95, 0.85, 0.7, 0.5]
    ground = {"PRSS": 1000.0, "SHGT": 0.0, "T02M": 280.0, "U10M": u, "V10M": v, "SHTF": 0.0, "PBLH": 500.0, "DSWF": 0.0}
    ground |= {"TCLD": 0.0, "RH2M": 5.0} | ({"UMOF": 0.0, "VMOF": 0.0} if pressure else {"USTR": 0.3, "RGHS": 0.1})
    axis = arlmet.PressureAxis([0.0, *levels]) if pressure else arlmet.SigmaAxis([1.0, *levels])
    with arlmet.File(path, mode="w", source="GDAS" if pressure else "HRRR", grid=grid, vertical_axis=axis) as file:
        for hour in range(hours):
            step = file.create_recordset(pd.Timestamp("2023-07-15") + pd.Timedelta(hours=hour), forecast=0)

            def put(name: str, level: int, values: Any) -> None:
                data = np.broadcast_to(np.asarray(values, np.float32), (grid.ny, grid.nx)).copy()
                step.create_datarecord(name, level=level, forecast=0, data=data)  # noqa: B023

            for name, values in ground.items():
                put(name, 0, values)
            for k, level in enumerate(levels, start=1):
                height = -287.04 * 280.0 / 9.80616 * np.log(level / (1000.0 if pressure else 1.0))
                aloft = {"TEMP": 280.0, "UWND": u, "VWND": v, "WWND": 0.0}
                aloft |= {"HGTS": height, "RELH": 1.0} if pressure else {"SPHU": 1e-4, "PRES": 1000.0 * level}
                for name, values in aloft.items():
                    put(name, k, values)
            file.flush()
    return path


def grid_of(constants: list[float], nx: int = 60, ny: int = 60) -> arlmet.Grid:
    return arlmet.Grid(arlmet.Projection(*map(float, constants)), nx=nx, ny=ny)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_projections(tmp_path: Path, name: str) -> None:
    """Places to and from the grid are arlmet's, and tracks hycs_std's."""
    constants, (lon, lat) = PROJECTIONS[name]
    grid = grid_of(constants)
    projection = map_projection(constants, grid.nx)
    for x, y in ((1.0, 1.0), (30.25, 40.5), (58.0, 7.75)):
        there = to_lonlat(projection, x, y)
        np.testing.assert_allclose(grid.fractional_indices(*there), (x, y), atol=1e-8)
        np.testing.assert_allclose(to_grid(projection, *there), (x, y), atol=1e-8)
    meteorology = steady(tmp_path / "steady", grid, u=20.0, v=12.0, pressure=name == "degrees")
    places = [lon + np.array([0.0, 0.3]), np.array([lat, lat]), np.array([900.0, 300.0])]
    for native, printed in follow_both(Hysplit(), meteorology, dt.datetime(2023, 7, 15, 3, tzinfo=dt.UTC), places, 2):
        np.testing.assert_allclose(native[:, :2], printed[:, :2], rtol=0, atol=1e-4)


def test_leaves_the_grid_with_hycs_std(tmp_path: Path) -> None:
    """At each edge a particle's last row is the first beyond it; back in time this wind carries them outwards."""
    grid = grid_of(PROJECTIONS["lambert"][0])
    meteorology = steady(tmp_path / "steady", grid, u=lambda x, y: 30.0 - x, v=lambda x, y: 30.0 - y)
    lon, lat = arl.grid_lonlat(grid)
    chosen = [(30, 8), (30, 51), (8, 30), (51, 30), (10, 12)]
    places = [np.array([lon[c] for c in chosen]), np.array([lat[c] for c in chosen]), np.full(5, 800.0)]
    tracks = follow_both(Hysplit(), meteorology, dt.datetime(2023, 7, 15, 3, tzinfo=dt.UTC), places, 3)
    for native, printed in tracks:
        assert 0 < len(printed) < 170
        assert abs(len(native) - len(printed)) <= 1
        n = min(len(native), len(printed))
        np.testing.assert_allclose(native[:n, :2], printed[:n, :2], rtol=0, atol=3e-4)


def test_around_the_globe_and_over_its_poles(tmp_path: Path) -> None:
    """Over the grid's seam and at the pole, on cells so wide that winds must be scaled before they are interpolated."""
    grid = grid_of([90, 357.5, 2.5, 2.5, 0, 0, 0, 1, 1, -90, 0], nx=144, ny=73)
    meteorology = steady(tmp_path / "globe", grid, u=lambda x, y: 60.0 + 20.0 * (y % 2), v=-40.0, pressure=True)
    places = [np.array([3.0, -178.0, 20.0, -60.0]), np.array([40.0, 81.0, 86.5, -70.0]), np.full(4, 800.0)]
    tracks = follow_both(Hysplit(), meteorology, dt.datetime(2023, 7, 15, 3, tzinfo=dt.UTC), places, 3)
    for native, printed in tracks:
        assert len(native) == len(printed) == 180
    for native, printed in (tracks[0], tracks[1], tracks[3]):
        apart = np.abs((native[:, :2] - printed[:, :2] + 180.0) % 360.0 - 180.0)
        # hycs_std adds up steps in single precision, of cells of 2.5 degrees; near a pole longitudes show it most.
        assert apart.max() < 4e-3
    assert tracks[0][1][-1, 0] < 0 < tracks[0][1][0, 0], "it crosses the seam"
    native, printed = tracks[2]
    assert printed[:, 1].max() > 89.9
    assert np.abs(native[:, 1] - printed[:, 1]).max() < 2.5e-3
