"""The error of transport of a scene's observations, from its YAML to its jacobian, on real HYSPLIT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import h5netcdf
import numpy as np
import pytest
import xarray as xr

from stilt_dagster import read_particles
from stilt_dagster.operations.log import prepare_run
from stilt_dagster.resources.configurable import TransportEngine
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import Reason, SimulationFailed
from stilt_dagster.science.footprints.exports.rstilt_files import export_scene
from stilt_dagster.science.meteorology.files import Window
from stilt_dagster.science.observations.flux_field import open_flux
from stilt_dagster.science.observations.transport_error import sample_transport_error
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster_tests.assets.test_runs import Bench, failure
from stilt_dagster_tests.science.formats import hold_what_is_declared

WINDS = {"siguverr": 1.0, "tluverr": 120.0, "zcoruverr": 600.0, "horcoruverr": 40.0}
SHORT = {"n_hours": -1, "numpar": 100}
POINTS = [
    {"longitude": -112.0, "latitude": 40.45, "height": 5},
    {"longitude": -112.05, "latitude": 40.5, "height": 20},
    {"longitude": -112.0, "latitude": 40.5, "height": [0, 200]},
]


@pytest.fixture
def bench(tmp_path: Path, meteorology: Path) -> Iterator[Bench]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield Bench(tmp_path, meteorology, instance)


def write_fluxes(path: Path) -> None:
    """Write fluxes beside the way of a west wind, which only errors of winds take particles to, and twice these."""
    lat, lon = np.arange(40.005, 41.0, 0.01), np.arange(-112.995, -111.5, 0.01)
    beside = np.abs(lat[:, None] - [40.45, 40.5]).min(axis=1) > 0.02
    flux = 50.0 * beside[:, None] * np.ones(len(lon))
    units = {"units": "umol m-2 s-1"}
    data = {"co2": (("lat", "lon"), flux, units), "twice": (("lat", "lon"), 2 * flux, units)}
    xr.Dataset(data, {"lat": lat, "lon": lon}).to_netcdf(path)


def scene_of(bench: Bench, variable: str = "co2", replace: bool = False, **winds: float) -> Scene:
    fluxes = {"uri": str(bench.store.root) + "/../fluxes.nc", "variable": variable}
    return bench.scene(
        replace=replace,
        receptors={"grid": None, "points": POINTS},
        transport={**SHORT, **WINDS, **winds},
        transport_error={"flux": fluxes},
    )


def jacobian(bench: Bench, scene: Scene) -> dict[str, np.ndarray]:
    with h5netcdf.File(Path(bench.store.root) / "jacobian" / f"{scene.id}.nc", "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def assemble(bench: Bench, scene: Scene, *jobs: str) -> np.ndarray:
    for job in (*jobs, "assemble"):
        done = bench.run(job, scene)
        assert done.success, failure(done)
    return jacobian(bench, scene)["transport_error"]


def errors_of(bench: Bench, scene: Scene) -> np.ndarray:
    """Return what a jacobian would hold of a scene that is simulated."""
    assert scene.transport_error is not None
    stored = StoredScene.load(bench.store, scene.id, TransportEngine().open().version)
    window = Window.of(scene.receptor_list, scene.transport.n_hours)
    source = scene.transport_error.flux
    field = open_flux(Path(source.uri), source, window.first, window.last)
    table = sample_transport_error(scene, stored.batches, stored.trajectories, field)
    return table["transport_error"].to_numpy()


def test_errors_follow_fluxes_and_winds_and_change_no_footprint(bench: Bench, tmp_path: Path) -> None:
    scene = scene_of(bench)
    for job in ("prepare", "simulate"):
        assert bench.run(job, scene).success
    assert "fluxes.nc do not exist: put them there, or correct transport_error" in failure(bench.run("assemble", scene))
    write_fluxes(tmp_path / "fluxes.nc")
    assert not list((Path(bench.store.root) / "jacobian").glob("*"))
    errors = assemble(bench, scene)
    assert errors.shape == (3,)
    assert (errors[:2] > 0).all()
    own = jacobian(bench, scene)
    shown = bench.metadata("jacobian", scene.id)
    assert shown["stilt/transport_error_median"] == pytest.approx(np.median(errors))
    hold_what_is_declared(Path(bench.store.root) / "jacobian" / f"{scene.id}.nc", "jacobian")
    assert own["transport_error_covered"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(errors_of(bench, scene_of(bench, "twice", replace=True)), 2 * errors, rtol=1e-12)

    more = scene_of(bench, replace=True, siguverr=4.0)
    assert bench.run("simulate", more).success
    assert (errors_of(bench, more)[:2] > errors[:2]).all()
    # The scene without errors has the same footprints.
    plain = bench.scene(replace=True, receptors={"grid": None, "points": POINTS}, transport=SHORT)
    for job in ("simulate", "assemble"):
        assert bench.run(job, plain).success
    made = jacobian(bench, plain)
    assert "transport_error" not in made
    for name in ("data", "indices", "indptr", "row_sum", "n_particles", "escaped_fraction"):
        np.testing.assert_array_equal(made[name], own[name])


def test_a_receptor_whose_error_run_fails_is_failed_and_tried_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fluxes(tmp_path / "fluxes.nc")
    scene = scene_of(bench)
    scene = scene.model_copy(update={"max_failed_fraction": 0.5})
    run, broken = Hysplit.run, scene.receptor_ids[0]

    def failing(self: Hysplit, receptor: Any, settings: Any, meteorology: Any) -> Any:
        if receptor.id == broken and settings.siguverr is not None:
            raise SimulationFailed(Reason.TIMEOUT, "hycs_std ran longer than 1 s", "the log")
        return run(self, receptor, settings, meteorology)

    monkeypatch.setattr(Hysplit, "run", failing)
    assert bench.run("prepare", scene).success
    assert "error run: hycs_std ran longer than 1 s" in failure(bench.run("simulate", scene))
    monkeypatch.setattr(Hysplit, "run", run)
    assert bench.run("simulate", scene).success
    assert (errors_of(bench, scene)[:2] > 0).all()
    stored = StoredScene.load(bench.store, scene.id, TransportEngine().open().version)
    assert export_scene(scene, stored.batches, stored.trajectories, stored.footprints, tmp_path / "out") == 3
    assert len(list((tmp_path / "out/particles").glob("*_error.parquet"))) == 3
    prepare_run(stored, broken, TransportEngine().open(tmp_path), tmp_path / "by_hand")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("WINDERR")] == ["by_hand/error_run/WINDERR"]
    folder = Path(bench.store.root) / "trajectories" / scene.id
    for part in folder.rglob("part-*.parquet"):  # receptors that were kept, too, have both runs
        own, perturbed = read_particles(part), read_particles(part, error=True)
        assert own["receptor"].unique().tolist() == perturbed["receptor"].unique().tolist()
