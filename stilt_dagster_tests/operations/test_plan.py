"""What a scene will take and has taken, as a person asks for it, and the doors that a budget closes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from stilt_dagster.definitions import build_defs
from stilt_dagster.operations import calibrations
from stilt_dagster.operations.ingest.sources import load_sources
from stilt_dagster.operations.plan import concurrency_of, plan_scene, plan_stored, record_actual
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.costs.budget import Budget, BudgetError, require_within
from stilt_dagster.science.costs.plan import Concurrency, Plan
from stilt_dagster.science.errors import RetrievalError
from stilt_dagster.science.pystilt import engine_version, find_hycs_std
from stilt_dagster.science.scenes.loading import load_scene
from stilt_dagster.science.transport.effort import Effort
from stilt_dagster_tests.conftest import ROOT, Project
from stilt_dagster_tests.operations.test_ingest import AREA, ID, Place
from stilt_dagster_tests.science.costs.test_costs import TABLE
from stilt_dagster_tests.science.scenes.test_spec import scene

SCENE = "valley-20230715t0920"

KEYS = {"receptors", "particle_hours", "cpu_hours", "pods", "wall_hours", "bytes", "cost"}


def test_a_file_is_planned_before_it_is_registered(project: Project) -> None:
    path = project.scene_file()
    plan = json.loads(project.cli("scene", "plan", path, "--json", "--workers", 4).stdout)
    assert set(plan) == {"scene", "calibrated", *KEYS}
    assert (plan["scene"], plan["receptors"], plan["particle_hours"], plan["pods"]) == (SCENE, 9, 360, 1)
    assert set(plan["bytes"]) == {"meteorology_read", "trajectories", "footprints", "jacobian"}
    assert all(value > 0 for value in plan["bytes"].values())
    assert set(plan["cost"]) == {"amount", "currency", "prices_of"}
    assert not project.store.exists()
    assert "CPU" in project.cli("scene", "plan", path).stdout


def test_a_precision_is_planned_at_least_and_at_most(tmp_path: Path) -> None:
    def planned(**transport: object) -> Plan:
        return plan_scene(Store(str(tmp_path)), scene(transport=transport), Concurrency(4))

    plan = planned(numpar=20, precision=0.1, max_numpar=410)
    assert plan.planned == planned(numpar=20).planned
    assert plan.at_most == planned(numpar=400).planned
    assert plan.to_dict()["at_most"]["particle_hours"] == 20 * plan.planned.particle_hours
    both = Plan.total("both", [plan, planned(numpar=20)], Concurrency(4))
    assert both.limit.particle_hours == 21 * plan.planned.particle_hours
    budget = Budget(cpu_hours=2 * (plan.planned.cpu_hours or 0.0))
    require_within(planned(numpar=20), budget, "it")
    with pytest.raises(BudgetError, match="numpar, max_numpar"):
        require_within(plan, budget, "it")


def test_what_cannot_be_planned_is_one_line(project: Project) -> None:
    assert "scene nothing" in project.error("scene", "plan", "nothing")
    assert "none.yaml" in project.error("scene", "plan", "none.yaml")
    assert "scene id" in project.error("scene", "plan", "Up")


def test_what_a_scene_took_stands_beside_its_plan(finished: Project) -> None:
    """CPU on a busy machine is noisy; bytes are not."""
    plan = json.loads(finished.cli("scene", "plan", SCENE, "--json").stdout)
    actual = plan["actual"]
    assert set(actual) == KEYS
    assert plan["calibrated"]
    assert actual["receptors"] == 9
    assert actual["wall_hours"] > 0
    assert plan["cpu_hours"] > 0
    assert actual["cpu_hours"] > 0
    for name, made in actual["bytes"].items():
        assert plan["bytes"][name] == pytest.approx(made, rel=0.25), name
    files = finished.store / "footprints" / SCENE
    assert actual["bytes"]["footprints"] == sum(p.stat().st_size for p in files.rglob("part-*.nc"))
    assert finished.status(SCENE)["plan"] == plan
    assert "actual" in finished.cli("scene", "plan", SCENE).stdout


def test_metadata_has_the_plan_and_what_was_taken(finished: Project) -> None:
    with dg.DagsterInstance.from_config(str(finished.path / "home")) as instance:
        for asset, kind in (("receptors", "plan"), ("jacobian", "actual")):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            assert event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            for name in ("cpu_hours", "cost", "bytes_trajectories", "bytes_footprints", "wall_hours"):
                assert isinstance(metadata[f"{kind}/{name}"].value, float | int), name
            assert metadata[f"{kind}/receptors"].value == 9


def test_a_store_of_before_tells_bytes_and_no_cpu(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Effort, "from_dict", classmethod(lambda cls, data: None))
    opened = StoredScene.load(Store(str(finished.store)), SCENE, engine_version(find_hycs_std()))
    plan = plan_stored(opened, concurrency_of(workers=2))
    assert plan.actual is not None
    assert plan.actual.bytes.trajectories
    assert (plan.actual.cpu_hours, plan.actual.wall_hours, plan.calibrated) == (None, None, "")


def contents(directory: Path) -> dict[str, int]:
    return {str(p.relative_to(directory)): p.stat().st_mtime_ns for p in directory.rglob("*") if p.is_file()}


def test_what_exceeds_its_budget_is_not_registered(project: Project) -> None:
    path = project.scene_file(budget={"bytes": "10 kB", "cpu_hours": 5})
    done = project.cli("scene", "plan", path, "--json", code=2)
    assert json.loads(done.stdout)["bytes"]["trajectories"] > 10_000  # the plan is seen, then the refusal
    assert done.stderr.startswith(f"error: scene {SCENE} exceeds its budget")
    line = project.error("scene", "add", path)
    assert "of at most 10.0KB (bytes): raise the budget" in line
    assert not project.store.exists()
    with dg.DagsterInstance.from_config(str(project.path / "home")) as instance:
        assert not instance.has_dynamic_partition("scenes", SCENE)


def test_prices_that_cannot_be_used_hide_no_status(project: Project) -> None:
    project.cli("scene", "add", project.scene_file())
    (project.store / "prices.yaml").write_text("currency: 3")
    assert "prices.yaml: currency" in project.error("scene", "plan", SCENE)
    status = project.status(SCENE)
    assert (status["plan"], status["pending"]) == (None, 9)
    assert "prices.yaml: currency" in status["warnings"][0]


def test_a_large_scene_spreads_over_pods(tmp_path: Path) -> None:
    grid = {"xmin": -112.1, "xmax": -111.6, "xres": 0.005, "ymin": 40.4, "ymax": 40.9, "yres": 0.005}
    spec = scene(receptors={"grid": grid}, transport={"n_hours": -24, "numpar": 1000})
    store = Store(str(tmp_path))
    here, pods, capped = (
        plan_scene(store, spec, c).planned
        for c in (Concurrency(2), Concurrency(0, in_pods=True), Concurrency(64, in_pods=True))
    )
    assert here.receptors == 101 * 101
    assert (here.pods, pods.pods, capped.pods) == (1, 16, 16)
    assert here.cpu_hours == pods.cpu_hours
    assert here.wall_hours is not None
    assert pods.wall_hours is not None
    assert capped.wall_hours is not None
    assert here.wall_hours > 10 * capped.wall_hours > 20 * pods.wall_hours


def test_prices_that_rise_close_every_door(project: Project) -> None:
    """Of a scene that was registered while it kept to its budget: nothing of it is begun."""
    project.cli("scene", "add", project.scene_file(budget={"cost": 5}))
    (project.store / "prices.yaml").write_text(TABLE.replace("core_hour: 1\n", "core_hour: 1000000\n", 1))
    before = contents(project.store)
    done = project.cli("scene", "plan", SCENE, code=2)
    assert "EUR, prices of 2026-01-31" in done.stdout
    for command in ("run", "work"):
        line = project.error("scene", command, SCENE)
        assert line.startswith(f"error: scene {SCENE} exceeds its budget")
        assert "EUR of at most 5 (cost)" in line
    defs = build_defs({"store": StoreResource(url=str(project.store))})
    with dg.DagsterInstance.from_config(str(project.path / "home")) as instance:
        result = defs.resolve_job_def("prepare").execute_in_process(
            instance=instance,
            partition_key=SCENE,
            asset_selection=[dg.AssetKey("receptors")],
            raise_on_error=False,
        )
        assert not result.success
        assert not instance.get_materialized_partitions(dg.AssetKey("receptors"))
    assert contents(project.store) == before


def test_a_source_refuses_what_exceeds_its_budget_and_goes_on(tmp_path: Path) -> None:
    """The granule is told of once, and looked at again when the budget is another."""
    wide = {"xmin": -113.0, "xmax": -111.0, "ymin": 40.0, "ymax": 41.0}
    place = Place(tmp_path, budget={"bytes": "1 kB"}, areas={"slc": AREA, "wide": wide})
    place.land()
    found = place.scan()
    assert [name for name, _ in found.failed] == [p.name for p in place.granules.iterdir()] * 2
    assert all("exceeds its budget" in reason and "(bytes)" in reason for _, reason in found.failed)
    assert place.scenes == []
    assert not place.scan().failed
    text = place.store.folder("sources").read("tropomi.yaml")
    assert text is not None
    place.store.folder("sources").write("tropomi.yaml", text.replace("1 kB", "1 GB"))
    assert len(place.scan().new) == 2
    assert ID in place.scenes
    budget = place.store.scene(ID).budget
    assert budget is not None
    assert budget.bytes == 10**9


def test_a_budget_given_twice_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path, budget={"cost": 1})
    text = place.store.folder("sources").read("tropomi.yaml")
    assert text is not None
    spec = yaml.safe_load(text)
    spec["scene"]["budget"] = {"cost": 2}
    [source] = load_sources(_with(place, yaml.safe_dump(spec)))
    assert isinstance(source, RetrievalError)
    assert "remove one of them" in str(source)


def _with(place: Place, text: str) -> Store:
    place.store.folder("sources").write("tropomi.yaml", text)
    return place.store


def test_a_store_that_takes_no_calibration_loses_no_scene(
    finished: Project, project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a bucket does whose rights do not reach there."""
    shutil.copytree(finished.store, project.store, dirs_exist_ok=True)
    (project.store / "costs").write_text("no folder")
    monkeypatch.setattr(calibrations, "_LEAST_CPU", 0.0)
    scene = StoredScene.load(Store(str(project.store)), SCENE, engine_version(find_hycs_std()))
    assert record_actual(scene, Concurrency(2), 1000).receptors == 9
    assert "calibrates no other plan" in caplog.text


