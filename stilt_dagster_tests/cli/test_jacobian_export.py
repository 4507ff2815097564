"""``stilt-dagster jacobian export``: a finished scene in each code's files, and one line where it cannot be."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import fips
import numpy as np
import pytest
import stilt
import xarray as xr

from stilt_dagster import open_jacobian
from stilt_dagster.jobs import convert_jacobians
from stilt_dagster.operations.products.conversions import Options, convert_scenes
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.codes import Code
from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"


def export(project: Project, code: str, output: Path, *options: object) -> list[Path]:
    done = project.cli("jacobian", "export", SCENE, "--format", code, "--output", output, *options, "--json")
    found = json.loads(done.stdout)
    assert found["format"] == code
    return [Path(f) for f in found["files"]]


def test_a_scene_in_the_files_of_each_code(finished: Project, tmp_path: Path) -> None:
    matrix = open_jacobian(finished.store / "jacobian" / f"{SCENE}.nc")
    flux = np.random.default_rng(1).random(matrix.shape[1])
    y = matrix.matvec(flux)

    coarse = matrix.coarsen(factor=10)
    (path,) = export(finished, "fips", tmp_path / "h.pkl", "--coarsen", 10)
    operator = fips.ForwardOperator.from_file(path)
    x = np.random.default_rng(2).random(coarse.shape[1])
    np.testing.assert_allclose(operator.to_numpy() @ x, coarse.matvec(x), rtol=1e-9)

    footprints = [stilt.read_footprint(p) for p in export(finished, "pystilt", tmp_path / "pystilt")]
    on_map = matrix.flux_array(flux)
    for k, foot in enumerate(footprints):
        hours = foot.time.to_index().floor("h")
        there = on_map.sel(flux_time=hours).to_numpy()
        np.testing.assert_allclose(float((foot.to_numpy() * there).sum()), y[k], rtol=1e-6)

    (path,) = export(finished, "openghg", tmp_path / "openghg")
    with xr.open_dataset(path) as file:
        np.testing.assert_allclose(file["srr"].sum(["latitude", "longitude"]), matrix.obs["row_sum"], rtol=1e-6)


def test_the_ui_exports_too(finished: Project, tmp_path: Path) -> None:
    config = {"scenes": [SCENE], "code": "PYSTILT", "output": str(tmp_path)}
    done = convert_jacobians.execute_in_process(
        run_config={"ops": {"convert": {"config": config}}}, resources={"store": StoreResource(url=str(finished.store))}
    )
    assert done.output_for_node("convert") == len(list(tmp_path.glob("date=*/*.parquet"))) == 9


def test_what_cannot_be_exported_is_refused_in_a_line(finished: Project, tmp_path: Path) -> None:
    def refused(code: str, *options: object, scene: str = SCENE) -> str:
        return finished.error("jacobian", "export", scene, "--format", code, "--output", tmp_path / "x", *options)

    assert "must end in .pkl" in refused("fips")
    assert "name --prior and --state-vector" in refused("imi")
    assert "--prior is of imi, and fips has no use for it" in refused("fips", "--prior", tmp_path / "prior.nc")
    for option, value in (("state_vector", Path("x")), ("background", 0.0), ("prior", Path("x"))):
        with pytest.raises(JacobianError, match=f"--{option.replace('_', '-')} is of imi"):
            convert_scenes(
                Store(str(finished.store)), [SCENE], Code.OPENGHG, tmp_path / "x", Options(**{option: value})
            )
    with pytest.raises(JacobianError, match="--time-resolved is of openghg, and pystilt has no use"):
        convert_scenes(Store(str(finished.store)), [SCENE], Code.PYSTILT, tmp_path / "x", Options(time_resolved=True))
    assert "scene nowhere has no spec" in refused("fips", scene="nowhere")
    (tmp_path / "prior.nc").write_bytes(pickle.dumps(1))
    line = refused("imi", "--prior", tmp_path / "prior.nc", "--state-vector", tmp_path / "prior.nc")
    assert "prior.nc cannot be read" in line
    line = refused("openghg", "--time-resolved")
    assert "do not begin on the first day of a month" in line
    assert not (tmp_path / "x").exists()
