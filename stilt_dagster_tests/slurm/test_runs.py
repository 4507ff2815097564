"""Runs of Dagster whose shards Slurm does: what they record, and what of Slurm's jobs is left when they are ended."""

from __future__ import annotations

import json
import os
import re
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

from stilt_dagster_tests.conftest import ROOT, Project
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.slurm import Slurm
from stilt_dagster_tests.harness.webserver import Webserver
from stilt_dagster_tests.test_ui import running_ui

SCENE = "valley-20230715t0920"

SHARDED = ("trajectories", "footprints")

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


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> Project:
    """A project with a scene of two receptors that are to be simulated; tests copy it."""
    project = Project(tmp_path_factory.mktemp("prepared"), meteorology)
    project.cli("scene", "add", project.scene_file(**TWO))
    project.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    return project


def on(slurm: Slurm, project: Project) -> Project:
    """Have a project's runs done by Slurm."""
    project.env.update(slurm.environment, STILT_CLUSTER="slurm")
    return project


@pytest.fixture
def site(project: Project, prepared: Project, slurm: Slurm) -> Project:
    """A project of two receptors that are to be simulated, by Slurm."""
    for name in ("store", "home"):
        shutil.copytree(prepared.path / name, project.path / name, dirs_exist_ok=True)
    return on(slurm, project)


@contextmanager
def drained(slurm: Slurm) -> Iterator[None]:
    """Have jobs wait in the queue."""
    nodes = f"nodename={','.join(slurm.nodes)}"
    slurm.run("scontrol", "update", nodes, "state=drain", "reason=test")
    try:
        yield
    finally:
        with suppress(subprocess.CalledProcessError):  # a controller that was killed may have forgotten
            slurm.run("scontrol", "update", nodes, "state=resume")


def submitted(slurm: Slurm, project: Project) -> set[str]:
    """Return the ids of all jobs of a project's store that the controller knows."""
    lines = [
        line for line in slurm.run("scontrol", "show", "job", "--oneliner").splitlines() if f"{project.store}/" in line
    ]
    known = [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines]
    return {job.get("ArrayJobId", job["JobId"]) for job in known}


def queued(slurm: Slurm, project: Project) -> set[str]:
    """Return those that are in the queue."""
    return set(slurm.run("squeue", "--noheader", "--format=%F").split()) & submitted(slurm, project)


def answers(slurm: Slurm) -> bool:
    with suppress(subprocess.SubprocessError):
        return bool(slurm.run("sinfo", "--noheader"))
    return False


class Command:
    """A command that is running in a project, and what it says to its terminal."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self._log = project.path / f"command-{len(list(project.path.glob('command-*')))}"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                project.command(*arguments), env=project.env, cwd=project.path, stdout=subprocess.DEVNULL, stderr=log
            )

    def said(self) -> str:
        return self._log.read_text()

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it said."""
        return self.process.wait(240), self.said()


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


@pytest.mark.slow
def test_what_slurm_did_is_recorded_as_if_the_run_had_done_it(
    project: Project, slurm: Slurm, finished: Project
) -> None:
    site = on(slurm, project)
    tools = site.path / "tools"
    tools.mkdir()
    log, setpriv = site.path / "ancestors", shutil.which("setpriv")
    (tools / "setpriv").write_text(ANCESTRY.format(log=log, setpriv=setpriv))
    (tools / "setpriv").chmod(0o755)
    site.cli("scene", "add", site.scene_file())
    told = site.cli("scene", "run", SCENE, PATH=f"{tools}:{os.environ['PATH']}").stderr
    (job,) = submitted(slurm, site)
    assert f"Slurm job {job}: 9 receptors" in told
    assert_same(arrays(site.store, "jacobian/*.nc"), arrays(finished.store, "jacobian/*.nc"))
    assert_same(arrays(site.store, "footprints/**/*.nc"), arrays(finished.store, "footprints/**/*.nc"))
    own = {"stilt/slurm_job", "stilt/slurm_logs"}
    differ = {*own, "stilt/cpu_seconds", "stilt/wall_seconds", "stilt/receptors_per_core_hour", "stilt/bytes",
              "stilt/location", "dagster/uri", "stilt/runs", "stilt/report", "stilt/picture"}  # fmt: skip
    for asset in SHARDED:
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
    assert submitted(slurm, site) == {job}


@pytest.mark.slow
def test_what_is_to_be_done_is_submitted_and_no_more(site: Project, slurm: Slurm) -> None:
    site.cli("scene", "run", SCENE)
    before = {kind: times(site, kind) for kind in SHARDED}
    site.cli("scene", "run", SCENE, "--rerun", "all")
    after = {kind: times(site, kind) for kind in SHARDED}
    assert all(after[kind][name] > at for kind, known in before.items() for name, at in known.items())
    assert len(submitted(slurm, site)) == 2
    # Another grid: no transport.
    site.cli("scene", "add", "--replace", site.scene_file(**TWO, footprint={"xres": 0.05}))
    site.cli("scene", "run", SCENE)
    assert times(site, "trajectories") == after["trajectories"]
    assert all(times(site, "footprints")[name] > at for name, at in after["footprints"].items())
    assert recorded(site, "footprints")[0]["stilt/receptors_made"] == 2
    jobs = submitted(slurm, site)
    # One shard is gone: a task of one shard, and the other shard is left alone.
    lost, kept = sorted((site.store / "trajectories" / SCENE).rglob("part-*"))
    lost.unlink()
    at = kept.stat().st_mtime_ns
    site.cli("scene", "run", SCENE)
    assert kept.stat().st_mtime_ns == at
    assert lost.exists()
    assert len(submitted(slurm, site) - jobs) == 1


