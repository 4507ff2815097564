"""What a cluster without a cloud costs beside the simulations: a scene on this machine, and by ``values/plain.yaml``.

    python -m benchmarks.plain                 144 receptors of 200 particles, 6 hours back, 2 processes
    python -m benchmarks.plain --side 6        36 of them

Real are API server, scheduler, controllers, Postgres, webserver and daemon; each run is a pod, and a pod a process.
Prints tables: wall and CPU of both, and whether all arrays of the jacobians are equal.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cluster import Usage, table
from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster_tests.conftest import SCENE, Project, deep_merge
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.production import Plain, Production
from stilt_dagster_tests.kubernetes.conftest import arrays, equal

NAME = "valley-20230715t0920"
ASSETS = (("receptors", "meteorology_aggregate"), ("trajectories", "footprints"), ("jacobian",))


class Spent:
    """Wall and CPU seconds, the latter of processes that have ended meanwhile."""

    wall = cpu = 0.0


@contextmanager
def spent() -> Iterator[Spent]:
    """Measure what is done inside."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    made, before, begin = Spent(), cpu(), time.monotonic()
    yield made
    made.wall, made.cpu = time.monotonic() - begin, cpu() - before


def materialize(production: Production, assets: tuple[str, ...]) -> None:
    """Materialize assets as the UI does, and wait until their runs and pods are over."""
    before = len(production.runs())
    production.launch(*assets, scene=NAME)

    def over() -> bool:
        runs = production.runs()
        failed = [run["runId"] for run in runs if run["status"] == "FAILURE"]
        assert not failed, production.messages(failed[0])
        done = [run for run in runs if run["status"] == "SUCCESS"]
        return len(done) == before + len(assets) and not production.left_over()

    wait_for(f"runs of {assets}", over, 3600, every=0.5)


def main() -> int:
    """Run both, print the table; the exit code is 1 if results differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain", description=__doc__)
    parser.add_argument("--side", type=int, default=12, help="receptors along a side of the square (%(default)s)")
    arguments = parser.parse_args()
    grid = {
        "xmin": -112.1, "xmax": -112.1 + 0.01 * (arguments.side - 1), "xres": 0.01,
        "ymin": 40.4, "ymax": 40.4 + 0.01 * (arguments.side - 1), "yres": 0.01, "height": 5,
    }  # fmt: skip
    changes: dict[str, Any] = {"receptors": {"grid": grid}, "transport": {"n_hours": -6, "numpar": 200}}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as tmp:
        directory = Path(tmp)
        meteorology = directory / "meteorology"
        weather = Weather(speed=6.0, direction=270.0)
        make_meteorology(meteorology, "2023-07-15T00:00", 12, (-115.0, 38.8, -110.4, 42.2), weather)
        project = Project(directory / "local", meteorology)
        project.cli("scene", "add", project.scene_file(**changes))
        with spent() as local:
            subprocess.run(project.command("scene", "run", NAME), env=project.env, check=True, capture_output=True)
        expected = arrays(project.store / "jacobian" / f"{NAME}.nc")

        file = directory / "scene.yaml"
        scene = deep_merge(SCENE, {"meteorology": {"directory": str(meteorology)}})
        tags = {"tags": {"stilt/cpu": "2"}}  # as many processes as the local run has on two cores
        file.write_text(yaml.safe_dump(deep_merge(deep_merge(scene, changes), tags)))
        with Production(directory / "production", surroundings=Plain()) as production:
            production.cli("scene", "add", file)
            servers = Usage()
            with spent() as pods:
                for assets in ASSETS:
                    materialize(production, assets)
            used = Usage().since(servers)
            found = arrays(production.fetch(f"jacobian/{NAME}.nc", directory / "jacobian.nc"))
    same = equal(found, expected)
    receptors = arguments.side**2
    table(
        f"{receptors} receptors, 200 particles, 6 h: on this machine and on a cluster of its own, s",
        [("this machine", local.wall, local.cpu), ("plain Kubernetes, its pods", pods.wall, pods.cpu)],
        ("", "wall", "CPU"),
    )
    table("CPU of the servers meanwhile, s", sorted(used.items()))
    beyond = pods.cpu / local.cpu - 1
    print(f"\nCPU of the pods beyond the local run: {beyond:.1%}; jacobians equal in every array: {same}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
