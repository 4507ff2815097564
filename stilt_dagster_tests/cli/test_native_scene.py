"""A scene of the native engine: it is held against hycs_std while it runs, once, and all that is made of it says how.

The engine is a stand-in whose answers are known, hycs_std with a seed of its own.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import h5netcdf
import pytest

from stilt_dagster.science.footprints.engine_check import EngineCheck
from stilt_dagster.science.footprints.row_error import row_estimator
from stilt_dagster.science.scenes.engines.native import NATIVE_VERSION
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.transport.ensembles import engine_for, simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particle_files import ParticleFile
from stilt_dagster_tests.assets.test_runs import Bench
from stilt_dagster_tests.conftest import ROOT, SCENE, Project, deep_merge

VALLEY = "valley-20230715t0920"
NATIVE: dict[str, Any] = {"transport": {"engine": "native", "experimental": True, "n_hours": -1}}
STAND_IN = ROOT / "stilt_dagster_tests/harness/stand_in_engine"
MODULE = "stilt_dagster.science.transport.native.engine"


def with_stand_in(project: Project) -> Project:
    project.env["PYTHONPATH"] = os.pathsep.join([str(STAND_IN), os.environ.get("PYTHONPATH", "")])
    return project


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in in the engine's place in this process."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setitem(sys.modules, MODULE, importlib.import_module("native_engine"))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> Project:
    """A project whose native scene has run; tests only read it."""
    project = with_stand_in(Project(tmp_path_factory.mktemp("native"), meteorology))
    project.cli("scene", "add", project.scene_file(**NATIVE))
    project.cli("scene", "run", VALLEY)
    return project


def checks(project: Project) -> dict[str, Any]:
    """Return how each receptor compares that was checked, by id, from the part files."""
    found = {}
    for path in project.store.glob("trajectories/*/*/part-*.parquet"):
        part = ParticleFile(path)
        assert part.engine == NATIVE_VERSION
        found |= {o.receptor: o.check for o in part.outcomes if o.check is not None}
        part.close()
    return found


def test_three_receptors_run_through_both_and_every_product_says_how_they_compare(native: Project) -> None:
    status = native.status(VALLEY)
    assert {a["state"] for a in status["assets"].values()} == {"ready"}
    found = status["engine_check"]
    assert (found["verdict"], found["compared"], found["not_compared"]) == ("agrees", 3, 0)
    assert found["reference"].startswith("hycs_std-")
    assert len(checks(native)) == 3
    for check in checks(native).values():
        engine, first, second = check.row_sums
        assert len({engine, first, second}) == 3, "three seeds"
        assert abs(engine / first - 1) < 0.8
    with h5netcdf.File(native.store / "jacobian" / f"{VALLEY}.nc") as file:
        attributes = dict(file.attrs)
    assert attributes["transport_engine"] == NATIVE_VERSION
    assert attributes["source"].startswith("STILT, native engine")
    assert (attributes["engine_verdict"], attributes["engine_compared"]) == ("agrees", 3)
    for name in ("bias", "bias_error", "spread", "reference_spread", "distance_ratio", "distance_ratio_error"):
        assert attributes[f"engine_{name}"] == found[name]
    page = (native.store / "report" / f"{VALLEY}.html").read_text()
    assert "agrees, 3 receptors compared" in page
    said = native.cli("scene", "status", VALLEY).stdout
    assert "native engine held against hycs_std: agrees, 3 receptors compared" in said
    one = next(iter(checks(native)))
    assert "held against hycs_std: row sum" in native.cli("scene", "log", VALLEY, one).stdout
    again = native.cli("scene", "run", VALLEY).stderr
    assert again.count("nothing to do") == 3


def test_a_killed_scene_keeps_its_checks_and_makes_each_once(project: Project, native: Project) -> None:
    with_stand_in(project)
    project.cli("scene", "add", project.scene_file(**NATIVE))
    project.cli("scene", "run", VALLEY, "--assets", "receptors,meteorology_aggregate")
    work = subprocess.Popen(
        project.command("scene", "work", VALLEY, "--workers", "1"), env=project.env, cwd=project.path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = project.store / "trajectories"
    while work.poll() is None and len(list(folder.glob("*/*/part-*.parquet"))) < 3:
        time.sleep(0.02)
    work.kill()
    work.wait()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/part-*.parquet")}
    assert kept
    project.cli("scene", "work", VALLEY, "--assets", "trajectories,footprints,jacobian")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert checks(project) == checks(native), "as if nothing had happened"
    assert project.status(VALLEY)["engine_check"] == native.status(VALLEY)["engine_check"]


def test_more_receptors_are_checked_later_and_nothing_else_is_made_again(project: Project, native: Project) -> None:
    with_stand_in(project)
    shutil.copytree(native.store, project.store)
    before = checks(project)
    footprints = {path: path.stat().st_mtime_ns for path in project.store.glob("footprints/*/*/part-*.nc")}
    more = deep_merge(NATIVE, {"transport": {"engine_check": 0.5}})
    project.cli("scene", "add", project.scene_file(**more), "--replace")
    status = project.status(VALLEY)
    assert status["assets"]["trajectories"]["state"] == "partial"
    project.cli("scene", "work", VALLEY, "--assets", "trajectories,footprints,jacobian")
    found = checks(project)
    assert len(found) == 5
    assert {receptor: found[receptor] for receptor in before} == before
    assert {path: path.stat().st_mtime_ns for path in footprints} == footprints, "of the same particles"
    assert project.status(VALLEY)["engine_check"]["compared"] == 5
    with h5netcdf.File(project.store / "jacobian" / f"{VALLEY}.nc") as file:
        assert file.attrs["engine_compared"] == 5


def test_what_it_does_not_know_is_refused_when_a_scene_is_added(project: Project) -> None:
    file = project.scene_file(**deep_merge(NATIVE, {"transport": {"capemin": -2}}))
    said = project.error("scene", "add", file)
    assert "transport: engine native does not know capemin -2.0 (it knows -1.0): engine: hysplit has it" in said
    assert not (project.store / "scenes").exists()
    said = project.error("scene", "add", project.scene_file(transport={"engine": "native"}))
    assert "docs/explanation/native-engine.md" in said


def test_the_asset_check_warns_of_an_engine_nobody_checked_and_fails_of_one_that_is_wrong_by_a_tenth(
    tmp_path: Path, meteorology: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FACTOR", "1.1")

    def verdict(share: float) -> Any:
        settings = deep_merge(NATIVE, {"transport": {"engine_check": share, "numpar": 100}})
        scene = bench.scene(replace=True, **settings)
        for job in ("prepare", "simulate"):
            assert bench.run(job, scene).success
        key = dg.AssetCheckKey(dg.AssetKey("trajectories"), "engine_agrees")
        (last,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        return last.event.dagster_event.event_specific_data

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        bench = Bench(tmp_path, meteorology, instance)
        found = verdict(0)
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "was not held against hycs_std" in found.description
        assert "engine_check is 0" in found.description
        found = verdict(1)
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert "its row sums are +" in found.description
        assert found.metadata["receptors compared"].value == 9


def test_the_first_ensemble_of_a_precise_receptor_is_compared(meteorology: Path, stand_in: None) -> None:
    data = deep_merge(deep_merge(SCENE, {"meteorology": {"directory": str(meteorology)}}), NATIVE)
    plain = make_scene(data, "test")
    precise = make_scene(deep_merge(data, {"transport": {"precision": 0.001, "max_numpar": 60}}), "test")
    receptor, met = plain.receptor_list[0], sorted(meteorology.iterdir())[0]
    found = []
    for scene in (plain, precise):
        engine = engine_for(scene.transport, Hysplit())
        outcome, table = simulate(receptor, scene.transport, met, engine, row_estimator(scene))
        assert table is not None
        assert outcome.n_particles == (20 if scene is plain else 60)
        found.append(EngineCheck(scene, Hysplit()).compare(receptor, table, met))
    assert found[0] == found[1]


def test_where_hycs_std_is_not_the_reason_is_kept(
    tmp_path: Path, stand_in: None, native: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = deep_merge(deep_merge(SCENE, {"meteorology": {"directory": str(native.meteorology)}}), NATIVE)
    scene = make_scene(data, "test")
    path = next(native.store.glob("trajectories/*/*/part-*.parquet"))
    part = ParticleFile(path)
    receptor, table = next(part.tables())
    found = EngineCheck(scene, Hysplit(tmp_path)).compare(
        next(r for r in scene.receptor_list if r.id == receptor), table, native.meteorology
    )
    part.close()
    assert found.row_sums == ()
    assert f"no executable hycs_std in {tmp_path}" in found.reason
