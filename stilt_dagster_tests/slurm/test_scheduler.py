"""Slurm's commands, on a real Slurm: what is submitted runs, is found, told of and cancelled; errors are a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stilt_dagster.slurm import scheduler
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.slurm import Slurm


def script(*lines: str, **options: str) -> str:
    given = {"output": "/dev/null", **options}
    return "\n".join(["#!/bin/bash", *(f"#SBATCH --{name}={value}" for name, value in given.items()), *lines, ""])


def finished(job: str) -> list[scheduler.Task]:
    def over() -> list[scheduler.Task]:
        found = scheduler.tasks(job)
        return found if found and all(task.is_finished for task in found) else []

    return wait_for(f"job {job}", over, 60, every=0.2)


def test_the_tasks_of_an_array_are_told_apart(slurm: Slurm) -> None:
    job = scheduler.submit(script("exit $((SLURM_ARRAY_TASK_ID % 2 * 3))", array="0-6%2", **{"job-name": "some.array"}))
    assert scheduler.find("some.array") == [job]
    assert {task.index for task in scheduler.tasks(job)} == set(range(7)), "those that wait are there"
    after = scheduler.submit(script("exit 0"), after=job)
    ended = finished(job)
    assert [(task.index, task.state, task.exit_code) for task in ended] == [
        (k, "FAILED" if k % 2 else "COMPLETED", k % 2 * 3) for k in range(7)
    ]
    assert [(task.index, task.state) for task in finished(after)] == [(None, "COMPLETED")], "afterany: it ran"
    assert scheduler.find("some.array") == []


def test_a_job_can_be_cancelled_more_than_once(slurm: Slurm) -> None:
    job = scheduler.submit(script("exec sleep 600"))
    scheduler.cancel(job)
    assert [task.state for task in finished(job)] == ["CANCELLED"]
    scheduler.cancel(job)
    scheduler.cancel("999999")
    assert scheduler.tasks("999999") == [], "nobody knows it, and there is no accounting"


def test_a_job_knows_the_store_and_none_of_dagsters_secrets(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_POSTGRES_PASSWORD", "PGPASSWORD", "STILT_ALERTS"):
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    finished(scheduler.submit(script("env", output=str(tmp_path / "job.log"))))
    seen = wait_for("the job's log", lambda: (tmp_path / "job.log").read_text(), 30)
    assert "AWS_REGION=us-west-2" in seen
    assert "hush-hush" not in seen


def test_refusals_are_a_line_with_slurms_own_reason(slurm: Slurm) -> None:
    with pytest.raises(scheduler.SlurmError, match=r"sbatch refused: .*invalid partition specified: none") as refused:
        scheduler.submit(script("exit 0", partition="none"))
    assert "\n" not in str(refused.value)
    for hostile in ("", "1; rm", "-1", "all", "1 2", "0"):
        with pytest.raises(scheduler.SlurmError, match="is not the id of a Slurm job"):
            scheduler.cancel(hostile)
    with pytest.raises(scheduler.SlurmError, match="is not the name of a job"):
        scheduler.find("--all")


def test_no_slurm_no_cluster_and_no_controller_are_told_apart(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "slurm.conf"
    text = (slurm.directory / "slurm.conf").read_text()
    elsewhere.write_text(text.replace("SlurmctldPort=", "MessageTimeout=1\nSlurmctldPort=1"))
    monkeypatch.setenv("SLURM_CONF", str(elsewhere))
    with pytest.raises(scheduler.SlurmUnavailable, match="controller does not answer squeue"):
        scheduler.find("some.array")
    monkeypatch.delenv("SLURM_CONF")
    if not Path("/etc/slurm/slurm.conf").exists():  # else this machine belongs to a cluster
        with pytest.raises(scheduler.SlurmError, match="squeue knows no Slurm cluster: run this on a login") as error:
            scheduler.find("some.array")
        assert not isinstance(error.value, scheduler.SlurmUnavailable), "waiting would not help"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(scheduler.SlurmError, match="sbatch is not on PATH: run this where Slurm's commands are"):
        scheduler.submit(script("exit 0"))
