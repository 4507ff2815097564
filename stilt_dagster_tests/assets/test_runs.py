"""Runs of a scene's assets: what is redone, what is kept, what fails and how it says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import h5netcdf
import numpy as np
import pytest

from stilt_dagster.definitions import build_defs
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.operations.status import scene_status
from stilt_dagster.partitions import scene_range
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster_tests.conftest import SCENE, deep_merge

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Bench:
    """A store, an instance that forgets, and the definitions on them."""

    def __init__(self, path: Path, meteorology: Path, instance: dg.DagsterInstance, url: str = "") -> None:
        url = url or str(path / "store")
        self.store = Store(url)
        self.instance = instance
        self.meteorology = meteorology
        self.defs = build_defs(
            {
                "store": StoreResource(url=url),
                "meteorology_archive": MeteorologyArchive(),
                "transport_engine": TransportEngine(workers=2),
            }
        )

    def scene(self, replace: bool = False, **changes: Any) -> Scene:
        data = deep_merge(SCENE, {"meteorology": {"directory": str(self.meteorology)}})
        scene = make_scene(deep_merge(data, changes), "test")
        register_scene(self.instance, self.store, scene, replace=replace)
        return scene

    def run(self, job: str, scene: Scene, config: dict | None = None, **options: Any) -> dg.ExecuteInProcessResult:
        where: dict[str, Any] = {"partition_key": scene.id}
        if job == "simulate":
            where = {"tags": scene_range(scene.id)}
        if "partition_key" in options:
            where = {}
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config={**QUIET, **(config or {})}, raise_on_error=False, **where, **options
        )

    def run_all(self, scene: Scene) -> None:
        for job in ("prepare", "simulate", "assemble"):
            assert self.run(job, scene).success, job

    def metadata(self, asset: str, partition: str) -> dict[str, Any]:
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
        ).records
        return {k: v.value for k, v in records[0].asset_materialization.metadata.items()}

    def mtimes(self, kind: str, scene: Scene) -> dict[str, int]:
        folder = Path(self.store.root) / kind / scene.id
        return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("part-*")}


@pytest.fixture
def bench(tmp_path: Path, meteorology: Path) -> Iterator[Bench]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield Bench(tmp_path, meteorology, instance)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [e for e in result.all_events if e.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    return data.user_failure_data.description or ""


def test_a_scene_runs_and_a_second_run_redoes_nothing(bench: Bench) -> None:
    scene = bench.scene()
    bench.run_all(scene)
    before = {kind: bench.mtimes(kind, scene) for kind in ("trajectories", "footprints")}
    assert bench.run("simulate", scene).success
    assert {kind: bench.mtimes(kind, scene) for kind in before} == before
    shown = bench.metadata("trajectories", f"{scene.id}|15")
    assert tuple(shown[f"stilt/receptors{k}"] for k in ("", "_ok", "_made", "_kept")) == (9, 9, 0, 9)
    assert "data:image/png;base64," in shown["stilt/picture"]
    assert "stilt/picture" not in bench.metadata("trajectories", f"{scene.id}|00")  # large: once a run
    assert "data:image/png;base64," in bench.metadata("footprints", f"{scene.id}|15")["stilt/picture"]
    assert "data:image/png;base64," in bench.metadata("jacobian", scene.id)["stilt/picture"]
    assert "data:image/png;base64," in bench.metadata("receptors", scene.id)["stilt/picture"]
    assert scene_status(StoredScene.load(bench.store, scene.id, TransportEngine().open().version)).is_ready


def test_rerun_all_redoes_everything_to_the_same_result(bench: Bench) -> None:
    scene = bench.scene()
    bench.run_all(scene)
    path = Path(bench.store.root) / "jacobian" / f"{scene.id}.nc"
    before, times = arrays(path), bench.mtimes("trajectories", scene)
    config = {"ops": {a: {"config": {"rerun": "all"}} for a in ("trajectories", "footprints")}}
    assert bench.run("simulate", scene, config).success
    assert bench.metadata("trajectories", f"{scene.id}|00")["stilt/receptors_made"] == 9
    assert all(t != times[k] for k, t in bench.mtimes("trajectories", scene).items())
    assert bench.run("assemble", scene).success
    assert all(np.array_equal(before[k], v) for k, v in arrays(path).items())


def arrays(path: Path) -> dict[str, np.ndarray]:
    with h5netcdf.File(path, "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def test_one_shard_is_a_run_of_its_own(bench: Bench) -> None:
    scene = bench.scene()
    assert bench.run("prepare", scene).success
    shard = scene.receptor_list[0].shard
    assert bench.run("simulate", scene, partition_key=dg.MultiPartitionKey({"scene": scene.id, "shard": shard})).success
    status = scene_status(StoredScene.load(bench.store, scene.id, TransportEngine().open().version))
    members = sum(r.shard == shard for r in scene.receptor_list)
    assert (status.outcomes["ok"], status.outcomes["pending"]) == (members, 9 - members)
    assert "footprints of shard" in failure(bench.run("assemble", scene))


def test_another_grid_runs_no_transport(bench: Bench) -> None:
    bench.run_all(bench.scene())
    scene = bench.scene(replace=True, footprint={"xres": 0.05})
    assert bench.run("prepare", scene).success
    times = bench.mtimes("trajectories", scene)
    assert bench.run("simulate", scene).success
    assert bench.mtimes("trajectories", scene) == times
    assert bench.metadata("footprints", f"{scene.id}|00")["stilt/receptors_made"] == 9


def test_other_receptors_leave_no_stale_parts(bench: Bench) -> None:
    bench.run_all(bench.scene())
    fewer = bench.scene(replace=True, receptors={"grid": {"xmax": -112.1}})
    assert "earlier spec" in failure(bench.run("simulate", fewer))
    bench.run_all(fewer)
    status = scene_status(StoredScene.load(bench.store, fewer.id, TransportEngine().open().version))
    assert (status.receptors, status.outcomes["ok"]) == (3, 3)
    assert len(bench.mtimes("trajectories", fewer)) == len({r.shard for r in fewer.receptor_list})


def test_failed_receptors_keep_their_rows_and_are_tried_again(bench: Bench) -> None:
    points = [{"longitude": -112.0, "latitude": 40.4 + k / 50} for k in range(4)] + [
        {"longitude": -90.0, "latitude": 40.0}
    ]
    scene = bench.scene(receptors={"grid": None, "points": points}, max_failed_fraction=0.3)
    bench.run_all(scene)
    version = TransportEngine().open().version
    status = scene_status(StoredScene.load(bench.store, scene.id, version))
    assert (status.outcomes["ok"], status.outcomes["failed"], status.outcomes["pending"]) == (4, 1, 0)
    assert [(o.receptor, o.reason) for o in status.failures] == [("202307150920_-90_40_1", "MET_COVERAGE")]
    rows = arrays(Path(bench.store.root) / "jacobian" / f"{scene.id}.nc")
    assert rows["status"].tolist() == [0, 0, 0, 0, 2]
    assert np.diff(rows["indptr"])[-1] == 0
    shown = bench.metadata("trajectories", f"{scene.id}|00")
    assert (shown["stilt/receptors_ok"], shown["stilt/receptors_failed"]) == (4, 1)
    assert "MET_COVERAGE" in shown["stilt/failures"]
    checks = bench.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("trajectories"), "every_receptor_is_simulated"), limit=1
    )
    assert not checks[0].event.dagster_event.event_specific_data.passed
    assert bench.run("simulate", scene).success  # only the failed one is tried again
    shown = bench.metadata("trajectories", f"{scene.id}|00")
    assert (shown["stilt/receptors_made"], shown["stilt/receptors_kept"]) == (1, 4)


def test_too_many_failures_fail_the_run_and_keep_what_succeeded(bench: Bench) -> None:
    scene = bench.scene(transport={"timeout": 0.02, "numpar": 500})
    assert bench.run("prepare", scene).success
    message = failure(bench.run("simulate", scene))
    assert "receptors failed" in message
    assert "TIMEOUT" in message
    assert "max_failed_fraction 0.02" in message
    patient = bench.scene(replace=True, transport={"timeout": 60.0, "numpar": 20})
    bench.run_all(patient)


def test_a_receptor_that_feels_nothing_is_empty_not_failed(bench: Bench) -> None:
    far = {"xmin": -111.0, "xmax": -110.6}  # downwind
    scene = bench.scene(footprint=far)
    bench.run_all(scene)
    status = scene_status(StoredScene.load(bench.store, scene.id, TransportEngine().open().version))
    assert (status.outcomes["empty"], status.outcomes["ok"]) == (9, 0)
    rows = arrays(Path(bench.store.root) / "jacobian" / f"{scene.id}.nc")
    assert rows["status"].tolist() == [1] * 9
    assert rows["indptr"].tolist() == [0] * 10
    assert rows["outside_fraction"].tolist() == [1.0] * 9


def test_what_is_missing_upstream_is_named(bench: Bench) -> None:
    scene = bench.scene()
    message = failure(bench.run("simulate", scene))
    assert f"of scene {scene.id} is not in the store: materialize" in message
    assert "meteorology_aggregate of scene" in failure(bench.run("assemble", scene))
    ghost = "not-registered"
    bench.instance.add_dynamic_partitions("scenes", [ghost])
    result = bench.defs.resolve_job_def("prepare").execute_in_process(
        instance=bench.instance, run_config=QUIET, raise_on_error=False, partition_key=ghost
    )
    assert "scene not-registered has no spec" in failure(result)


def test_registering_is_idempotent_and_another_spec_is_refused(bench: Bench) -> None:
    scene = bench.scene()
    assert not register_scene(bench.instance, bench.store, scene)
    other = scene.model_copy(update={"max_failed_fraction": 0.5})
    with pytest.raises(SceneError, match="max_failed_fraction"):
        register_scene(bench.instance, bench.store, other)
    bench.instance.delete_dynamic_partition("scenes", scene.id)  # as if killed between spec and partition
    assert register_scene(bench.instance, bench.store, scene)
    assert bench.instance.has_dynamic_partition("scenes", scene.id)


def test_scenes_are_registered_from_the_ui_too(bench: Bench) -> None:
    import yaml

    text = yaml.safe_dump(deep_merge(SCENE, {"meteorology": {"directory": str(bench.meteorology)}}))
    job = bench.defs.resolve_job_def("register_scenes")
    config = {"ops": {"register": {"config": {"yaml": text}}}, **QUIET}
    assert (
        job.execute_in_process(instance=bench.instance, run_config=config).output_for_node("register")
        == "valley-20230715t0920"
    )
    assert bench.store.scenes() == ["valley-20230715t0920"]
    config["ops"]["register"]["config"]["yaml"] = "name: [x"
    result = job.execute_in_process(instance=bench.instance, run_config=config, raise_on_error=False)
    assert "not valid YAML" in failure(result)


def test_damaged_parts_are_made_anew(bench: Bench) -> None:
    scene = bench.scene()
    bench.run_all(scene)
    path = Path(bench.store.root) / "jacobian" / f"{scene.id}.nc"
    before = arrays(path)
    folder = Path(bench.store.root)
    for kind, ending in (("trajectories", "parquet"), ("footprints", "nc")):
        part = sorted((folder / kind / scene.id).rglob(f"*.{ending}"))[0]
        part.write_bytes(part.read_bytes()[:1000])
    assert bench.run("simulate", scene).success
    assert 0 < bench.metadata("trajectories", f"{scene.id}|00")["stilt/receptors_made"] < 9
    assert bench.run("assemble", scene).success
    assert all(np.array_equal(before[k], v) for k, v in arrays(path).items())


def test_a_part_damaged_inside_is_removed_and_made_anew(bench: Bench) -> None:
    scene = bench.scene()
    bench.run_all(scene)
    path = Path(bench.store.root) / "jacobian" / f"{scene.id}.nc"
    before = arrays(path)
    folder = Path(bench.store.root)
    part = sorted((folder / "trajectories" / scene.id).rglob("*.parquet"))[0]
    data = bytearray(part.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for k in range(100, len(data) - footer, 500):
        data[k] ^= 0xFF
    part.write_bytes(bytes(data))
    shutil.rmtree(folder / "footprints" / scene.id)
    failed = bench.run("simulate", scene)
    assert not failed.success
    assert not part.exists()
    [event] = failed.get_step_failure_events()
    assert "were damaged on disk and are removed: materialize trajectories again" in event.message + str(
        event.step_failure_data
    )
    assert bench.run("simulate", scene).success
    assert bench.run("assemble", scene).success
    assert all(np.array_equal(before[k], v) for k, v in arrays(path).items())


def test_an_object_store_holds_what_a_directory_does(tmp_path: Path, meteorology: Path) -> None:
    """The same scene on an object store of this process: the same layout, the same jacobian, and nothing redone."""
    found = []
    for url in (str(tmp_path / "store"), "memory://stilt"):
        with dg.instance_for_test() as instance:
            bench = Bench(tmp_path, meteorology, instance, url)
            scene = bench.scene()
            bench.run_all(scene)
            assert bench.run("simulate", scene).success
            assert bench.metadata("trajectories", f"{scene.id}|00")["stilt/receptors_kept"] == 9
            assert scene_status(StoredScene.load(bench.store, scene.id, TransportEngine().open().version)).is_ready
            path = bench.store.folder("jacobian").get(f"{scene.id}.nc")
            assert path is not None
            found.append(arrays(path))
    assert all(np.array_equal(found[0][k], v) for k, v in found[1].items())


def test_a_jacobian_that_is_as_it_should_be_is_taken_over(bench: Bench) -> None:
    scene = bench.scene()
    bench.run_all(scene)
    path = Path(bench.store.root) / "jacobian" / f"{scene.id}.nc"
    made, written = bench.metadata("jacobian", scene.id), path.stat().st_mtime_ns
    keep = {"ops": {"jacobian": {"config": {"keep": True}}}}
    only = {"asset_selection": [dg.AssetKey("jacobian")]}
    assert bench.run("assemble", scene, keep, **only).success
    kept = bench.metadata("jacobian", scene.id)
    assert path.stat().st_mtime_ns == written
    assert kept.keys() == made.keys()
    same = ["stilt/receptors_ok", "stilt/entries", "stilt/bytes", "stilt/picture", "dagster/uri", "dagster/row_count"]
    assert [kept[name] for name in same] == [made[name] for name in same]
    # What is there was made of other footprints: it is made anew, whatever is wished.
    other = bench.scene(replace=True, footprint={"xres": 0.04})
    assert bench.run("simulate", other).success
    assert bench.run("assemble", other, keep, **only).success
    assert path.stat().st_mtime_ns != written
    assert bench.metadata("jacobian", scene.id)["stilt/cells"] != made["stilt/cells"]
