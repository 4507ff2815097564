"""Areas of cells in coarser ones: exact, and none is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stilt_dagster import open_jacobian
from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.cells import GridCells
from stilt_dagster.science.jacobian.matrix.overlap import coarsen_by_factor, coarsen_to_edges, cut_region
from stilt_dagster_tests.science.jacobian.files import GRID, sample


def cells(y_edges: np.ndarray, x_edges: np.ndarray, names: tuple[str, str] = ("lat", "lon")) -> GridCells:
    y, x = ((e[:-1] + e[1:]) / 2 for e in (y_edges, x_edges))
    return GridCells(y, x, y_edges, x_edges, names, {})


def edges(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    """Return ascending edges, at least a hundredth of a unit apart."""
    steps = st.integers(int(low * 100), int(high * 100))
    return st.lists(steps, min_size=2, max_size=12, unique=True).map(lambda s: np.sort(s) / 100)


@settings(max_examples=100, deadline=None)
@given(edges(-89, 89), edges(-180, 179), edges(-90, 90), edges(-180, 180), st.booleans())
def test_shares_are_areas_of_overlap_on_the_sphere(
    y: np.ndarray, x: np.ndarray, coarse_y: np.ndarray, coarse_x: np.ndarray, turned: bool
) -> None:
    """Against the area of each pair of cells by itself; a coarse grid of 0 to 360 degrees is no other."""
    fine = cells(y, x)
    coarse_y = np.unique(np.r_[-90, coarse_y, 90])
    coarse_x = np.unique(np.r_[-180, coarse_x, 180])
    made, shares = coarsen_to_edges(fine, coarse_y, coarse_x + 360 * turned)
    np.testing.assert_allclose(np.asarray(shares.sum(axis=1)).ravel(), 1, rtol=1e-9)
    # What fine cells give to a coarse one is the area they have in it.
    assert (shares.T @ fine.area.ravel() <= made.area.ravel() * (1 + 1e-9)).all()
    np.testing.assert_allclose((shares.T @ fine.area.ravel()).sum(), fine.area.sum(), rtol=1e-9)
    rng = np.random.default_rng(0)
    for i, k in zip(rng.integers(0, fine.size, 5), rng.integers(0, made.size, 5), strict=True):
        (a, b), (c, d) = np.unravel_index(i, fine.shape), np.unravel_index(k, made.shape)
        south, north = max(y[a], coarse_y[c]), min(y[a + 1], coarse_y[c + 1])
        west, east = max(x[b], coarse_x[d]), min(x[b + 1], coarse_x[d + 1])
        both = 0.0
        if south < north and west < east:
            both = cells(np.array([south, north]), np.array([west, east])).area[0, 0]
        assert shares[i, k] == pytest.approx(both / fine.area.ravel()[i], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(edges(0, 50), edges(0, 50), st.integers(1, 15), st.integers(1, 15))
def test_blocks_of_cells_keep_their_area(y: np.ndarray, x: np.ndarray, fy: int, fx: int) -> None:
    for names in (("lat", "lon"), ("y", "x")):
        fine = cells(y, x, names)
        made, shares = coarsen_by_factor(fine, (fy, fx))
        assert made.shape == (-(-fine.shape[0] // fy), -(-fine.shape[1] // fx))
        assert set(shares.data) == {1.0}
        np.testing.assert_allclose(shares.T @ fine.area.ravel(), made.area.ravel(), rtol=1e-9)


@pytest.mark.parametrize(
    ("lat", "lon", "side"),
    [
        ([40.1, 41], [-113, -111], "south, where this one ends at 40"),
        ([39, 40.3], [-113, -111], "north, where this one ends at 40.4"),
        ([39, 41], [-111.9, -111], "west, where this one ends at -112"),
        ([39, 41], [-113, -111.5], "east, where this one ends at -111.4"),
        ([39, 39.5], [-113, -111], "south"),
    ],
)
def test_a_coarse_grid_that_leaves_out_cells_is_refused(lat, lon, side: str) -> None:
    fine = cells(40 + 0.1 * np.arange(5), -112 + 0.1 * np.arange(7))
    with pytest.raises(JacobianError, match=f"leaves out cells in the {side}"):
        coarsen_to_edges(fine, lat, lon)


def test_a_box_may_cross_the_antimeridian() -> None:
    globe = cells(np.linspace(-90, 90, 7), np.linspace(-180, 180, 37))
    kept, shares = cut_region(globe, (165, -40, -155, 40))
    assert kept.x.tolist() == [165, 175, 185, 195, 205]
    assert kept.x_edges.tolist() == [160, 170, 180, 190, 200, 210]
    places = shares.tocoo()
    assert np.allclose((globe.x[places.row % 36] - kept.x[places.col % 5]) % 360, 0)
    fiji = cells(np.array([-20.0, -10]), np.linspace(170, 190, 21))
    assert cut_region(fiji, (175, -20, -175, -10))[0].x_edges.tolist() == list(range(175, 186))
    pacific = cells(np.array([0.0, 1]), np.linspace(-180, -100, 81))
    assert cut_region(pacific, (170, 0, -150, 1))[0].x_edges.tolist() == list(range(-180, -149))


@pytest.mark.parametrize(("west", "east"), [(-110.5, -111.5), (-111, -112), (-109, -111), (249, 248)])
def test_exchanged_west_and_east_of_a_regional_grid_are_refused(west: float, east: float) -> None:
    """Also where only one side of it would lie in the box around the rest of the Earth."""
    regional = cells(np.array([0.0, 1]), np.linspace(-112, -110, 21))
    with pytest.raises(JacobianError, match=f"west, {west}, lies east of its east, {east}, .* exchange them"):
        cut_region(regional, (west, 0, east, 1))


def test_what_does_not_suit_the_cells_is_refused_in_one_line(tmp_path: Path) -> None:
    h = open_jacobian(sample().write(tmp_path / "a.nc"))
    labels = xr.DataArray(np.zeros((4, 6), int), {"lat": h.cells.y, "lon": h.cells.x}, ("lat", "lon"))
    regions = h.coarsen(regions=labels)
    projected = GridCells(
        h.cells.y, h.cells.x, h.cells.y_edges, h.cells.x_edges, ("y", "x"), {"grid_mapping_name": "p"}
    )
    for use, message in (
        (lambda: h.select(region=(0, 0, 1, 1)), r"no cell lies in the region .* 4 x 6 cells of -112 to -111.4"),
        (lambda: h.select(region=(0, 0, 1)), "four numbers"),
        (lambda: h.select(region=(-111.5, 40, -112, 41)), "west, -111.5, lies east of its east, -112"),
        (lambda: h.select(time=slice("2024", None)), "2024 to None has no .* 2023-07-15T00:00 to 2023-07-15T06:00$"),
        (lambda: h.select(time="2024-01-01"), "time 2024-01-01 has no step"),
        (lambda: h.select(time="yesterday"), "day or month such as '2023-07-15', or a slice of times"),
        (lambda: h.select(time=5), r"slice of times .* \(got 5\)$"),
        (lambda: h.select(rows=slice("a-0", "a-2")), "a slice of numbers"),
        (lambda: h.select(rows=[[1], [1, 2]]), "a slice of numbers"),
        (lambda: h.select(time=slice("soon", None)), "slice of times"),
        (lambda: h.select(rows=["nobody"]), "no observation nobody"),
        (lambda: h.select(rows=[7]), "no row 7 of 4"),
        (lambda: h.select(rows=[1, 1]), "named twice"),
        (lambda: h.select(rows=np.array([True])), "a mask of 4 rows"),
        (lambda: h.coarsen(), "one of factor, grid and regions"),
        (lambda: h.coarsen(0), "whole number from 1"),
        (lambda: h.coarsen((2, 2, 2)), "whole number from 1"),
        (lambda: h.coarsen(2.5), r"whole number from 1.*\(got 2\.5\)"),
        (lambda: h.coarsen(True), "whole number from 1"),
        (lambda: h.coarsen(([1, 2],)), "whole number from 1"),
        (lambda: h.coarsen(grid=2.5), r"a pair of edges, of lat and of lon, .* H\.cells \(got float\)"),
        (lambda: h.coarsen(grid=regions.cells), r"a pair of edges.* \(got Regions\)"),
        (lambda: h.coarsen(grid=(["a", "b"], [0, 1])), "edges of lat must be numbers"),
        (lambda: h.coarsen(regions=labels.to_numpy()), r"an xarray\.DataArray of regions on lat, lon .*got ndarray"),
        (lambda: h.coarsen(regions=labels.to_dataset(name="labels")), r"\(got Dataset\)"),
        (lambda: h.coarsen(grid=([40, 39], [0, 1])), "must ascend"),
        (lambda: h.coarsen(grid=projected), "another coordinate system"),
        (lambda: h.coarsen(regions=labels.assign_coords(lon=h.cells.x + 0.05)), "on other cells of lon"),
        (lambda: h.coarsen(regions=labels + 0.5), "whole numbers"),
        (lambda: h.coarsen(regions=labels - 1), "there are no regions"),
        (lambda: regions.coarsen(2), "regions already"),
        (lambda: regions.select(region=(-112, 40, -111, 41)), "select the region before"),
        (lambda: h.aggregate_time("fortnight"), "^'fortnight' is no frequency of pandas .* 'D', '3h' or 'MS'$"),
        (lambda: h.aggregate_time("30min"), "'30min' is no frequency of pandas of full hours"),
        (lambda: h.aggregate_time("1ns"), "'1ns' is no frequency of pandas of full hours"),
        (lambda: h.aggregate_time("0D"), "'0D' is no frequency of pandas of full hours"),
        (lambda: h.aggregate_time([10**30]), "must be times"),
        (
            lambda: h.aggregate_time(["2023-07-15", "2023-07-15T00:30", "2023-07-16"]),
            "of 2023-07-15T00:00 to 2023-07-15T01:00 is one step",
        ),
        (lambda: h.aggregate_time(2), r"a frequency such as 'D' \(got 2\)$"),
        (lambda: h.aggregate_time(["2023-07-15T02:00", "2023-07-16"]), "leave out 2023-07-15T00:00:"),
        (lambda: h.aggregate_time(["2023-07-15", "2023-07-15T02:30", "2023-07-16"]), "lies in two"),
        (lambda: h.aggregate_time(["2023-07-16", "2023-07-15"]), "must ascend"),
    ):
        with pytest.raises(JacobianError, match=message):
            use()


def test_regions_by_name_leave_out_cells_without_one(tmp_path: Path) -> None:
    h = open_jacobian(sample().write(tmp_path / "a.nc"))
    names = np.full((4, 6), "", dtype=object)
    names[:2], names[2, :3] = "valley", "city"
    regions = h.coarsen(regions=xr.DataArray(names, {"lat": h.cells.y, "lon": h.cells.x}, ("lat", "lon")))
    assert regions.cells.names == ["city", "valley"]
    np.testing.assert_allclose(regions.cells.area, [h.cells.area[2, :3].sum(), h.cells.area[:2].sum()])
    assert regions.flux_array(np.ones(12)).dims == ("flux_time", "region")


def test_a_day_alone_is_all_of_it(tmp_path: Path) -> None:
    h = open_jacobian(sample(hours=30).write(tmp_path / "a.nc"))
    assert h.select(time="2023-07-15").flux_time.equals(h.flux_time[:24])
    assert h.select(time="2023-07-16T03").flux_time.equals(h.flux_time[27:28])
    assert h.select(time="2023-07").flux_time.equals(h.flux_time)


def test_days_are_whole_ones_and_hours_are_summed(tmp_path: Path) -> None:
    h = open_jacobian(sample(hours=30).write(tmp_path / "a.nc")).aggregate_time("D")
    days = h.flux_time_bounds.astype("M8[D]").astype(str).tolist()
    assert days == [["2023-07-15", "2023-07-16"], ["2023-07-16", "2023-07-17"]]
    np.testing.assert_allclose(h @ np.ones(h.shape[1]), h.obs.row_sum, rtol=1e-6)
    months = open_jacobian(sample(hours=30).write(tmp_path / "a.nc")).aggregate_time("MS")
    assert months.flux_time_bounds.astype("M8[D]").astype(str).tolist() == [["2023-07-01", "2023-08-01"]]


def test_cells_of_a_projected_grid(tmp_path: Path) -> None:
    """Factor and edges in the projection's own metres."""
    lambert = "+proj=lcc +lat_1=40 +lat_2=41 +lat_0=40 +lon_0=-112 +R=6371000 +units=m"
    grid = {**GRID, "xres": 10_000.0, "yres": 10_000.0, "projection": lambert}
    h = open_jacobian(sample(grid=grid).write(tmp_path / "p.nc"))
    assert h.cells.names == ("y", "x")
    assert h.cells.area[0, 0] == pytest.approx(1e8)
    ones = np.ones(h.shape[1])
    x_edges = np.linspace(h.cells.x_edges[0] - 5, h.cells.x_edges[-1] + 5, 3)
    for coarse in (h.coarsen(3), h.coarsen(grid=(h.cells.y_edges[[0, -1]], x_edges))):
        np.testing.assert_allclose(coarse @ ones[: coarse.shape[1]], h.obs.row_sum, rtol=1e-6)
    with pytest.raises(JacobianError, match="coordinates y, x of this grid"):
        h.coarsen(grid=([39, 42], [-113, -111]))