@pytest.mark.slow
def test_receptors_that_fail_in_a_task_are_failed(project: Project, slurm: Slurm) -> None:
    """A receptor beyond the meteorology: the run says so, and does not try by itself what the task has tried."""
    site = on(slurm, project)
    outside = {"receptors": {"grid": None, "points": [
        {"longitude": -112.0, "latitude": 40.5, "height": 5}, {"longitude": -80.0, "latitude": 40.5, "height": 5}
    ]}}  # fmt: skip
    site.cli("scene", "add", site.scene_file(**outside, max_failed_fraction=0.6))
    site.cli("scene", "run", SCENE, code=1)
    status = site.status(SCENE)
    assert (status["ok"], status["failed"], status["pending"]) == (1, 1, 0)
    assert recorded(site, "trajectories")[0]["stilt/receptors_failed"] == 1
    assert len(submitted(slurm, site)) == 1


def test_a_job_that_is_lost_fails_the_run_in_one_line(site: Project, slurm: Slurm) -> None:
    with drained(slurm):
        run = Command(site, "scene", "run", SCENE)
        (job,) = wait_for("a job", lambda: submitted(slurm, site), 120)
        slurm.run("scancel", job)
        code, output = run.end()
    assert code == 2
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "2 receptors of trajectories, footprints in shards" in line
    assert f"Slurm job {job} ended (1 CANCELLED), its logs are {site.store}/logs/{SCENE}" in line
    assert "only what is missing is submitted" in line
    assert "Traceback" not in output
    site.cli("scene", "run", SCENE)
    assert site.status(SCENE)["ok"] == 2


def test_a_run_that_was_killed_is_taken_up_where_its_job_is(site: Project, slurm: Slurm) -> None:
    with drained(slurm):
        run = Command(site, "scene", "run", SCENE)
        (job,) = wait_for("a job", lambda: submitted(slurm, site), 120)
        run.process.kill()
        run.end()
        assert queued(slurm, site) == {job}
        kept = slurm.directory / "state" / "job_state"
        wait_for("the job to be on disk", lambda: str(site.store).encode() in kept.read_bytes())
        slurm.kill("slurmctld")  # and for a while nobody answers
        again = Command(site, "scene", "run", SCENE)
        wait_for("a complaint", lambda: "controller does not answer" in again.said(), 120)
        slurm.start("slurmctld")
        wait_for("the controller", lambda: answers(slurm), 60)
    code, output = again.end()
    assert code == 0, output
    assert f"Slurm job {job} is in the queue for this already" in output
    assert submitted(slurm, site) == {job}
    assert site.status(SCENE)["ok"] == 2


def test_an_interrupted_command_leaves_nothing_in_the_queue(site: Project, slurm: Slurm) -> None:
    with drained(slurm):
        run = Command(site, "scene", "run", SCENE)
        wait_for("a job", lambda: submitted(slurm, site), 120)
        run.process.send_signal(signal.SIGINT)
        code, output = run.end()
        assert code == 130, output
        assert "is cancelled; parts that are finished are kept" in output
        assert not queued(slurm, site)


def test_what_is_set_wrong_is_one_line(site: Project, slurm: Slurm) -> None:
    run = ("scene", "run", SCENE, "--assets", "trajectories,footprints")
    refused = site.error(*run, SBATCH_PARTITION="none")
    assert "sbatch refused" in refused
    assert "partition" in refused
    assert "STILT_CLUSTER must be slurm, or not set" in site.error(*run, STILT_CLUSTER="pbs")

    def slurm_of(code: int, **env: str) -> dict[str, Any]:
        found = json.loads(site.cli("doctor", "--json", code=code, **env).stdout)
        return next(finding for finding in found if finding["name"] == "slurm")

    assert slurm_of(0)["ok"]
    assert "partition" in slurm_of(2, SBATCH_PARTITION="none")["detail"]


@pytest.mark.slow
def test_a_run_of_the_ui_is_cancelled_with_its_job_and_survives_its_process(site: Project, slurm: Slurm) -> None:
    shutil.copy(ROOT / "deploy/slurm/dagster.yaml", site.path / "home" / "dagster.yaml")
    with running_ui(site) as ui:
        web = Webserver(ui.port)
        with drained(slurm):
            run = web.launch(*SHARDED, scene=SCENE)
            first = wait_for("a job", lambda: submitted(slurm, site), 120)
            web.cancel(run)
            web.wait_run(run, "CANCELED")
            assert not queued(slurm, site)
            known = {r["runId"] for r in web.runs()}
            run = web.launch(*SHARDED, scene=SCENE)
            (job,) = wait_for("another job", lambda: submitted(slurm, site) - first, 120)
            (pid,) = re.findall(r"Started process for run \(pid: (\d+)\)", "\n".join(web.messages(run)))
            os.kill(int(pid), signal.SIGKILL)
            # The instance's run_retries run it once more.
            (again,) = wait_for("another run", lambda: {r["runId"] for r in web.runs()} - known - {run}, 120)
            found = f"Slurm job {job} is in the queue for this already"
            wait_for("it to find the job", lambda: found in "\n".join(web.messages(again)), 120, every=0.5)
        web.wait_run(again, "SUCCESS", timeout=240)
    assert submitted(slurm, site) == {*first, job}
    assert site.status(SCENE)["ok"] == 2
    assert recorded(site, "trajectories")[0]["stilt/slurm_job"] == job
