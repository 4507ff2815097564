"""Runs of Dagster whose shards Slurm does: what they record, and what of Slurm's jobs is left when they are ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import h5netcdf
import numpy as np
import pytest

from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.slurm import Slurm

SCENE = "valley-20230715t0920"

#: Two receptors, of two shards.
TWO = {"receptors": {"grid": {"xmax": -112.05, "ymax": 40.4}}}

#: Writes the command lines of all processes above it, a line each time, and does what it is asked to.
ANCESTRY = """#!/bin/bash
at=$PPID line=
while [ "$at" -gt 1 ]; do
  line="$line $(tr '\\0' ' ' < "/proc/$at/cmdline")<"
  at=$(awk '{{print $4}}' < "/proc/$at/stat")
done
echo "$line" >> {log}
exec {setpriv} "$@"
"""


@pytest.fixture
def site(project: Project, slurm: Slurm) -> Project:
    """A project whose runs have their shards done by Slurm."""
    project.env.update(slurm.environment, STILT_CLUSTER="slurm", PATH=os.environ["PATH"])
    return project


@contextmanager
def drained(slurm: Slurm) -> Iterator[None]:
    """Have jobs wait in the queue."""
    nodes = f"nodename={','.join(slurm.nodes)}"
    slurm.run("scontrol", "update", nodes, "state=drain", "reason=test")
    try:
        yield
    finally:
        slurm.run("scontrol", "update", nodes, "state=resume")


def submitted(slurm: Slurm, scene: str) -> set[str]:
    """Return the ids of all array jobs of a scene the controller knows."""
    lines = slurm.run("scontrol", "show", "job", "--oneliner").splitlines()
    words = [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines]
    return {w.get("ArrayJobId", w["JobId"]) for w in words if w.get("JobName", "").startswith(f"stilt-{scene}-")}


def queued(slurm: Slurm) -> list[str]:
    return slurm.run("squeue", "--noheader", "--format=%F").split()


def answers(slurm: Slurm) -> bool:
    with suppress(subprocess.SubprocessError):
        return bool(slurm.run("sinfo", "--noheader"))
    return False


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen(
        project.command(*arguments), env=project.env, cwd=project.path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def instance_of(project: Project) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(project.path / "home"))


def recorded(project: Project, asset: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the metadata of the last materialization of an asset's last shard, and its tags."""
    with instance_of(project) as instance:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[f"{SCENE}|15"])
        event = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    return {name: value.value for name, value in event.metadata.items()}, dict(event.tags or {})


def verdicts(project: Project) -> dict[str, bool]:
    """Return whether each check held when it was last made."""
    with instance_of(project) as instance:
        events = [
            record.event_log_entry.dagster_event
            for run in instance.get_runs()
            for record in instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
            ).records
        ]
    return {e.asset_check_evaluation_data.check_name: e.asset_check_evaluation_data.passed for e in events}


def arrays(store: Path, pattern: str) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for path in sorted(store.glob(pattern)):
        with h5netcdf.File(path, "r") as file:
            found[str(path.relative_to(store))] = {name: v[...] for name, v in file.variables.items()}
    return found


def assert_same(one: dict[str, dict[str, np.ndarray]], other: dict[str, dict[str, np.ndarray]]) -> None:
    assert one.keys() == other.keys()
    assert one
    for path, variables in one.items():
        assert variables.keys() == other[path].keys()
        for name, values in variables.items():
            assert np.array_equal(values, other[path][name], equal_nan=values.dtype.kind == "f"), (path, name)


def times(project: Project, kind: str) -> dict[str, int]:
    return {p.name + p.parent.name: p.stat().st_mtime_ns for p in (project.store / kind / SCENE).rglob("part-*")}


def test_what_slurm_did_is_recorded_as_if_the_run_had_done_it(site: Project, slurm: Slurm, finished: Project) -> None:
    tools = site.path / "tools"
    tools.mkdir()
    log, setpriv = site.path / "ancestors", shutil.which("setpriv")
    (tools / "setpriv").write_text(ANCESTRY.format(log=log, setpriv=setpriv))
    (tools / "setpriv").chmod(0o755)
    site.cli("scene", "add", site.scene_file())
    told = site.cli("scene", "run", SCENE, PATH=f"{tools}:{os.environ['PATH']}").stderr
    (job,) = submitted(slurm, SCENE)
    assert f"Slurm job {job}: 9 receptors" in told
    assert_same(arrays(site.store, "jacobian/*.nc"), arrays(finished.store, "jacobian/*.nc"))
    assert_same(arrays(site.store, "footprints/**/*.nc"), arrays(finished.store, "footprints/**/*.nc"))
    own = {"stilt/slurm_job", "stilt/slurm_logs"}
    differ = {*own, "stilt/cpu_seconds", "stilt/wall_seconds", "stilt/receptors_per_core_hour", "stilt/bytes",
              "stilt/location", "dagster/uri", "stilt/runs", "stilt/report", "stilt/picture"}  # fmt: skip
    for asset in ("trajectories", "footprints"):
        (here, tags), (there, local_tags) = recorded(site, asset), recorded(finished, asset)
        assert own & here.keys() == (own if asset == "trajectories" else set())
        if asset == "footprints":  # the job had gridded when they were looked at
            differ |= {"stilt/receptors_made", "stilt/receptors_kept"}
        assert "stilt/picture" in here
        assert {k: v for k, v in here.items() if k not in differ} == {k: v for k, v in there.items() if k not in differ}
        assert tags["dagster/data_version"] == local_tags["dagster/data_version"]
    assert recorded(site, "trajectories")[0]["stilt/cpu_seconds"] > 0
    assert verdicts(site) == verdicts(finished)
    # Every hycs_std was the child of a task of Slurm's, and none that of the run.
    ancestors = log.read_text().splitlines()
    assert len(ancestors) == 9
    assert all("slurmstepd" in line and "scene run" not in line for line in ancestors)
    assert "simulate: nothing to do" in site.cli("scene", "run", SCENE).stderr
    assert submitted(slurm, SCENE) == {job}


