"""What else the command line does to scenes: parts of a run, array jobs, logs, deletion, and the machine's state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import dagster as dg
import h5netcdf
import numpy as np
import pytest

from stilt_dagster.operations.doctor import file_system
from stilt_dagster.operations.registration.registered import registered_scenes
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.web import WebServer

SCENE = "valley-20230715t0920"

#: Two receptors that can be simulated, and one that lies outside the meteorology.
ONE_FAILS = {
    "receptors": {
        "grid": None,
        "points": [
            {"longitude": -112.0, "latitude": 40.4, "height": 5},
            {"longitude": -112.0, "latitude": 40.5, "height": 5},
            {"longitude": -90.0, "latitude": 40.0, "height": 5},
        ],
    },
    "max_failed_fraction": 0.5,
}
OUTSIDE = "202307150920_-90_40_5"


def instance_of(project: Project) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(project.path / "home"))


def materialized(project: Project, asset: str) -> set[str]:
    with instance_of(project) as instance:
        return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


def arrays(path: Path) -> dict[str, np.ndarray]:
    with h5netcdf.File(path, "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def test_version_is_printed(project: Project) -> None:
    from stilt_dagster import __version__

    assert project.cli("--version").stdout.strip() == __version__


def test_some_assets_and_shards_can_be_run(project: Project) -> None:
    project.cli("scene", "add", project.scene_file())
    project.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    assets = project.status(SCENE)["assets"]
    assert [assets[a]["state"] for a in ("meteorology_aggregate", "trajectories", "jacobian")] == [
        "ready",
        "missing",
        "missing",
    ]
    project.cli("scene", "run", SCENE, "--assets", "trajectories,footprints", "--shards", "00-07", "--workers", "1")
    folders = {p.name for p in (project.store / "footprints" / SCENE).iterdir()}
    assert folders
    assert max(folders) <= "07"
    assert "must be one of 00 to 15" in project.error("scene", "run", SCENE, "--shards", "03-21")
    assert "unknown asset 'maps'" in project.error("scene", "run", SCENE, "--assets", "maps")


def test_array_jobs_do_the_science_and_a_run_records_it(project: Project, finished: Project) -> None:
    project.cli("scene", "add", project.scene_file())
    refused = project.error("scene", "work", SCENE, "--shards", "00-03")
    assert "meteorology_aggregate of scene" in refused
    project.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    home = project.path / "home"
    before = {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()}
    done = [
        json.loads(project.cli("scene", "work", SCENE, "--shards", part, "--json", DAGSTER_HOME="/nowhere").stdout)
        for part in ("00-07", "08-15", "00-03")
    ]
    assert sum(d["ok"] for d in done[:2]) == 9
    assert {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()} == before, "no database is written"
    made = {p: p.stat().st_mtime_ns for p in project.store.rglob("part-*")}
    assert not materialized(project, "footprints")
    project.cli("scene", "run", SCENE)
    assert {p: p.stat().st_mtime_ns for p in project.store.rglob("part-*")} == made, "nothing is done again"
    assert len(materialized(project, "footprints")) == 16
    ours, theirs = (arrays(p.store / "jacobian" / f"{SCENE}.nc") for p in (project, finished))
    assert all(np.array_equal(ours[name], values) for name, values in theirs.items())


def test_a_failed_receptor_is_an_exit_code_and_has_its_log(project: Project) -> None:
    project.cli("scene", "add", project.scene_file(**ONE_FAILS))
    status = json.loads(project.cli("scene", "run", SCENE, "--json", code=1).stdout)
    assert [(f["receptor"], f["reason"]) for f in status["failures"]] == [(OUTSIDE, "MET_COVERAGE")]
    text = project.cli("scene", "log", SCENE, OUTSIDE).stdout
    assert f"{OUTSIDE}: failed, MET_COVERAGE" in text
    assert "--prepare DIRECTORY" in text
    assert "The end of HYSPLIT's log" in text
    project.cli("scene", "work", SCENE, code=1)
    good = "202307150920_-112_40.4_5"
    assert f"{good}: ok" in project.cli("scene", "log", SCENE, good).stdout
    by_hand = project.path / "by-hand"
    command = project.cli("scene", "log", SCENE, good, "--prepare", by_hand).stdout.strip()
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    rows = (by_hand / "PARTICLE_STILT.DAT").read_text().splitlines()
    assert len(rows) == 1 + 20 * 120
    assert "is not empty" in project.error("scene", "log", SCENE, good, "--prepare", by_hand)
    assert "has no receptor" in project.error("scene", "log", SCENE, "elsewhere")


def test_too_many_failures_are_a_failed_run_not_wrong_input(project: Project) -> None:
    project.cli("scene", "add", project.scene_file(**{**ONE_FAILS, "max_failed_fraction": 0.34}))
    project.cli("scene", "run", SCENE, code=1)
    project.cli("scene", "add", "--replace", project.scene_file(transport={"timeout": 0.01, "numpar": 2000}))
    done = project.cli("scene", "run", SCENE, code=1)
    assert "max_failed_fraction" in done.stderr
    assert "Traceback" not in done.stderr


def test_several_scenes_run_by_pattern_and_show_as_a_table(project: Project) -> None:
    small = {"receptors": {"grid": {"xmax": -112.1, "ymax": 40.4}}}
    for name in ("north", "north-east", "south"):
        project.cli("scene", "add", project.scene_file(f"{name}.yaml", name=name, **small))
    made = json.loads(project.cli("scene", "run", "north*", "--json").stdout)
    assert [s["scene"] for s in made] == ["north-20230715t0920", "north-east-20230715t0920"]
    table = project.cli("scene", "status").stdout
    assert [line.split()[0] for line in table.splitlines()] == [
        "scene", "north-20230715t0920", "north-east-20230715t0920", "south-20230715t0920",
    ]  # fmt: skip
    assert table.count("done") == 2
    states = {s["scene"]: s["state"] for s in json.loads(project.cli("scene", "status", "--json").stdout)}
    assert states["south-20230715t0920"] == "receptors missing"
    assert "no scene matches 'west*'" in project.error("scene", "run", "west*")
    narrow = project.cli("scene", "status", COLUMNS="40").stdout
    assert max(len(line) for line in narrow.splitlines()) <= 40
    assert "\x1b[" not in project.cli("scene", "status", NO_COLOR="1", FORCE_COLOR="1").stdout.replace(
        "\x1b[1m", ""
    ).replace("\x1b[0m", "")


def test_scenes_are_deleted_whole_and_can_come_back(project: Project) -> None:
    path = project.scene_file()
    project.cli("scene", "add", path)
    project.cli("scene", "run", SCENE)
    asked = subprocess.run(
        project.command("scene", "delete", SCENE), input="n\n", env=project.env, capture_output=True, text=True
    )
    assert asked.returncode == 1
    assert project.store.joinpath("jacobian", f"{SCENE}.nc").exists()
    deleted = json.loads(project.cli("scene", "delete", SCENE, "--yes", "--json").stdout)
    assert deleted[0]["files"] > 20
    assert not [p for p in project.store.rglob("*") if p.is_file()]
    with instance_of(project) as instance:
        assert not instance.has_dynamic_partition("scenes", SCENE)
    assert "is not registered" in project.error("scene", "delete", SCENE, "--yes")
    project.cli("scene", "add", path)
    assert project.status(SCENE)["pending"] == 9
    project.cli("scene", "run", SCENE)
    assert project.status(SCENE)["ok"] == 9
    project.cli("scene", "delete", SCENE, "--yes", "--keep-files")
    assert project.store.joinpath("jacobian", f"{SCENE}.nc").exists()
    project.cli("scene", "add", path)
    assert project.cli("scene", "run", SCENE).stderr.count("nothing to do") == 3


def test_a_scene_is_not_deleted_under_a_run(project: Project) -> None:
    project.cli("scene", "add", project.scene_file())
    with instance_of(project) as instance:
        run = instance.create_run_for_job(
            dg.Definitions(jobs=[_idle]).resolve_job_def("idle"),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": SCENE},
        )
    message = project.error("scene", "delete", SCENE, "--yes")
    assert f"run {run.run_id} of scene {SCENE} is in progress" in message
    assert project.status(SCENE)["pending"] == 9


@dg.op
def _nothing() -> None:
    """Do nothing."""


@dg.job(name="idle")
def _idle() -> None:
    _nothing()


def test_a_partition_deleted_in_the_ui_leaves_no_trouble(project: Project) -> None:
    path = project.scene_file()
    project.cli("scene", "add", path)
    with instance_of(project) as instance:
        assert registered_scenes(project.path / "home", lambda: pytest.fail("the fast way is taken")) == {SCENE}
        assert set(instance.get_dynamic_partitions("scenes")) == {SCENE}
        instance.delete_dynamic_partition("scenes", SCENE)
    assert project.cli("scene", "list").stdout.split()[:2] == [SCENE, "unregistered:"]
    assert json.loads(project.cli("scene", "status", "--json").stdout)[0]["state"] == "unregistered"
    assert f"{SCENE}: registered" in project.cli("scene", "add", path).stdout
    assert project.cli("scene", "list").stdout.split() == [SCENE]


def test_doctor_asks_a_server_of_meteorology(project: Project) -> None:
    """Archives in folders are listed nowhere; that the server answers is what counts."""
    with WebServer({"/hrrr/2023/07/20230715_06-11_hrrr": b"x"}) as web:
        fine = json.loads(project.cli("doctor", "--json", STILT_MET=web.url, STILT_TRUSTED_HOSTS=web.host).stdout)
        refused = json.loads(project.cli("doctor", "--json", code=2, STILT_MET=web.url).stdout)
    assert "answers" in json.dumps(fine)
    assert "STILT_TRUSTED_HOSTS" in json.dumps(refused)


def test_doctor_says_what_is_wrong_and_how_to_fix_it(project: Project) -> None:
    fine = project.cli("doctor").stdout
    for name in ("platform", "hycs_std", "store", "meteorology", "DAGSTER_HOME", "scratch", "memory"):
        assert name in fine
    assert "problem" not in fine
    assert not (project.store / "doctor").exists()
    (project.path / "a-file").write_text("")
    bad = project.cli("doctor", code=2, STILT_STORE=str(project.path / "a-file"), STILT_MET=str(project.path / "none"))
    assert bad.stdout.count("fix:") == 2
    found = json.loads(project.cli("doctor", "--json", code=2, STILT_MET="/nowhere").stdout)
    assert [f["name"] for f in found if not f["ok"]] == ["meteorology"]


def test_interrupted_twice_leaves_no_child(project: Project) -> None:
    project.cli("scene", "add", project.scene_file(transport={"numpar": 3000, "n_hours": -3}))
    run = subprocess.Popen(
        project.command("scene", "run", SCENE), env=project.env, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not children(run.pid):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    started = children(run.pid)
    for _ in range(2):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.05)
    assert run.wait(60) in (130, -signal.SIGINT)
    time.sleep(0.5)
    assert not [
        pid for pid in started if Path(f"/proc/{pid}/exe").exists() and "hycs" in os.readlink(f"/proc/{pid}/exe")
    ]


def children(pid: int) -> list[int]:
    """Return the pids of hycs_std that a process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/status"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        if text.startswith("Name:\thycs_std\n") and f"PPid:\t{pid}\n" in text:
            found.append(int(entry.parent.name))
    return found


