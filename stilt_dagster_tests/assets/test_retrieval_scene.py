"""A retrieval's scene, from its file to the jacobian, on real HYSPLIT."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

from stilt_dagster import open_jacobian
from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.boundary.curtains import Curtains
from stilt_dagster.science.jacobian.concatenate import concatenate
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.retrievals.granules import tropomi_name, write_tropomi
from stilt_dagster_tests.science.formats import hold_what_is_declared, pass_the_cf_checker
from stilt_dagster_tests.science.report.pages import read_page

SCENE = "slc-20230715-o29801"


def add(project: Project, name: str = "granule.nc", code: int = 0, replace: bool = False, **granule: object):
    write_tropomi(project.path / name, scanlines=2, pixels=2, **granule)
    retrieval = {"product": "tropomi_ch4", "uri": name, "top": 2000}
    file = project.scene_file(
        name="slc", time=None, receptors={"grid": None, "retrieval": retrieval}, transport={"numpar": 60}
    )
    return project.cli("scene", "add", file, *(["--replace"] if replace else []), code=code)


def jacobian(project: Project) -> xr.Dataset:
    return xr.load_dataset(project.store / "jacobian" / f"{SCENE}.nc")


def row_sums(project: Project) -> np.ndarray:
    return jacobian(project)["row_sum"].to_numpy()


@pytest.mark.slow
def test_kernels_weight_rows_and_no_transport_is_run_again(project: Project) -> None:
    add(project, kernel=1.0)
    project.cli("scene", "run", SCENE)
    plain = jacobian(project)
    assert {"value", "uncertainty", "prior_term", "averaging_kernel", "pressure_weight"} <= set(plain.variables)
    assert plain["value"].to_numpy() == pytest.approx(1.9, abs=0.03)
    parts = {p: p.stat().st_mtime_ns for p in (project.store / "trajectories").rglob("*.parquet")}
    table = pd.read_parquet(project.store / "receptors" / f"{SCENE}.parquet")
    assert len(table) == 4
    assert {"sounding", "value", "averaging_kernel", "prior", "quality"} <= set(table.columns)
    whole_prior = (plain["pressure_weight"] * plain["prior"]).sum("level").to_numpy()
    assert (plain["row_sum"] > 0).all()

    project.cli("jacobian", "concat", SCENE, "-o", "all.nc")
    both = xr.load_dataset(project.path / "all.nc")
    for name in ("value", "prior_term", "averaging_kernel", "pressure"):
        np.testing.assert_array_equal(both[name], plain[name])

    for factor in (0.5, 0.0):
        add(project, kernel=factor, replace=True)
        project.cli("scene", "run", SCENE)
        made = jacobian(project)
        np.testing.assert_allclose(made["row_sum"], factor * plain["row_sum"], rtol=1e-6)
    assert set(made["status"].to_numpy()) == {1}
    np.testing.assert_allclose(made["prior_term"], whole_prior, rtol=1e-6)
    assert {p: p.stat().st_mtime_ns for p in parts} == parts

    # Without the kernel a row is plain pressure weighting, whatever the kernel is.
    scene = json.loads((project.store / "scenes" / f"{SCENE}.json").read_text())
    assert scene["receptors"]["retrieval"]["retrieved"]["soundings"] == 4
    file = project.path / "scene.yaml"
    file.write_text(file.read_text() + "weighting: {averaging_kernel: false}\n")
    project.cli("scene", "add", file, "--replace")
    project.cli("scene", "run", SCENE)
    np.testing.assert_allclose(row_sums(project), plain["row_sum"], rtol=1e-6)
    assert {p: p.stat().st_mtime_ns for p in parts} == parts


def test_background_is_sampled_where_particles_end(project: Project) -> None:
    times = pd.date_range("2023-07-15T06:00", periods=3, freq="3h")
    lat, lon, level = np.arange(38, 44, 1.0), np.arange(-118, -106, 1.0), np.array([1000.0, 850, 700, 500, 200])
    field = xr.DataArray(
        1800.0 + np.zeros((3, 5, 6, 12)) + lon,
        {"time": times, "level": ("level", level, {"units": "hPa"}), "latitude": lat, "longitude": lon},
        ("time", "level", "latitude", "longitude"),
        attrs={"units": "ppb"},
    )
    field.to_dataset(name="ch4").to_netcdf(project.path / "field.nc")
    write_tropomi(project.path / "granule.nc", scanlines=1, pixels=2, kernel=0.8)
    retrieval = {"product": "tropomi_ch4", "uri": "granule.nc", "top": 2000}
    file = project.scene_file(
        name="slc",
        time=None,
        receptors={"grid": None, "retrieval": retrieval},
        background={
            "uri": "field.nc",
            "variable": "ch4",
            "boundary": {"heights": [0, 500, 1000, 3000], "vertical": "asl"},  # the ground lies at 0 m
        },
        footprint={"xmin": -112.3},
    )
    project.cli("scene", "add", file)
    project.cli("scene", "run", SCENE)
    assets = project.status(SCENE)["assets"]
    assert (assets["background"]["state"], assets["report"]["state"]) == ("ready", "ready")
    with h5netcdf.File(project.store / "jacobian" / f"{SCENE}.nc", "r") as made:
        background, spread = made.variables["background"][:], made.variables["background_sd"][:]
        weight = made.variables["pressure_weight"][:]
        top, pressure = made.variables["top"][:], made.variables["pressure"][:]
        prior_term, prior = made.variables["prior_term"][:], made.variables["prior"][:]
    # Two hours of a west wind of 6 m/s: half a degree upwind of the soundings.
    assert (top > 2000 - 1).all()
    assert pressure.shape == (2, 13)
    west = -112.05 + np.array([0.0, 0.05]) - 2 * 3600 * 6 / (111_195 * np.cos(np.deg2rad(40.45)))
    per_layer = background / (1.8 + west / 1000)
    seen = ((weight * prior).sum(axis=1) - prior_term) / prior[:, :3].mean(axis=1)
    np.testing.assert_allclose(per_layer, seen, rtol=0.02)
    assert (spread > 0).all()
    assert (spread < 0.001).all()
    _boundary_is_the_west(project, seen)
    page = read_page((project.store / "report" / f"{SCENE}.html").read_text())
    observed = {row[0]: row[1:] for row in page.tables["observed"][1:]}
    with h5netcdf.File(project.store / "jacobian" / f"{SCENE}.nc", "r") as made:
        value = made.variables["value"][:]
    assert observed["observed (value)"][:2] == ["2", f"{value.mean():.4f}"]
    left = value - background - prior_term
    assert observed["left to fluxes on the grid (value - background - prior_term)"][1] == f"{left.mean():.4f}"
    assert "value = H flux + background + prior_term" in page.text


def _boundary_is_the_west(project: Project, seen: np.ndarray) -> None:
    """All air of a west wind came by the western edge, at the heights of the column; a share a bin as high as it is."""
    path = project.store / "jacobian" / f"{SCENE}.nc"
    made, cells = xr.load_dataset(path), xr.load_dataset(path, group="boundary")
    assert made["hbc"].dims == ("obs", "side", "boundary_height")
    assert made["side_name"].to_numpy().tolist() == ["north", "east", "south", "west", "top", "inside"]
    west = made["hbc"].isel(side=3)
    assert made["boundary_height"].to_numpy().tolist() == [250, 750, 2000]
    assert made["boundary_height"].attrs["standard_name"] == "altitude"
    np.testing.assert_allclose(made["hbc"].sum(("side", "boundary_height")), 1, atol=1e-6)
    np.testing.assert_allclose(west.sum("boundary_height"), 1, atol=1e-6)
    np.testing.assert_allclose(made["hbc_weight"], seen, rtol=0.02)
    assert (west > 0.15).all()
    h = scipy.sparse.csr_matrix((cells.share, cells.cell, cells.indptr), shape=cells.attrs["shape"])
    np.testing.assert_allclose(np.asarray(h.sum(axis=1)).ravel(), 1, atol=1e-6)
    matrix = open_jacobian(path)
    assert matrix.obs["hbc_inside"].tolist() == [0, 0]
    state = matrix.boundary().sum("boundary_height")
    assert state.obs_id.to_numpy().tolist() == made["obs_id"].to_numpy().tolist()
    np.testing.assert_allclose(state.sel(side="west"), made["hbc_weight"], rtol=1e-6)
    np.testing.assert_array_equal(matrix.select(rows=[1, 0]).boundary()[::-1], matrix.boundary())
    with h5netcdf.File(path, "r") as file:
        curtains = Curtains(file)
        assert curtains.heights.tolist() == [250, 750, 2000]
        for rows in (slice(None), slice(1, 2)):
            locations = curtains.read(rows)
            found = locations.pop("w")
            assert found.shape == (len(made.obs[rows]), 3, made.sizes["lat"])
            assert {v.shape for n, v in locations.items() if n in "ns"} == {(len(found), 3, made.sizes["lon"])}
            assert not any(v.any() for v in locations.values())
            np.testing.assert_allclose(found.sum(axis=2), west[rows], atol=1e-6)
            # The soundings lie at 40.4 degrees and north of it, and the wind carries air along the parallel.
            assert made["lat"].to_numpy()[found.sum(axis=(0, 1)) > 0].min() > 40.3

    hold_what_is_declared(path, "jacobian")
    pass_the_cf_checker(path, "1.9")
    project.cli("jacobian", "concat", SCENE, "-o", "all.nc")
    copy = project.path / "all.nc"
    xr.testing.assert_identical(xr.load_dataset(copy, group="boundary"), cells)
    for name in ("hbc", "hbc_weight"):
        xr.testing.assert_identical(xr.load_dataset(copy)[name], made[name])
    _damaged_boundaries_are_said_in_one_line(copy)
    with h5py.File(copy, "r+") as file:
        file["boundary_height_bnds"][0, 0] = -10
        file["obs_id"][:] = ["another", "one more"]
    with pytest.raises(JacobianError, match="have different boundaries: give both one background"):
        concatenate([path, copy], project.path / "none.nc")


def _damaged_boundaries_are_said_in_one_line(path: Path) -> None:
    broken = path.with_name("broken.nc")
    shutil.copy(path, broken)
    with h5py.File(broken, "r+") as file:
        file["boundary/indptr"][1] = 10**6
    with h5netcdf.File(broken, "r") as file, pytest.raises(JacobianError, match="the jacobian is damaged"):
        Curtains(file).read(slice(None))
    with h5py.File(broken, "r+") as file:
        del file["hbc"]
    with pytest.raises(JacobianError, match=r"broken\.nc is damaged: its boundary cannot be read"):
        open_jacobian(broken).boundary()
    with h5py.File(broken, "r+") as file:
        del file["boundary"]
    with pytest.raises(JacobianError, match=r"broken\.nc has no boundary: give its scene background\.boundary"):
        open_jacobian(broken).boundary()


def test_bad_granules_register_nothing(project: Project) -> None:
    for granule, says in (
        ({"units": "furlongs"}, "has units 'furlongs'"),
        ({"without": "column_averaging_kernel"}, "column_averaging_kernel (averaging_kernel) is missing"),
        ({"qa": 0.2}, "has the quality asked for"),
        ({"kernel": np.nan}, "they lack values, kernels or pressures"),
    ):
        error = add(project, code=2, **granule).stderr
        assert says in error, error
        assert "Traceback" not in error
        assert len(error.strip().splitlines()) == 1
    (project.path / tropomi_name()).write_bytes((project.path / "granule.nc").read_bytes()[:5000])
    assert not list(project.store.glob("scenes/*"))
