"""Jacobians of several scenes as one."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse
import xarray as xr

from stilt_dagster.operations.products.export import concatenate_scenes
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import IncompleteError, JacobianError
from stilt_dagster.science.jacobian.concatenate import concatenate
from stilt_dagster_tests.conftest import Project


@pytest.fixture(scope="module")
def finished_scenes(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> Project:
    """Three scenes: two hours apart on one grid, and one on another grid."""
    project = Project(tmp_path_factory.mktemp("scenes"), meteorology)
    line = {"grid": {"xmax": -112.1}}
    files = [
        project.scene_file("a.yaml", id="a", receptors=line),
        project.scene_file("b.yaml", id="b", receptors=line, time="2023-07-15T13:00:00Z"),
        project.scene_file("c.yaml", id="c", receptors=line, time="2023-07-15T12:00:00Z", footprint={"xres": 0.05}),
        project.scene_file("d.yaml", id="d", receptors=line, time="2023-07-15T16:00:00Z"),
        project.scene_file("e.yaml", id="e", receptors=line),
    ]
    project.cli("scene", "add", *files)
    for scene in "abc":
        project.cli("scene", "run", scene)
    shutil.copy(project.store / "jacobian" / "a.nc", project.store / "jacobian" / "e.nc")
    return project


def read(path: Path) -> tuple[xr.Dataset, np.ndarray]:
    ds = xr.open_dataset(path)
    h = scipy.sparse.csr_matrix((ds.data, ds.indices, ds.indptr), shape=ds.attrs["shape"])
    return ds, h.toarray().reshape(len(ds.obs), len(ds.flux_time), len(ds.lat), len(ds.lon))


def test_rows_stand_below_each_other_over_all_hours(finished_scenes: Project, tmp_path: Path) -> None:
    out = tmp_path / "both.nc"
    finished_scenes.cli("jacobian", "concat", "a", "b", "--output", out)
    both, h = read(out)
    hours = both.flux_time.dt.hour.values.tolist()
    assert hours == list(range(7, 13))
    for scene, rows in (("a", slice(0, 3)), ("b", slice(3, 6))):
        one, expected = read(finished_scenes.store / "jacobian" / f"{scene}.nc")
        assert both.obs_id.values[rows].tolist() == one.obs_id.values.tolist()
        at = [hours.index(h) for h in one.flux_time.dt.hour.values]
        assert np.array_equal(h[rows][:, at], expected)
        assert np.array_equal(both.row_sum[rows], one.row_sum)
    assert h[:3, 3:].sum() == 0
    assert both.attrs["scene"] == "a b"


def test_what_cannot_stand_in_one_matrix_is_refused(finished_scenes: Project, tmp_path: Path) -> None:
    store = Store(str(finished_scenes.store))
    for names, kind, message in (
        (("a", "c"), JacobianError, "different grids"),
        (("a", "a"), JacobianError, "named twice"),
        (("a", "e"), JacobianError, "would count twice"),
        (("a", "d"), IncompleteError, "scene d has no jacobian"),
    ):
        with pytest.raises(kind, match=message):
            concatenate_scenes(store, names, tmp_path / "out.nc")
        assert not (tmp_path / "out.nc").exists()
    assert "scene ghost has no spec" in finished_scenes.error(
        "jacobian", "concat", "ghost", "--output", tmp_path / "out.nc"
    )


def test_what_an_older_jacobian_has_not_kept_is_missing(finished_scenes: Project, tmp_path: Path) -> None:
    older = tmp_path / "older.nc"
    shutil.copy(finished_scenes.store / "jacobian" / "a.nc", older)
    with h5py.File(older, "a") as file:
        for name in ("foot_sum", "row_sum_error", "imbalance"):
            del file[name]
    newer = finished_scenes.store / "jacobian" / "b.nc"
    for paths in ((older, newer), (newer, older)):
        concatenate(paths, tmp_path / "both.nc")
        with xr.open_dataset(tmp_path / "both.nc") as both, xr.open_dataset(newer) as one:
            rows = slice(3, 6) if paths[0] == older else slice(0, 3)
            assert np.array_equal(both.row_sum_error[rows], one.row_sum_error)
            assert np.isnan(both.row_sum_error).sum() == 3
            assert both.row_sum_error.attrs["units"] == one.row_sum_error.attrs["units"]
