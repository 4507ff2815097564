"""The files of a finished scene, read as users read them: with xarray, scipy, pandas, and the CF checker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

from stilt_dagster.science.transport.particle_files import read_particles
from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"


@pytest.fixture(scope="module")
def footprints(finished: Project) -> xr.Dataset:
    files = sorted((finished.store / "footprints" / SCENE).glob("*/part-*.nc"))
    return xr.open_mfdataset(files, combine="nested", concat_dim="receptor")


@pytest.fixture(scope="module")
def jacobian(finished: Project) -> xr.Dataset:
    return xr.open_dataset(finished.store / "jacobian" / f"{SCENE}.nc")


def matrix(ds: xr.Dataset) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix((ds.data, ds.indices, ds.indptr), shape=ds.attrs["shape"])


def test_the_store_is_laid_out_as_promised(finished: Project) -> None:
    found = {p.relative_to(finished.store).parts[0] for p in finished.store.rglob("*") if p.is_file()}
    assert found == {
        "scenes", "receptors", "meteorology_aggregate", "trajectories", "footprints", "jacobian", "report",
    }  # fmt: skip
    assert not [p for p in finished.store.rglob(".*") if p.is_file()]


def test_receptors_are_in_the_order_of_the_spec(finished: Project, jacobian: xr.Dataset) -> None:
    table = pd.read_parquet(finished.store / "receptors" / f"{SCENE}.parquet")
    assert table["longitude"].tolist() == [-112.1] * 3 + [-112.05] * 3 + [-112.0] * 3
    assert table["latitude"].tolist() == [40.4, 40.45, 40.5] * 3
    assert jacobian.obs_id.values.tolist() == table["receptor"].tolist()


def test_footprints_have_the_promised_layout(footprints: xr.Dataset) -> None:
    assert footprints.foot.dims == ("receptor", "hour", "lat", "lon")
    assert footprints.hour.values.tolist() == [-1, -2]
    assert footprints.foot.attrs["units"] == "ppm (umol m-2 s-1)-1"
    assert footprints.foot.dtype == np.float32
    assert footprints.sizes["receptor"] == 9
    assert not np.isnan(footprints.foot.values).any()
    assert pd.Timestamp(footprints.receptor_time.values[0]) == pd.Timestamp("2023-07-15T09:20")
    np.testing.assert_allclose(footprints.lon.values[:2], [-112.99, -112.97])
    np.testing.assert_allclose(footprints.lat_bnds.values[0, 0], [40.0, 40.02])


def test_files_pass_the_cf_checker(finished: Project, tmp_path: Path) -> None:
    part = sorted((finished.store / "footprints" / SCENE).glob("*/part-*.nc"))[0]
    for path, version in ((part, "1.8"), (finished.store / "jacobian" / f"{SCENE}.nc", "1.9")):
        report = tmp_path / "report.txt"
        checker = [Path(sys.executable).with_name("compliance-checker"), f"--test=cf:{version}", "--format=text"]
        done = subprocess.run([*checker, f"--output={report}", path], capture_output=True, text=True, timeout=300)
        text = report.read_text() if report.exists() else done.stdout
        assert "Error" not in text, text
        assert done.returncode == 0, text + done.stderr


def test_a_footprint_is_its_particles_influence_per_particle(finished: Project, footprints: xr.Dataset) -> None:
    particles = pd.concat(
        read_particles(p) for p in sorted((finished.store / "trajectories" / SCENE).rglob("*.parquet"))
    )
    inside = footprints.foot.sum(("hour", "lat", "lon")).to_series()
    for receptor, rows in particles.groupby("receptor", observed=True):
        total = rows.foot.sum() / 20
        outside = float(footprints.outside_fraction.sel(receptor=receptor))
        assert inside[receptor] == pytest.approx(total * (1 - outside), rel=1e-4)


def test_the_jacobian_reads_with_scipy_alone(jacobian: xr.Dataset) -> None:
    h = matrix(jacobian)
    assert jacobian.attrs["sparse_format"] == "csr"
    assert jacobian.attrs["format"] == "stilt-jacobian/1"
    assert h.shape == (9, jacobian.sizes["flux_time"] * jacobian.sizes["lat"] * jacobian.sizes["lon"])
    assert h.has_sorted_indices
    np.testing.assert_allclose(np.asarray(h.sum(1)).ravel(), jacobian.row_sum, rtol=1e-6)
    assert jacobian.status.values.tolist() == [0] * 9
    assert jacobian.cell_area.attrs["units"] == "m2"
    assert float(jacobian.cell_area[0, 0]) == pytest.approx(
        0.02**2 * 111_195.0**2 * np.cos(np.radians(40.01)), rel=1e-3
    )


def test_rows_over_hours_are_integrated_footprints(jacobian: xr.Dataset, footprints: xr.Dataset) -> None:
    shape = (jacobian.sizes["flux_time"], jacobian.sizes["lat"], jacobian.sizes["lon"])
    h = matrix(jacobian)
    for k, receptor in enumerate(jacobian.obs_id.values):
        row = h[k].toarray().reshape(shape).sum(0)
        expected = footprints.foot.sel(receptor=receptor).sum("hour").values
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-9)


def test_fluxes_are_hours_of_utc_by_each_particles_own_time(finished: Project, jacobian: xr.Dataset) -> None:
    """Released at 09:20, two hours back: 07 h gets the last 40 minutes of the run, 09 h the first 20."""
    hours = pd.DatetimeIndex(jacobian.flux_time.values)
    assert hours.tolist() == [pd.Timestamp(f"2023-07-15T{h:02d}:00") for h in (7, 8, 9)]
    assert pd.DatetimeIndex(jacobian.flux_time_bnds.values[:, 1]).tolist() == (hours + pd.Timedelta("1h")).tolist()
    shape = (9, 3, jacobian.sizes["lat"] * jacobian.sizes["lon"])
    by_hour = np.asarray(matrix(jacobian).todense()).reshape(shape).sum(2)
    particles = pd.concat(
        read_particles(p) for p in sorted((finished.store / "trajectories" / SCENE).rglob("*.parquet"))
    )
    absolute = pd.Timestamp("2023-07-15T09:20") + pd.to_timedelta(particles.age, unit="min")
    expected = particles.groupby([particles.receptor.astype(str), absolute.dt.hour]).foot.sum().unstack().fillna(0) / 20
    expected = expected.loc[jacobian.obs_id.values]
    outside = jacobian.outside_fraction.values[:, None]
    assert (outside == 0).any()
    inside = (outside == 0).ravel()
    # Steps that are interpolated near the receptor may straddle an hour by less than a minute.
    np.testing.assert_allclose(by_hour[inside], expected.values[inside], rtol=2e-2, atol=1e-6)


def test_a_known_flux_gives_the_known_enhancement(jacobian: xr.Dataset, footprints: xr.Dataset) -> None:
    flux = np.full(matrix(jacobian).shape[1], 2.0)
    enhancement = matrix(jacobian) @ flux
    expected = 2 * footprints.foot.sum(("hour", "lat", "lon")).sel(receptor=jacobian.obs_id.values).values
    np.testing.assert_allclose(enhancement, expected, rtol=1e-5)


def test_trajectories_are_compact(finished: Project) -> None:
    parts = list((finished.store / "trajectories" / SCENE).rglob("*.parquet"))
    rows = sum(len(read_particles(p)) for p in parts)
    assert rows == 9 * 20 * 120
    columns = read_particles(parts[0]).columns.tolist()
    assert columns[:3] == ["receptor", "age", "particle"] or columns[0] == "receptor"
    assert {"lon", "lat", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr", "foot_no_hnf_dilution"} <= set(
        columns
    )