def test_other_scenes_of_a_store_calibrate_the_cpu(project: Project) -> None:
    store, spec = Store(str(project.store)), load_scene(project.scene_file())
    plain = plan_scene(store, spec, Concurrency(2))
    kept = {"cpu": 3.0, "scene": "other", "engine": "e", "machine": "a machine"}
    folder = store.folder("costs")
    folder.write("calibration.json", json.dumps({"a machine": kept}))
    scaled = plan_scene(store, spec, Concurrency(2))
    assert plain.planned.cpu_hours
    assert scaled.planned.cpu_hours == pytest.approx(3 * plain.planned.cpu_hours, rel=0.01)
    assert scaled.planned.bytes == plain.planned.bytes
    assert scaled.calibrated == "CPU of scene other on a machine"
    for damaged in ("{", "[]", '{"a": {"cpu": "much"}}', json.dumps({"m": {**kept, "cpu": 1e9}})):
        folder.write("calibration.json", damaged)
        assert plan_scene(store, spec, Concurrency(2)) == plain


@pytest.mark.parametrize(("environment", "cores"), [({"STILT_MAX_CORES": "50"}, 50), ({}, 0)])
def test_a_cluster_is_told_by_its_configuration_where_kubernetes_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], cores: int
) -> None:
    """As in run pods, which have no credentials, and on the machine of whoever registers a scene."""
    instance = yaml.safe_load((ROOT / "deploy/chart/dagster.yaml").read_text())
    kept = {name: instance[name] for name in ("run_launcher", "run_coordinator")}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(kept))
    monkeypatch.delenv("STILT_MAX_CORES", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert concurrency_of(instance) == Concurrency(cores, in_pods=True)
