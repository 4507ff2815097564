"""The same scene by one process, and by an array of four of a real Slurm: CPU and wall time of each.

Prints the table of docs/explanation/measurements.md.

    python -m benchmarks.clusters                     48 receptors
    python -m benchmarks.clusters --receptors 400     hycs_std takes most of it, as in real scenes

CPU is that of the commands and all their children; meteorology is made before, alike for both. Nodes have a CPU each
and share this machine, so that wall times compare where it has four cores and nothing else to do. Exits with 1 unless
both jacobians are equal in every array.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.slurm_kills import SCENE, differences, prepare, steady_wind, wait
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.slurm import Slurm

#: What tasks run: the command line, whose CPU is kept in a file of its own.
_METERED = """\
import os, pathlib, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "stilt_dagster.cli", *sys.argv[1:]])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
place = pathlib.Path(__file__).with_name(f"cpu-{os.environ['SLURM_JOB_ID']}")
place.write_text(str(used.ru_utime + used.ru_stime))
sys.exit(done.returncode)
"""


@dataclass
class Taken:
    """What something took.

    Attributes
    ----------
    cpu : float
        CPU of all processes, s.
    wall : float
        From start to end, s.
    """

    cpu: float = 0.0
    wall: float = 0.0


def timed(project: Project, *arguments: str) -> Taken:
    """Run a command of a project, and return what it took."""
    start = time.monotonic()
    process = subprocess.Popen(
        project.command(*arguments), env=project.env, cwd=project.path, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(arguments)}: {os.waitstatus_to_exitcode(status)}")
    return Taken(used.ru_utime + used.ru_stime, time.monotonic() - start)


def on_slurm(project: Project, slurm: Slurm) -> Taken:
    """Do a scene by an array of four, and return what its tasks and the job after them took."""
    metered = project.path / "metered.py"
    metered.write_text(_METERED)
    site = project.path / "slurm.yaml"
    site.write_text(yaml.safe_dump({"program": f"{sys.executable} {metered}"}))
    start = time.monotonic()
    project.cli("slurm", SCENE, "--tasks", "4", "--submit", "--config", site, "--output", "logs", **slurm.environment)
    wait(slurm, 3600)
    took = [float(path.read_text()) for path in project.path.glob("cpu-*")]
    if len(took) != 5:
        raise RuntimeError(f"of five tasks {len(took)} have ended; see {project.path}/logs")
    return Taken(sum(took), time.monotonic() - start)


def main() -> int:
    """Run the scene both ways, and print what each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--receptors", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clusters-") as directory, Slurm() as slurm:
        root = Path(directory)
        meteorology = steady_wind(root / "meteorology")
        here = prepare(root / "here", meteorology, options.receptors)
        there = prepare(root / "there", meteorology, options.receptors)
        rows = {"one process, `scene run --workers 4`": timed(here, "scene", "run", SCENE, "--workers", "4")}
        rows["Slurm, array of 4, and the job after it"] = on_slurm(there, slurm)
        rows["`scene run` after it, which records it"] = timed(there, "scene", "run", SCENE)
        wrong = differences(there, here)
    print(f"{options.receptors} receptors\n\n| | CPU, s | wall, s |\n|---|---|---|")
    for name, took in rows.items():
        print(f"| {name} | {took.cpu:.1f} | {took.wall:.1f} |")
    print(f"\nunequal: {len(wrong)}", *wrong[:20], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
