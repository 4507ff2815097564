"""How much of a source is kept: around the box on any grid, as far as wind carries air, as high as air is mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from arlmet import Grid
from hypothesis import given, settings
from hypothesis import strategies as st

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.arl.joining import n_records
from stilt_dagster.science.meteorology.description import GridDescription
from stilt_dagster.science.meteorology.extent.crop import rectangle_of, turned, widened, window_of
from stilt_dagster.science.meteorology.extent.envelope import SPREAD, Winds, upwind
from stilt_dagster.science.meteorology.extent.levels import heights, levels_needed
from stilt_dagster.science.meteorology.extent.margin import margin_that_holds
from stilt_dagster.science.meteorology.extent.needs import Needs
from stilt_dagster.science.meteorology.extent.selection import Limits, select
from stilt_dagster.science.meteorology.extent.survey import Survey
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster_tests.conftest import SCENE, deep_merge
from stilt_dagster_tests.science.meteorology.global_files import lonlat

GRIDS = {
    "global, 0 to 360": lonlat(0.0, -90.0, 360, 181, 1.0),
    "global, -180 to 180": lonlat(-180.0, -90.0, 360, 181, 1.0),
    "regional": lonlat(-130.0, 20.0, 281, 141, 0.25),
    "regional, across the antimeridian": lonlat(150.0, -30.0, 241, 241, 0.25),
    "Lambert": arl.lambert((-125.0, 24.0, -67.0, 49.0), 15.0),
}


def inside(grid: Grid, window: arl.Window, lon: Any, lat: Any) -> np.ndarray:
    x, y = grid.fractional_indices((np.asarray(lon) + 180) % 360 - 180, np.asarray(lat))
    x0, x1, y0, y1 = window
    held = (x >= x0) & (x <= x1 - 1)
    if grid.wraps_lon:
        held |= (x + grid.nx >= x0) & (x + grid.nx <= x1 - 1)
        held |= x1 - x0 >= grid.nx
    return held & (y >= y0) & (y <= y1 - 1)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(GRIDS)),
    st.floats(-180, 180),
    st.floats(-89, 85),
    st.floats(0.2, 30),
    st.floats(0.2, 30),
    st.floats(0, 3),
)
def test_the_window_holds_the_box_as_far_as_the_grid_reaches(
    name: str, west: float, south: float, width: float, height: float, margin: float
) -> None:
    grid, north = GRIDS[name], min(south + height, 90.0)
    box = (west, south, (west + width + 180) % 360 - 180, north)
    lon, lat = np.meshgrid(west + width * np.linspace(0, 1, 12), south + (north - south) * np.linspace(0, 1, 12))
    x, y = grid.fractional_indices((lon.ravel() + 180) % 360 - 180, lat.ravel())
    on_grid = (y >= 0) & (y <= grid.ny - 1) & (np.bool_(grid.wraps_lon) | ((x >= 0) & (x <= grid.nx - 1)))
    rectangle = rectangle_of(grid, box, margin)
    if not on_grid.any():  # what lies beside the grid by less than the margin still has a part of it
        return
    window = window_of(grid, rectangle, 1, may_grow=True)
    assert 0 <= window[2] < window[3] <= grid.ny
    assert window[1] - window[0] <= grid.nx
    assert inside(grid, window, lon.ravel(), lat.ravel())[on_grid].all()


def test_a_box_beside_a_regional_grid_takes_what_the_grid_has() -> None:
    grid = GRIDS["regional"]
    assert window_of(grid, rectangle_of(grid, (-131.0, 30.0, -129.0, 31.0)), 1, may_grow=True)[:2] == (0, 5)
    assert window_of(grid, rectangle_of(grid, (-61.0, 30.0, -59.0, 31.0)), 1, may_grow=True)[:2] == (276, 281)


@pytest.mark.parametrize("box", [(-100.0, 60.0, -99.0, 61.0), (20.0, 30.0, 21.0, 31.0), (-100.0, -50.0, -99.0, -49.0)])
def test_a_box_far_from_a_regional_grid_is_refused(box: arl.Box) -> None:
    for name in ("regional", "Lambert"):
        with pytest.raises(MeteorologyError, match="does not reach the scene: choose another source"):
            window_of(GRIDS[name], rectangle_of(GRIDS[name], box), 1, may_grow=True)


def test_a_box_that_holds_a_regional_grid_takes_all_of_it() -> None:
    grid = GRIDS["regional"]
    for west, east in ((-170.0, -20.0), (-131.0, 100.0), (-180.0, 180.0), (100.0, 60.0), (-100.0, -110.0)):
        window = window_of(grid, rectangle_of(grid, (west, -90.0, east, 90.0)), 1, may_grow=True)
        assert window == (0, 281, 0, 141), (west, east)


def test_a_box_from_pole_to_pole_takes_all_of_a_projected_grid() -> None:
    """No projection has both poles: they lie infinitely far away."""
    grid = GRIDS["Lambert"]
    window = window_of(grid, rectangle_of(grid, (-180.0, -90.0, 180.0, 90.0)), 1, may_grow=True)
    assert window == (0, grid.nx, 0, grid.ny)


def test_a_margin_reaches_over_a_pole() -> None:
    grid = GRIDS["global, 0 to 360"]
    window = window_of(grid, rectangle_of(grid, (10.0, 87.0, 12.0, 88.0), 5.0), 1, may_grow=True)
    assert window == (0, 360, 172, 181)
    window = window_of(grid, rectangle_of(grid, (10.0, -88.0, 12.0, -88.0), 9.0), 1, may_grow=True)
    assert window == (0, 360, 0, 12)


def test_a_rectangle_is_brought_to_another_ones_side_of_the_seam() -> None:
    grid = GRIDS["global, 0 to 360"]
    box, receptor = rectangle_of(grid, (-1.0, 40.0, 2.0, 41.0)), rectangle_of(grid, (0.5, 40.0, 0.5, 40.0))
    assert (box[:2], receptor[:2]) == ((359, 362), (0.5, 0.5))
    assert turned(grid, receptor, box)[:2] == (360.5, 360.5)
    assert turned(grid, box, box) == box


def test_a_box_around_a_pole_takes_every_column() -> None:
    for name in ("global, 0 to 360", "global, -180 to 180"):
        grid = GRIDS[name]
        window = window_of(grid, rectangle_of(grid, (-180.0, 88.0, 180.0, 90.0)), 1, may_grow=True)
        assert (window[1] - window[0], window[3]) == (360, 181)


# -- wind ------------------------------------------------------------------------------------------------------------


def blowing(grid: Grid, u: float, v: float) -> Winds:
    """Return the same wind at three levels and all hours."""
    shape = (3, 3, grid.ny, grid.nx)
    header: Any = type("H", (), {"grid": grid})()
    return Winds(np.array([0.0, 12.0, 24.0]), np.full(shape, u, "f4"), np.full(shape, v, "f4"), 1, header)


def test_air_comes_from_as_far_as_wind_carries_it() -> None:
    grid = GRIDS["Lambert"]
    x0, x1, y0, y1 = upwind(blowing(grid, 5.0, 0.0), (150.0, 152.0, 80.0, 82.0), [24.0], -24)
    travelled = 5.0 * 24 * 3.6 / 15.0  # m/s for 24 h, in cells of 15 km
    assert x0 == pytest.approx(150 - travelled * (1 + SPREAD), abs=0.01)
    assert (x1, y0, y1) == pytest.approx((152.0, 80.0, 82.0))


def test_a_run_forward_in_time_goes_with_the_wind() -> None:
    reach = upwind(blowing(GRIDS["Lambert"], 0.0, -5.0), (150.0, 152.0, 80.0, 82.0), [0.0], 24)
    assert reach[2] < 80 - 28
    assert reach[3] == pytest.approx(82.0)


@pytest.mark.parametrize("latitude", [0.0, 60.0, 85.0])
def test_degrees_of_longitude_narrow_towards_the_poles(latitude: float) -> None:
    grid = GRIDS["global, -180 to 180"]
    y = latitude + 90
    x0, _, _, _ = upwind(blowing(grid, 5.0, 0.0), (2.0, 3.0, y, y), [24.0], -24)
    degrees = 5.0 * 24 * 3.6 / 111.195 / np.cos(np.radians(latitude))
    assert x0 == pytest.approx(2.0 - degrees * (1 + SPREAD), rel=0.01)


@pytest.mark.parametrize("pole", [-90.0, 90.0])
def test_air_from_over_a_pole_needs_every_column_and_the_rows_beyond(pole: float) -> None:
    """The wind of a day comes from 3.9 degrees away: from 2.9 degrees on the other side."""
    grid = GRIDS["global, -180 to 180"]
    start = (100.5, 100.5, *(2 * [90 + pole - np.sign(pole)]))
    winds = blowing(grid, 0.0, 0.0)
    columns = np.cos(np.radians(grid.calculate_coords()["lon"][1] + 79.5))  # southward here is northward over there
    winds.v[:] = -5.0 * np.sign(pole) * columns
    winds.u[:] = 5.0 * np.sin(np.radians(grid.calculate_coords()["lon"][1] + 79.5))
    reach = upwind(winds, start, [24.0], -24)
    assert reach[1] - reach[0] >= 360
    far = reach[2] if pole > 0 else 180 - reach[3]
    assert far == pytest.approx(180 - 2.9 - 1.9 * SPREAD, abs=0.1)
    x0, x1, y0, y1 = window_of(grid, widened(grid, reach, 60.0, 3), 1, may_grow=True)
    assert (x1 - x0, y1 if pole > 0 else 181 - y0) == (360, 181)


@pytest.mark.parametrize("name", ["global, 0 to 360", "global, -180 to 180"])
def test_kilometres_around_a_rectangle_are_more_columns_towards_the_poles(name: str) -> None:
    grid = GRIDS[name]
    assert widened(grid, (10, 20, 149, 150), 55.6) == pytest.approx((8.985, 21.015, 148.5, 150.5), abs=0.01)
    assert widened(grid, (10, 20, 90, 150), 55.6, 3) == pytest.approx((7, 23, 87, 153))
    assert widened(grid, (10, 20, 170, 178), 0.0, 3) == (10, 370, 167, 181)
    assert widened(grid, (10, 20, 178, 183), 0.0, 1) == (10, 370, 176, 184), "three rows over the pole"


# -- levels ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> arl.Header:
    directory = tmp_path_factory.mktemp("extent")
    (path,) = make_meteorology(
        directory, "2023-07-15T06:00", 6, (-118.0, 37.0, -106.0, 44.0), Weather(6.0), spacing_km=9.0
    )
    return arl.read_header(path)


def test_heights_follow_the_standard_atmosphere(header: arl.Header) -> None:
    found = heights(header, np.array([[1013.25]], np.float32), np.array([[288.15]], np.float32))
    pressure = 1013.25 * np.array(header.levels)
    expected = 288.15 / 0.0065 * (1 - (pressure / 1013.25) ** 0.190263)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert found[0] == 0


def test_levels_hold_the_mixed_layer_and_the_releases(header: arl.Header) -> None:
    survey = Survey.of([(header, list(header.times))])
    whole = (0.0, header.grid.nx - 1.0, 0.0, header.grid.ny - 1.0)
    low, high = levels_needed(survey, whole, 10.0), levels_needed(survey, whole, 3000.0)
    assert 2 <= low.count < high.count <= len(header.levels)
    mixed = max(float(f.max()) for f in [survey.fields(0, "PBLH")])  # type: ignore[union-attr]
    lowest = heights(header, np.array([[840.0]], np.float32), np.array([[300.0]], np.float32))
    assert lowest[low.count - 1] > 1.4 * mixed
    assert lowest[high.count - 1] > 3900.0
    assert f"mixing heights up to {mixed:.0f} m" in low.why


@pytest.mark.parametrize("rows", [(-20.0, -10.0), (500.0, 510.0)])
def test_levels_of_a_rectangle_beside_the_grid_are_those_of_its_edge(
    rows: tuple[float, float], header: arl.Header
) -> None:
    survey = Survey.of([(header, list(header.times))])
    assert levels_needed(survey, (0, 5, *rows), 10.0).count > 2


def test_files_without_mixing_heights_keep_all_levels(header: arl.Header) -> None:
    class Bare(Survey):
        def fields(self, level: int, variable: str) -> Any:
            return None if variable == "PBLH" else super().fields(level, variable)

    kept = levels_needed(Bare([(header, header.times[0])], 1), (0, 5, 0, 5), 10.0)
    assert kept.count == len(header.levels)
    assert "no PBLH" in kept.why


# -- both, and the budget ------------------------------------------------------------------------------------------


def needs(**changes: Any) -> Needs:
    point = (-112.0, 40.5, -112.0, 40.5)
    box = (-112.4, 40.2, -111.6, 40.8)
    return replace(Needs(point, box, [pd.Timestamp("2023-07-15T11:00")], -5, 20.0), **changes)


def test_a_budget_is_kept_by_giving_up_what_lies_upwind(header: arl.Header) -> None:
    steps, scene = (
        [(header, list(header.times))],
        needs(receptors=(-113.0, 40.5, -113.0, 40.5), box=(-113.0, 39.0, -111.0, 42.0)),
    )
    wide = select(steps, scene, Limits())
    size = area(wide.selection.window)
    records = sum(n_records(step, wide.selection.n_levels) for step in header.steps)
    narrow = select(steps, scene, Limits(max_bytes=int(0.93 * size * records)))
    least = select(steps, scene, Limits(margin=0.3))
    assert area(least.selection.window) <= area(narrow.selection.window) < size
    assert "to keep to" in narrow.crop
    assert "to keep to" not in wide.crop
    with pytest.raises(MeteorologyError, match=r"raise meteorology.max_bytes"):
        select(steps, scene, Limits(max_bytes=10_000))


def area(window: arl.Window | None) -> int:
    assert window is not None
    return (window[1] - window[0]) * (window[3] - window[2])


def test_the_window_lies_upwind(header: arl.Header) -> None:
    """The wind is westerly: more is kept in the west than in the east."""
    window = select([(header, list(header.times))], needs(), Limits()).selection.window
    assert window is not None
    x, _ = header.grid.fractional_indices(np.array([-112.0]), np.array([40.5]))
    assert float(x[0]) - window[0] > 1.2 * (window[1] - float(x[0]))


def test_a_scene_may_say_how_many_levels(header: arl.Header) -> None:
    steps = [(header, list(header.times))]
    assert select(steps, needs(), Limits(n_levels=7)).selection.n_levels == 7
    assert select(steps, needs(), Limits(n_levels="all")).selection.n_levels == len(header.levels)
    assert Path(header.file.location).exists()


@pytest.mark.parametrize(
    ("box", "extent", "nx", "held"),
    [
        ((-112.0, 40.0, -110.0, 41.0), [-116.0, 38.0, -108.0, 42.0], 33, 5.0),
        ((178.0, 40.0, -178.0, 41.0), [172.0, 38.0, -175.0, 42.0], 53, 7.0),
        (
            (178.0, 40.0, -178.0, 41.0),
            [-180.0, 38.0, 177.5, 42.0],
            144,
            3.0,
        ),  # around the globe: to the north and south
    ],
)
def test_the_margin_that_holds_is_more_than_there_was(box: arl.Box, extent: list[float], nx: int, held: float) -> None:
    west, south, east, north = box
    footprint = {"xmin": west, "xmax": east, "xres": 0.1, "ymin": south, "ymax": north, "yres": 0.1}
    points = [{"longitude": west, "latitude": south}]
    changes = {
        "receptors": {"grid": None, "points": points},
        "footprint": footprint,
        "meteorology": {"directory": "/m"},
    }
    scene = make_scene(deep_merge(SCENE, changes), "t")
    grid = GridDescription("", [], extent, nx, 20, [], [], "GDAS")
    assert margin_that_holds(scene, grid, 1.0) == held