def test_what_is_to_be_done_is_submitted_and_no_more(site: Project, slurm: Slurm) -> None:
    site.cli("scene", "add", site.scene_file(**TWO))
    site.cli("scene", "run", SCENE)
    before = {kind: times(site, kind) for kind in ("trajectories", "footprints")}
    site.cli("scene", "run", SCENE, "--rerun", "all")
    after = {kind: times(site, kind) for kind in ("trajectories", "footprints")}
    assert all(after[kind][name] > at for kind, known in before.items() for name, at in known.items())
    assert len(submitted(slurm, SCENE)) == 2
    # Another grid: no transport.
    site.cli("scene", "add", "--replace", site.scene_file(**TWO, footprint={"xres": 0.05}))
    site.cli("scene", "run", SCENE)
    assert times(site, "trajectories") == after["trajectories"]
    assert all(times(site, "footprints")[name] > at for name, at in after["footprints"].items())
    assert recorded(site, "footprints")[0]["stilt/receptors_made"] == 2
    jobs = submitted(slurm, SCENE)
    # One shard is gone: a task of one shard, and the other shard is left alone.
    lost, kept = sorted((site.store / "trajectories" / SCENE).rglob("part-*"))
    lost.unlink()
    at = kept.stat().st_mtime_ns
    site.cli("scene", "run", SCENE)
    assert kept.stat().st_mtime_ns == at
    assert lost.exists()
    assert len(submitted(slurm, SCENE) - jobs) == 1


def test_receptors_that_fail_in_a_task_are_failed(site: Project, slurm: Slurm) -> None:
    """A receptor beyond the meteorology: the run says so, and does not try by itself what the task has tried."""
    outside = {"receptors": {"grid": None, "points": [
        {"longitude": -112.0, "latitude": 40.5, "height": 5}, {"longitude": -80.0, "latitude": 40.5, "height": 5}
    ]}}  # fmt: skip
    site.cli("scene", "add", site.scene_file(**outside, max_failed_fraction=0.6))
    site.cli("scene", "run", SCENE, code=1)
    status = site.status(SCENE)
    assert (status["ok"], status["failed"], status["pending"]) == (1, 1, 0)
    assert recorded(site, "trajectories")[0]["stilt/receptors_failed"] == 1
    assert len(submitted(slurm, SCENE)) == 1


def test_a_job_that_is_lost_fails_the_run_in_one_line(site: Project, slurm: Slurm) -> None:
    site.cli("scene", "add", site.scene_file(**TWO))
    with drained(slurm):
        run = start(site, "scene", "run", SCENE)
        (job,) = wait_for("a job", lambda: submitted(slurm, SCENE), 120)
        slurm.run("scancel", job)
        output = run.communicate(timeout=240)[1]
    assert run.returncode == 2
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "2 receptors of trajectories, footprints in shards" in line
    assert f"Slurm job {job} ended (1 CANCELLED), its logs are {site.store}/logs/{SCENE}" in line
    assert "only what is missing is submitted" in line
    assert "Traceback" not in output
    site.cli("scene", "run", SCENE)
    assert site.status(SCENE)["ok"] == 2


def test_a_run_that_was_killed_is_taken_up_where_its_job_is(site: Project, slurm: Slurm) -> None:
    site.cli("scene", "add", site.scene_file(**TWO))
    with drained(slurm):
        run = start(site, "scene", "run", SCENE)
        (job,) = wait_for("a job", lambda: submitted(slurm, SCENE), 120)
        run.kill()
        run.communicate()
        assert queued(slurm) == [job]
        slurm.kill("slurmctld")  # and for a while nobody answers
        again = start(site, "scene", "run", SCENE)
        seen = []
        for line in again.stderr:
            seen.append(line)
            if "does not answer" in line:
                break
        slurm.start("slurmctld")
        wait_for("the controller", lambda: answers(slurm), 60)
    output = again.communicate(timeout=240)[1]
    assert again.returncode == 0, output
    assert f"Slurm job {job} does these shards already" in output
    assert submitted(slurm, SCENE) == {job}
    assert site.status(SCENE)["ok"] == 2


def test_an_interrupted_command_leaves_nothing_in_the_queue(site: Project, slurm: Slurm) -> None:
    site.cli("scene", "add", site.scene_file(**TWO))
    with drained(slurm):
        run = start(site, "scene", "run", SCENE)
        wait_for("a job", lambda: submitted(slurm, SCENE), 120)
        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=60)[1]
        assert run.returncode == 130
        assert "is cancelled; parts that are finished are kept" in output
        assert queued(slurm) == []


def test_a_partition_there_is_not_is_one_line(site: Project, slurm: Slurm) -> None:
    site.cli("scene", "add", site.scene_file(**TWO))
    site.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    line = site.error("scene", "run", SCENE, "--assets", "trajectories,footprints", SBATCH_PARTITION="none")
    assert "sbatch refused" in line
    assert "partition" in line
