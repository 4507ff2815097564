"""``stilt-dagster export``: a scene's results as files of other programs."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import h5netcdf
import numpy as np
import pandas as pd
import rasterio
import xarray as xr

from stilt_dagster.definitions import build_defs
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"


def test_a_map_is_the_sum_of_the_matrix(finished: Project, tmp_path: Path) -> None:
    path = tmp_path / "sum.tif"
    said = json.loads(finished.cli("export", "geotiff", SCENE, "--output", path, "--json").stdout)
    assert said == {"output": str(path), "receptors": 9, "failed": 0}
    with h5netcdf.File(finished.store / "jacobian" / f"{SCENE}.nc", "r") as file:
        ny, nx = file.dimensions["lat"].size, file.dimensions["lon"].size
        cells = file.variables["indices"][:] % (ny * nx)
        expected = np.bincount(cells, file.variables["data"][:], ny * nx).reshape(ny, nx)
    with rasterio.open(path) as map_:
        np.testing.assert_allclose(map_.read(1), expected[::-1], rtol=1e-6)
        assert map_.descriptions == ("surface influence, sum over 9 receptors and 2 hours",)
        assert (map_.tags()["scene"], map_.tags()["time"]) == (SCENE, "2023-07-15T09:20:00Z")


def test_footprints_of_some_receptors(finished: Project, tmp_path: Path) -> None:
    """In the scene's order, whichever is named first; one named twice is there once."""
    finished.cli("export", "rstilt", SCENE, tmp_path / "all")
    ids = pd.read_parquet(finished.store / "receptors" / f"{SCENE}.parquet")["receptor"].tolist()
    some = [word for receptor in (ids[4], ids[1], ids[4]) for word in ("--receptor", receptor)]
    said = finished.cli("export", "footprints", SCENE, tmp_path / "some.nc", *some).stdout
    assert said == f"{tmp_path / 'some.nc'}: 2 receptors\n"
    said = finished.cli("export", "footprints", SCENE, *some[:2], "-o", tmp_path / "one.nc").stdout
    assert said == f"{tmp_path / 'one.nc'}: 1 receptor\n"
    with xr.open_dataset(tmp_path / "some.nc") as ds:
        assert ds.receptor_id.to_numpy().tolist() == [ids[1], ids[4]]
        for k, receptor in enumerate(ds.receptor_id.to_numpy()):
            with xr.open_dataset(tmp_path / "all" / "footprints" / f"{receptor}_foot.nc") as one:
                np.testing.assert_array_equal(ds.foot[k], one.foot.to_numpy()[::-1])


def test_jobs_of_the_ui_write_what_the_commands_do(finished: Project, tmp_path: Path) -> None:
    defs = build_defs({"store": StoreResource(url=str(finished.store)), "transport_engine": TransportEngine()})
    for job, op, name in (
        ("export_footprints", "write_footprints", "a.nc"),
        ("export_geotiff", "write_geotiff", "a.tif"),
    ):
        config = {"scene": SCENE, "output": str(tmp_path / name)}
        with dg.DagsterInstance.ephemeral() as instance:
            done = defs.resolve_job_def(job).execute_in_process(
                instance=instance,
                run_config={
                    "ops": {op: {"config": config}},
                    "loggers": {"console": {"config": {"log_level": "ERROR"}}},
                },
            )
        assert done.success
    with xr.open_dataset(tmp_path / "a.nc") as ds, rasterio.open(tmp_path / "a.tif") as map_:
        np.testing.assert_allclose(map_.read(1), ds.foot.sum(("receptor", "hour"), dtype=np.float64)[::-1], rtol=1e-5)


def test_what_cannot_be_exported_is_said_in_one_line(finished: Project, project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for kind in ("footprints", "geotiff"):
        unknown = finished.error("export", kind, SCENE, "--receptor", "ghost", "-o", out)
        assert f"scene {SCENE} has no receptor ghost; one of its 9 is" in unknown
    twice = finished.error("export", "footprints", SCENE, out, "-o", out)
    assert f"{out} and --output {out} both say where to write" in twice
    (tmp_path / "without" / "rasterio").mkdir(parents=True)
    (tmp_path / "without" / "rasterio" / "__init__.py").write_text("raise ModuleNotFoundError")
    missing = finished.error("export", "geotiff", SCENE, "-o", out, PYTHONPATH=str(tmp_path / "without"))
    assert missing.endswith("is not installed: pip install 'stilt_dagster[gis]'")
    project.cli("scene", "add", project.scene_file())
    assert f"run it first with `stilt-dagster scene run {SCENE}`" in project.error("export", "geotiff", SCENE)
    assert not out.exists()
    assert not list(project.path.glob("*.tif"))
