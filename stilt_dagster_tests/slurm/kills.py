"""Killing, requeueing, preempting and cancelling the tasks of an array job at random moments."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stilt_dagster_tests.harness.slurm import Slurm

#: What can happen to a task. All but the last are followed by another try without anyone's doing.
KINDS = ("kill", "requeue", "preempt", "engine", "cancel")


@dataclass(frozen=True)
class Running:
    """A task that runs.

    Attributes
    ----------
    job : str
        Its own id.
    index : str
        Its number in the array.
    node : str
        Where it runs.
    """

    job: str
    index: str
    node: str


def running(slurm: Slurm, name: str) -> list[Running]:
    """Return the tasks of jobs of a name that run, but for what is made after them."""
    lines = slurm.run(
        "squeue", "--noheader", "--array", "--states=RUNNING", f"--name={name}", "--format=%A %K %N"
    ).splitlines()
    found = [Running(*line.split()) for line in lines if len(line.split()) == 3]
    return [task for task in found if task.index.isdigit()]


def processes(slurm: Slurm, task: Running, command: str) -> list[int]:
    """Return the processes of a task whose command line has *command* in it."""

    def found() -> Iterator[int]:
        marks = {f"SLURM_JOB_ID={task.job}".encode(), f"SLURM_CONF={slurm.environment['SLURM_CONF']}".encode()}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (place / "cmdline").read_bytes().split(b"\0")
                # srun has the command among its own words.
                if words[0].endswith(b"srun") or command.encode() not in b" ".join(words):
                    continue
                if marks <= set((place / "environ").read_bytes().split(b"\0")):
                    yield int(place.name)

    return list(found())


def disturb(slurm: Slurm, name: str, kind: str, rng: random.Random) -> bool:
    """Do something to a running task of jobs of a name; return whether there was one it could be done to."""
    tasks = running(slurm, name)
    if not tasks:
        return False
    task = rng.choice(tasks)
    if kind in ("kill", "engine"):
        some = processes(slurm, task, "scene work" if kind == "kill" else "hycs_std")
        if not some:
            return False
        for pid in some if kind == "kill" else [rng.choice(some)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return True
    command = {
        "requeue": ["scontrol", "requeue", task.job],
        "cancel": ["scancel", task.job],
        "preempt": [
            "sbatch", "--parsable", "--partition=urgent", f"--nodelist={task.node}", "--output=/dev/null",
            "--job-name=urgent", "--wrap=sleep 1",
        ],
    }[kind]  # fmt: skip
    try:
        slurm.run(*command)
    except subprocess.CalledProcessError:  # the task ended meanwhile
        return False
    return True
