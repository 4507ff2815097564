"""A scene as an array job of a real Slurm while its tasks are killed, preempted, requeued and cancelled.

Prints the table of docs/explanation/measurements.md.

    python -m benchmarks.slurm_kills                                 100 receptors, 30 disturbances
    python -m benchmarks.slurm_kills --receptors 16 --kills 6        a quick look

Only what met a task that runs counts. An array that has ended, since a task was cancelled, is submitted again, as a
person would. What comes out is compared with the same scene run undisturbed by one process: every array of the
jacobian, and the particles of every receptor, part by part. Exits with 1 when anything is lost, doubled or unequal.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pyarrow.parquet as pq

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.slurm import Slurm
from stilt_dagster_tests.slurm import kills

SCENE = "valley-20230715t0920"


def scene(receptors: int) -> dict[str, Any]:
    """Return what the tests' scene is changed by: so many receptors in a row, of half a second each."""
    grid = {"xmin": -112.5, "xmax": -112.5 + 0.01 * (receptors - 1), "xres": 0.01, "ymin": 40.5, "ymax": 40.5}
    return {"receptors": {"grid": grid}, "transport": {"numpar": 60}}


def prepare(path: Path, meteorology: Path, receptors: int) -> Project:
    """Return a project with a scene that can be worked on."""
    project = Project(path, meteorology)
    project.cli("scene", "add", project.scene_file(**scene(receptors)))
    project.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    return project


def differences(found: Project, expected: Project) -> list[str]:
    """Return what of a scene's files is lost, doubled, or not as in another store."""
    wrong: list[str] = []
    with (
        h5netcdf.File(found.store / "jacobian" / f"{SCENE}.nc", "r") as ours,
        h5netcdf.File(expected.store / "jacobian" / f"{SCENE}.nc", "r") as theirs,
    ):
        wrong += [f"{n} of the jacobian" for n in set(ours.variables) ^ set(theirs.variables)]
        shared = set(ours.variables) & set(theirs.variables)
        wrong += [f"{n} of the jacobian" for n in sorted(shared) if not np.array_equal(ours[n][...], theirs[n][...])]
    for ending in ("parquet", "nc"):
        names = [
            {
                str(path.relative_to(p.store))
                for path in p.store.rglob(f"part-*.{ending}")
                if ".scratch" not in path.parts
            }
            for p in (found, expected)
        ]
        wrong += [f"{name}: lost" for name in sorted(names[1] - names[0])]
        wrong += [f"{name}: left over" for name in sorted(names[0] - names[1])]
        if ending == "parquet":
            wrong += [
                f"particles of {name}"
                for name in sorted(names[0] & names[1])
                if not pq.read_table(found.store / name).equals(pq.read_table(expected.store / name))
            ]
    wrong += [f"{path}: scratch" for path in (found.store / ".scratch").rglob("*") if path.is_file()]
    return wrong


def wait(slurm: Slurm, seconds: float = 600) -> None:
    """Wait until nothing is queued or running."""
    end = time.monotonic() + seconds
    while slurm.run("squeue", "--noheader", "--format=%i"):
        if time.monotonic() > end:
            raise TimeoutError(slurm.run("squeue", "--array"))
        time.sleep(0.5)


def steady_wind(directory: Path) -> Path:
    """Make twelve hours of a west wind of 6 m/s in a directory, and return it."""
    directory.mkdir()
    domain = (-114.0, 38.8, -110.4, 42.2)
    make_meteorology(directory, "2023-07-15T06:00", 12, domain, Weather(speed=6.0, direction=270.0))
    return directory


def main() -> int:
    """Run the scene, and print what was done to it and what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--receptors", type=int, default=100)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="slurm-kills-") as directory, Slurm() as slurm:
        root = Path(directory)
        meteorology = steady_wind(root / "meteorology")
        expected = prepare(root / "undisturbed", meteorology, options.receptors)
        expected.cli("scene", "run", SCENE)
        project = prepare(root / "disturbed", meteorology, options.receptors)
        submit = ("slurm", SCENE, "--tasks", "4", "--submit", "--output", project.path / "logs", "--json")
        done: Counter[str] = Counter()
        submitted, name, begin = 0, "", time.monotonic()
        while sum(done.values()) < options.kills:
            if not slurm.run("squeue", "--noheader", "--format=%i"):
                if submitted and project.status(SCENE)["pending"] == 0:
                    break
                job = json.loads(project.cli(*submit, **slurm.environment).stdout)["jobs"][0]
                name = slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%j").splitlines()[0]
                submitted += 1
            time.sleep(rng.uniform(0.0, 3.0))
            kind = rng.choice(kills.KINDS)
            # An hycs_std lives shortly: it takes some looks to find one.
            for _ in range(20 if kind == "engine" else 1):
                if kills.disturb(slurm, name, kind, rng):
                    done[kind] += 1
                    break
        wait(slurm)
        project.cli(*submit, **slurm.environment)
        wait(slurm)
        seconds = time.monotonic() - begin
        status = project.status(SCENE)
        project.cli("scene", "run", SCENE)
        wrong = differences(project, expected)
    print(f"seed {options.seed}, {options.receptors} receptors, {seconds:.0f} s, submitted {submitted + 1} times")
    print("| done to a running task | times |\n|---|---|")
    for kind in kills.KINDS:
        print(f"| {kind} | {done[kind]} |")
    print(f"{sum(done.values())} disturbances: {status['ok']} ok, {status['empty']} empty, {status['failed']} failed, "
          f"{status['pending']} pending; lost, doubled or unequal: {len(wrong)}")  # fmt: skip
    print("\n".join(wrong[:20]))
    if sum(done.values()) < options.kills:
        print("the scene was done before: give it more receptors", file=sys.stderr)
    return bool(wrong) or sum(done.values()) < options.kills


if __name__ == "__main__":
    sys.exit(main())
