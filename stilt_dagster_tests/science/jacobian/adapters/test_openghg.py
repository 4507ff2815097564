"""OpenGHG's files: what they hold, and, where its environment is, what OpenGHG and openghg_inversions make of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster import open_jacobian
from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.openghg.axes import unique_times
from stilt_dagster.science.jacobian.adapters.openghg.files import write_files
from stilt_dagster.science.jacobian.adapters.openghg.footprints import HOURS_BACK, write_footprints
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster_tests.conftest import ROOT, Project
from stilt_dagster_tests.science.jacobian.adapters.matrices import cells_of, small

#: What `make test-openghg` installs: its pins of xarray, numpy and netCDF4 are below this project's.
PYTHON = ROOT / "build" / "openghg" / "bin" / "python"


class Curtains:
    """Air that came in by the sides, and some from above."""

    heights = np.array([250.0, 1000.0, 3000.0])
    weights = np.array([1.0, 0.8, 1.0, 0.5, 1.0])

    def read(self, rows: slice) -> Mapping[str, np.ndarray]:
        rng = np.random.default_rng(rows.start)
        n = rows.stop - rows.start
        found = {s: (rng.random((n, 3, 3 if s in "ns" else 4)) / 100).astype(np.float32) for s in "nesw"}
        for values in found.values():
            values[np.arange(rows.start, rows.stop) == 4] = 0  # none of the last row's left by a side
        return found


def test_a_file_holds_the_rows_in_order_of_time(tmp_path: Path) -> None:
    matrix = small(n_hours=30, start="2023-06-30T08")
    files = write_files(matrix, tmp_path, time_resolved=True, curtains=Curtains())
    rows = matrix.matrix.toarray().reshape(5, 30, *matrix.cells.shape)
    released = matrix.obs["time"].to_numpy().astype("datetime64[h]")
    order = np.argsort(released, kind="stable")
    with xr.open_dataset(files["footprints"]) as file, xr.open_dataset(files["observations"]) as observations:
        assert file.indexes["time"].is_unique
        assert file.indexes["time"].is_monotonic_increasing
        np.testing.assert_array_equal(file["time"].to_numpy().astype("datetime64[h]"), released[order])
        np.testing.assert_array_equal(file["time"], observations["time"])
        np.testing.assert_allclose(file["srr"], rows[order].sum(axis=1), rtol=1e-6)
        np.testing.assert_allclose(
            file["srr"], file["srr_residual"] + file["srr_time_resolved"].sum("resolution"), rtol=1e-6
        )
        hours_back = (released[:, None] - matrix.flux_time_bounds[None, :, 0]).astype("timedelta64[h]").astype(int)
        for k, row in enumerate(order):
            for step in range(30):
                back = hours_back[row, step]
                if 0 <= back < HOURS_BACK:
                    np.testing.assert_array_equal(file["srr_time_resolved"][k, :, :, back], rows[row, step])
        assert file["srr"].attrs["units"] == "m2 s mol-1"
        sums = sum(
            file[f"particle_locations_{s}"].sum(("height", "longitude" if s in "ns" else "latitude")) for s in "nesw"
        )
        np.testing.assert_allclose(sums[order != 4], Curtains.weights[order][order != 4], rtol=1e-6)
        assert np.isnan(file["particle_locations_n"][int(np.flatnonzero(order == 4)[0])]).all()
        expected = (matrix.obs["value"] - matrix.obs["prior_term"]).to_numpy()[order]
        np.testing.assert_allclose(observations["mf"] * 1e6, expected, rtol=1e-12)


def test_what_openghg_cannot_use_is_refused(tmp_path: Path) -> None:
    matrix = small()
    lambert = Grid(-112.2, -111.9, 5000, 40.3, 40.5, 5000, "+proj=lcc +lat_1=38.5 +lat_2=38.5 +lat_0=38.5 +lon_0=-97.5")
    for wrong, resolved, message in (
        (matrix.with_status("failed", "ok", "ok", "ok", "ok"), False, r"H\.without_failed\(\)"),
        (matrix.having(cells=cells_of(lambert)), False, "the grid is projected"),
        (small(start="2023-07-15T08"), True, "do not begin on the first day of a month"),
        (matrix.having(flux_time_bounds=matrix.flux_time_bounds[:1] + np.timedelta64(30, "m")), True, "takes hours"),
        (matrix.having(flux_time_bounds=matrix.flux_time_bounds + np.timedelta64(2, "h")), True, "hours after it"),
    ):
        with pytest.raises(JacobianError, match=message):
            write_footprints(wrong, tmp_path / "footprints.nc", time_resolved=resolved)
    assert not list(tmp_path.iterdir())


def test_where_air_came_in_is_that_of_the_scene(finished: Project, tmp_path: Path) -> None:
    """From the boundary a jacobian keeps, on its own grid and summed along the sides of a coarser one."""
    path = tmp_path / "valley.nc"
    path.write_bytes((finished.store / "jacobian" / "valley-20230715t0920.nc").read_bytes())
    rng = np.random.default_rng(1)
    ny, nx, heights = 50, 70, [250.0, 1000.0]
    width = 2 * len(heights) * (nx + ny)
    cells = np.sort(np.array([rng.choice(width + 4, 30, replace=False) for _ in range(9)]), axis=1)
    with h5netcdf.File(path, "a") as file:
        file.dimensions["boundary_height"] = 2
        file.create_variable("boundary_height", ("boundary_height",), "f8", data=heights)
        file.create_variable("hbc_weight", ("obs",), "f8", data=np.linspace(0.2, 1, 9))
        group = file.create_group("boundary")
        group.dimensions.update({"nnz": cells.size, "row_bound": 10})
        group.create_variable("cell", ("nnz",), "i4", data=cells.ravel())
        group.create_variable("share", ("nnz",), "f4", data=np.full(cells.size, 1 / 30, "f4"))
        group.create_variable("indptr", ("row_bound",), "i8", data=30 * np.arange(10))
    matrix = open_jacobian(path).select(rows=[8, 2, 3])
    for view, along in ((matrix, 1), (matrix.coarsen(factor=10), 10)):
        with xr.open_dataset(view.to_openghg(tmp_path / str(along))["footprints"]) as file:
            sides = {s: file[f"particle_locations_{s}"].to_numpy() for s in "nesw"}
            assert sides["n"].shape == (3, nx // along, 2)
            total = sum(v.sum(axis=(1, 2)) for v in sides.values())
            np.testing.assert_allclose(total, np.linspace(0.2, 1, 9)[[8, 2, 3]], rtol=1e-5)
            inside = np.array([np.count_nonzero(cells[r] < width) for r in (8, 2, 3)])
            north = np.zeros((3, 2 * nx))
            for k, r in enumerate((8, 2, 3)):
                north[k, cells[r][cells[r] < 2 * nx]] = total[k] / inside[k]
            expected = north.reshape(3, 2, nx // along, along).sum(axis=-1).transpose(0, 2, 1)
            np.testing.assert_allclose(sides["n"], expected, atol=1e-6)
    part = matrix.select(region=(-112.5, 40.2, -112.0, 40.6)).to_openghg(tmp_path / "part")
    with xr.open_dataset(part["footprints"]) as file:
        assert np.isnan(file["particle_locations_w"]).all()


minutes = st.lists(st.integers(0, 5), min_size=1, max_size=50)


@given(minutes)
def test_times_become_unique_and_stay_in_order(values: list[int]) -> None:
    """Each is a millisecond after the one before at least, and late by one for each of its minute at most."""
    times = np.array(values, "datetime64[m]")
    order, stamps = unique_times(times)
    assert sorted(order) == list(range(len(values)))
    assert (np.diff(stamps) >= 1).all()
    late = stamps - times[order].astype("datetime64[ms]").astype(int)
    assert ((late >= 0) & (late < len(values))).all()


@pytest.mark.openghg
def test_openghg_inversions_makes_the_products_of_the_matrix(tmp_path: Path) -> None:
    """Through OpenGHG's object store and openghg_inversions' getters to its prepared inputs: sums of these are H x."""
    if not PYTHON.exists():
        pytest.skip("`make test-openghg` makes the environment of OpenGHG")
    matrix = small()
    x = np.random.default_rng(3).random((5, *matrix.cells.shape))
    constant = np.broadcast_to(x[0], x.shape)
    expected = {}
    for species, flux, resolved in (("ch4", constant, False), ("co2", x, True)):
        write_files(matrix, tmp_path / species, time_resolved=resolved, curtains=Curtains())
        times = matrix.obs["time"].to_numpy()
        order = np.argsort(times.astype("datetime64[h]") if resolved else times, kind="stable")
        np.savez(
            tmp_path / species / "flux.npz",
            flux=flux * 1e-6,
            time=matrix.flux_time_bounds[:, 0],
            lat=matrix.cells.y,
            lon=matrix.cells.x,
            height=Curtains.heights,
        )
        expected[species] = (matrix.matrix @ flux.ravel())[order] * 1e-6, Curtains.weights[order], order
    reader = Path(__file__).with_name("read_with_openghg.py")
    done = subprocess.run(
        [PYTHON, reader, tmp_path],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for species, (enhancement, weights, order) in expected.items():
        np.testing.assert_allclose(found[species]["enhancement"], enhancement, rtol=1e-6)
        np.testing.assert_allclose(found[species]["prepared"], enhancement, rtol=1e-6)
        observed = (matrix.obs["value"] - matrix.obs["prior_term"]).to_numpy()[order] * 1e-6
        np.testing.assert_allclose(found[species]["observed"], observed, rtol=1e-12)
        known = order != 4
        np.testing.assert_allclose(np.array(found[species]["boundary"])[known], weights[known], rtol=1e-5)
