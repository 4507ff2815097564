"""What scenes were planned to take, and took; prints the table of docs/explanation/measurements.md, *Cost*.

    python -m benchmarks.costs

Five scenes that differ in length, particles, grid and receptors, on generated meteorology, through the command line.
Each is planned from its file, planned again when the first of its receptors are done, and run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stilt_dagster.demo.meteorology import Weather, make_meteorology

_BOX = {"xmin": -113.4, "xmax": -111.0, "ymin": 39.2, "ymax": 41.2}
_PROJECTED = "+proj=lcc +lat_1=38.5 +lat_0=38.5 +lon_0=-97.5 +R=6371200 +units=m +no_defs"


def _row(n: int, height: float | list[float] = 5) -> dict[str, Any]:
    """Return *n* receptors in a row."""
    return {
        "points": [{"longitude": round(-112.3 + 0.05 * k, 3), "latitude": 40.6, "height": height} for k in range(n)]
    }


#: Scenes: receptors, hours, particles, footprint.
SCENES: dict[str, tuple[dict[str, Any], int, int, dict[str, Any]]] = {
    "short, few particles": (_row(14), 3, 30, {**_BOX, "xres": 0.01, "yres": 0.01}),
    "long, coarse": (_row(10), 18, 60, {**_BOX, "xres": 0.05, "yres": 0.05}),
    "many particles, fine": (
        _row(8),
        4,
        500,
        {"xmin": -112.6, "xmax": -111.6, "xres": 0.002, "ymin": 40.0, "ymax": 40.9, "yres": 0.002},
    ),
    "columns": (_row(8, [0, 3000]), 6, 150, {**_BOX, "xres": 0.02, "yres": 0.02}),
    "projected, integrated": (
        _row(10),
        8,
        100,
        {**_BOX, "xres": 4000, "yres": 4000, "projection": _PROJECTED, "time_integrate": True},
    ),
}

#: Figures that are compared, and where they are in a plan.
FIGURES = ("cpu_hours", "meteorology_read", "trajectories", "footprints", "jacobian")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    """A store and an instance of their own, and the command line in them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._env = {
            **os.environ,
            "STILT_STORE": str(directory / "store"),
            "DAGSTER_HOME": str(directory / "home"),
            "PYTHONWARNINGS": "ignore",
        }
        make_meteorology(
            directory / "meteorology",
            "2023-07-14T18:00",
            30,
            (-116.0, 36.0, -108.4, 44.0),
            Weather(speed=5.0, direction=235.0),
        )

    def cli(self, *args: str) -> str:
        """Run a command and return what it printed."""
        command = [sys.executable, "-m", "stilt_dagster.cli", *args]
        return subprocess.run(command, env=self._env, check=True, capture_output=True, text=True).stdout

    def plan(self, what: str) -> dict[str, Any]:
        """Return a plan."""
        return dict(json.loads(self.cli("scene", "plan", what, "--json")))

    def scene_file(self, name: str) -> Path:
        """Write a scene's YAML."""
        receptors, hours, numpar, footprint = SCENES[name]
        data = {
            "id": name.replace(", ", "-").replace(" ", "-"),
            "time": "2023-07-15T22:40:00Z",
            "receptors": receptors,
            "transport": {"n_hours": -hours, "numpar": numpar},
            "footprint": footprint,
            "meteorology": {"directory": str(self.directory / "meteorology"), "pattern": "%Y%m%d_%H-*_hrrr"},
        }
        path = self.directory / f"{data['id']}.yaml"
        path.write_text(json.dumps(data))  # which is YAML
        return path


def _value(plan: dict[str, Any], figure: str) -> float:
    return float(plan[figure] if figure == "cpu_hours" else plan["bytes"][figure])


def main() -> None:
    """Run the scenes and print the table."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        print("predicted over actual, before anything ran / with its first receptors done; actual in brackets\n")
        print("| scene | CPU | meteorology read | trajectories | footprints | jacobian | CPU of processes, s |")
        print("|---|---|---|---|---|---|---|")
        worst = [0.0, 0.0]
        for title in SCENES:
            path = bench.scene_file(title)
            scene, before = path.stem, bench.plan(str(path))
            bench.cli("scene", "add", str(path))
            start = _cpu()
            bench.cli("scene", "run", scene, "--assets", "receptors,meteorology_aggregate")
            bench.cli("scene", "work", scene, "--shards", "00-05")
            first = bench.plan(scene)
            bench.cli("scene", "run", scene)
            processes = _cpu() - start
            actual = bench.plan(scene)["actual"]
            cells = []
            for figure in FIGURES:
                made = _value(actual, figure)
                ratios = [_value(plan, figure) / made for plan in (before, first)]
                worst = [max(w, abs(r - 1)) for w, r in zip(worst, ratios, strict=True)]
                unit = f"{made * 3600:.1f} s" if figure == "cpu_hours" else f"{made / 1e6:.2f} MB"
                cells.append(f"{ratios[0]:.2f} / {ratios[1]:.2f} ({unit})")
            print(f"| {title} | {' | '.join(cells)} | {processes:.1f} |", flush=True)
        print(f"\nfarthest off: {worst[0]:.0%} before anything ran, {worst[1]:.0%} with the first receptors done")


if __name__ == "__main__":
    main()