def test_a_spec_of_the_version_before_opens_and_registers_as_the_same(project: Project) -> None:
    """Version 0.1.0 kept all points in the spec: what it wrote is read, and the same file is no other scene."""
    points = [{"longitude": round(-112.0 - k / 1000, 3), "latitude": 40.4, "height": 5} for k in range(150)]
    path = project.scene_file(receptors={"grid": None, "points": points})
    project.cli("scene", "add", path)
    spec = json.loads(project.cli("scene", "show", SCENE).stdout)
    assert spec["receptors"]["table"]["count"] == 150
    assert [p.suffix for p in sorted((project.store / "scenes").iterdir())] == [".parquet", ".json"]
    for old in (project.store / "scenes").iterdir():
        old.unlink()
    inline = {**spec, "receptors": {"points": [{**p, "height": 5.0} for p in points]}}
    (project.store / "scenes").joinpath(f"{SCENE}.json").write_text(json.dumps(inline, indent=1, sort_keys=True))
    assert project.status(SCENE)["receptors"] == 150
    assert "already registered" in project.cli("scene", "add", path).stdout


def test_doctor_knows_file_systems_of_other_machines(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    lines = (
        "/dev/vda / ext4 rw 0 0",
        "server:/home /home/some\\040one nfs4 rw 0 0",
        "/dev/vdb /home/local xfs rw 0 0",
    )
    mounts.write_text("\n".join(lines))
    found = [file_system(Path(p), mounts) for p in ("/home/some one/instance", "/home/local/x", "/home", "/")]
    assert found == ["nfs4", "xfs", "ext4", "ext4"]
