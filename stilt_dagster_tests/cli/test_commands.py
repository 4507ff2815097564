"""The command line: what it prints, its exit codes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stilt_dagster.operations.registration.inputs import require_inputs
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.loading import load_scene
from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"


def test_a_finished_scene_reports_itself(finished: Project) -> None:
    status = finished.status(SCENE)
    assert {k: status[k] for k in ("scene", "receptors", "ok", "empty", "failed", "pending", "failures")} == {
        "scene": SCENE, "receptors": 9, "ok": 9, "empty": 0, "failed": 0, "pending": 0, "failures": [],
    }  # fmt: skip
    assert {a["state"] for a in status["assets"].values()} == {"ready"}
    text = finished.cli("scene", "status", SCENE).stdout
    assert "9 receptors: 9 ok, 0 empty, 0 failed, 0 pending" in text
    assert "jacobian" in text


def test_a_second_run_has_nothing_to_do(finished: Project) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.store.rglob("*") if p.is_file()}
    done = finished.cli("scene", "run", SCENE)
    assert done.stderr.count("nothing to do") == 3
    assert {p: p.stat().st_mtime_ns for p in finished.store.rglob("*") if p.is_file()} == before


def test_scenes_are_added_listed_shown_and_replaced(project: Project) -> None:
    assert "no scenes yet" in project.cli("scene", "list").stderr
    path = project.scene_file()
    added = json.loads(project.cli("scene", "add", path, "--json").stdout)
    assert added == [{"scene": SCENE, "receptors": 9, "new": True}]
    assert "already registered" in project.cli("scene", "add", path).stdout
    shown = json.loads(project.cli("scene", "show", SCENE).stdout)
    assert (shown["transport"]["numpar"], shown["transport"]["krand"]) == (20, 2)
    other = project.scene_file("other.yaml", transport={"numpar": 30})
    message = project.error("scene", "add", other)
    assert "transport.numpar" in message
    assert "--replace" in message
    project.cli("scene", "add", "--replace", other)
    assert json.loads(project.cli("scene", "show", SCENE).stdout)["transport"]["numpar"] == 30
    assert json.loads(project.cli("scene", "list", "--json").stdout) == [SCENE]
    pending = project.status(SCENE)
    assert (pending["pending"], pending["assets"]["jacobian"]["state"]) == (9, "missing")


def test_nothing_is_registered_when_one_of_the_files_is_bad(project: Project) -> None:
    bad = project.scene_file("bad.yaml", transport={"numparr": 1})
    message = project.error("scene", "add", project.scene_file(), bad)
    assert "bad.yaml: transport.numparr: unknown name; did you mean numpar?" in message
    assert not project.store.exists()


def test_files_that_are_not_there_are_missed_at_registration(project: Project) -> None:
    """Of this machine: what a bucket holds, only a run will tell."""
    field = {"uri": "field.nc", "variable": "ch4"}
    message = project.error(
        "scene", "add", project.scene_file(), project.scene_file("b.yaml", id="b", background=field)
    )
    assert f"scene b: background.uri: there is no file {project.path / 'field.nc'}: put it there" in message
    assert not (project.store / "scenes").exists()

    def check(**spec: Any) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            require_inputs(instance, Store(str(project.store)), load_scene(project.scene_file("c.yaml", **spec)))

    errors = dict.fromkeys(("siguverr", "tluverr", "zcoruverr", "horcoruverr"), 1.0)
    with pytest.raises(SceneError, match=r"transport_error\.flux\.uri: there is no file /.*/field\.nc"):
        check(transport=errors, transport_error={"flux": field})
    with pytest.raises(SceneError, match="there is no file"):
        check(background={**field, "uri": f"file:///{'x' * 300}.nc"})
    check(background={**field, "uri": "gs://no-such-bucket/field.nc"})
    (project.path / "field.nc").touch()
    check(background=field)


def test_scenes_that_are_not_there_are_named(project: Project) -> None:
    for command in ("show", "status", "run"):
        assert "scene add" in project.error("scene", command, "ghost")
    assert "is not a scene id" in project.error("scene", "show", "../../etc/passwd")
    assert "cannot be read" in project.error("scene", "add", "none.yaml")


def test_a_run_that_cannot_succeed_says_why_in_one_line(project: Project) -> None:
    project.cli("scene", "add", project.scene_file(time="2023-07-15T07:20:00Z"))
    message = project.error("scene", "run", "valley-20230715t0720")
    assert "no meteorology at 2023-07-15 05:20 UTC" in message
    assert not list(project.store.rglob("*.arl"))
    assert not [p for p in (project.store / ".scratch").rglob("*") if p.is_file()]


def test_a_store_that_cannot_be_written_is_named(project: Project) -> None:
    (project.path / "file").touch()
    message = project.error("scene", "add", project.scene_file(), STILT_STORE=str(project.path / "file" / "store"))
    assert "STILT_STORE" in message
    assert "Not a directory" in message
    message = project.error("scene", "add", project.scene_file(), DAGSTER_HOME=str(project.path / "file" / "home"))
    assert "DAGSTER_HOME" in message
    message = project.error("scene", "list", STILT_STORE="nonsense://bucket")
    assert "nonsense" in message


def test_the_dagster_command_line_materializes_a_scene_of_real_meteorology(project: Project, hrrr: Path) -> None:
    """The assets of a scene on HRRR, with `dagster asset materialize`, shard ranges included."""
    project.meteorology = hrrr
    box = {"xmin": -112.4, "xmax": -111.4, "ymin": 40.4, "ymax": 41.1}
    project.cli("scene", "add", project.scene_file(time="2019-05-30T04:20:00Z", footprint=box))
    scene = "valley-20190530t0420"
    for select, where in (
        ("receptors,meteorology_aggregate", ("--partition", scene)),
        ("trajectories,footprints", ("--partition-range", f"{scene}|00...{scene}|15")),
        ("trajectories", ("--partition", f"{scene}|03")),
        ("jacobian,report", ("--partition", scene)),
    ):
        done = project.dagster("asset", "materialize", "-m", "stilt_dagster.definitions", "--select", select, *where)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "RUN_SUCCESS" in done.stderr
        assert done.stderr.count(" of 9 receptors") <= 6, "no terminal: progress is logged, in quarters of long work"
    status = project.status(scene)
    assert (status["ok"] + status["empty"], status["failed"], status["pending"]) == (9, 0, 0)
    assert {a["state"] for a in status["assets"].values()} == {"ready"}


def test_the_workspace_loads_as_dagster_loads_it(project: Project) -> None:
    done = project.dagster("definitions", "validate", "-w", "workspace.yaml")
    assert done.returncode == 0, done.stderr


def test_a_granule_that_cannot_be_written_is_said_in_one_line(project: Project) -> None:
    taken = project.path / "taken"
    taken.write_text("a file")
    assert "name a directory with room" in project.error("demo", "--granule", taken / "example")
    assert taken.read_text() == "a file"


@pytest.mark.slow
def test_the_demo_runs_whole_and_again_does_nothing(tmp_path: Path, meteorology: Path) -> None:
    project = Project(tmp_path, meteorology)
    summary = json.loads(project.cli("demo", "--json").stdout)
    assert (summary["receptors"], summary["ok"], summary["pending"]) == (36, 36, 0)
    assert summary["hycs_std_cpu_seconds"] > 0.5 * summary["cpu_seconds"]
    before = {p: p.stat().st_mtime_ns for p in project.store.rglob("*") if p.is_file()}
    again = project.cli("demo")
    assert again.stderr.count("nothing to do") == 3
    assert "jacobian:" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in project.store.rglob("*") if p.is_file()} == before
