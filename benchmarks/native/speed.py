"""CPU, memory and threads of a scene by each engine, side by side.

    python -m benchmarks.native.speed                      16 receptors, 200 particles, 24 h, three times each
    python -m benchmarks.native.speed --receptors 64 --repeats 1
    python -m benchmarks.native.speed --what threads                  the native engine alone, in one thread and in two

A scene on generated meteorology is registered once an engine, and its trajectories and footprints made as array jobs
make them (``stilt-dagster scene work``), engines in turn, each time anew. CPU and the peak of memory are those of that
process and its children, all included: start, meteorology, particles, files, gridding; also given is what one receptor
more costs, from a scene of one receptor beside it. ``engine_check`` is off: its share is that of hycs_std. Memory is to
be seen beside that of the scene's meteorology, decoded.

Threads: receptors through the engine itself, by one thread and by two, in turn; the ratio of the shortest wall times.
Only a machine with nothing else to do can tell it, so that the load is printed too.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.scene import WIDE
from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.scenes.receptors import make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings

_ENGINES: dict[str, dict[str, Any]] = {
    "hysplit": {},
    "native": {"engine": "native", "experimental": True, "engine_check": 0},
}


def scene(directory: Path, name: str, receptors: int, options: argparse.Namespace, engine: str) -> str:
    """Write a scene of receptors in a row, register it, and make its meteorology; return its id."""
    points = [
        {"longitude": round(-112.6 + 1.2 * k / max(receptors - 1, 1), 4), "latitude": 40.5, "height": 5}
        for k in range(receptors)
    ]
    data = {
        "id": name,
        "time": "2023-07-16T00:15:00Z",
        "receptors": {"points": points},
        "transport": {"n_hours": -options.hours, "numpar": options.numpar, **_ENGINES[engine]},
        "footprint": WIDE,
        "meteorology": {"directory": str(directory / "meteorology"), "pattern": "%Y%m%d_%H-*_hrrr"},
    }
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data))
    cli(directory, "scene", "add", str(path))
    cli(directory, "scene", "run", name, "--assets", "receptors,meteorology_aggregate")
    return name


def cli(directory: Path, *args: str) -> dict[str, float]:
    """Run the command line; return wall time and CPU, s, and the largest resident size of a process, MiB."""
    command = [sys.executable, "-W", "ignore", "-m", "stilt_dagster.cli", *args]
    start = time.monotonic()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((directory / "log").read_text())
    return {
        "wall": time.monotonic() - start,
        "cpu": used.ru_utime + used.ru_stime,
        "rss": used.ru_maxrss / 1024,
    }


def work(directory: Path, name: str, workers: int) -> dict[str, float]:
    """Simulate and grid a scene anew."""
    for kind in ("trajectories", "footprints"):
        subprocess.run(["rm", "-rf", str(directory / "store" / kind / name)], check=True)
    return cli(directory, "scene", "work", name, "--workers", str(workers))


def decoded(directory: Path, name: str) -> float:
    """Return the size of a scene's meteorology in the native engine's memory, MiB."""
    from stilt_dagster.science.transport.native.meteorology.fields import read_fields

    fields = read_fields(directory / "store/meteorology_aggregate" / f"{name}.arl", 25_000.0)
    return float(sum(array.nbytes for array in fields if hasattr(array, "nbytes"))) / 2**20


def scenes(directory: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run each engine in turn; print and return medians."""
    names = {
        (engine, n): scene(directory, f"{engine}-{n}", n, options, engine)
        for engine in options.engines
        for n in (1, options.receptors)
    }
    for engine in options.engines:
        work(directory, names[engine, 1], 1)  # compiles what numba has not compiled on this machine yet
    took: dict[tuple[str, int], list[dict[str, float]]] = {key: [] for key in names}
    for _ in range(options.repeats):
        for key, name in names.items():
            took[key].append(work(directory, name, options.workers))
    found = {}
    n = options.receptors
    print("| engine | CPU a receptor, s | one more, s | fixed, s | wall, s | peak RSS, MiB | with 1 receptor |")
    print("|---|---|---|---|---|---|---|")
    for engine in options.engines:
        one, many = ({k: median(t[k] for t in took[engine, m]) for k in ("cpu", "wall", "rss")} for m in (1, n))
        more = (many["cpu"] - one["cpu"]) / (n - 1)
        found[engine] = {"cpu": many["cpu"] / n, "more": more, "fixed": one["cpu"] - more, **{"rss": many["rss"]}}
        print(
            f"| {engine} | {many['cpu'] / n:.3f} | {more:.3f} | {one['cpu'] - more:.2f} | {many['wall']:.1f} "
            f"| {many['rss']:.0f} | {one['rss']:.0f} |"
        )
    print(f"\nmeteorology, decoded: {decoded(directory, names[options.engines[0], 1]):.0f} MiB")
    if {"hysplit", "native"} <= set(found):
        h, e = found["hysplit"], found["native"]
        print(
            f"\nnative: {h['cpu'] / e['cpu']:.1f} times less CPU all included, "
            f"{h['more'] / e['more']:.1f} a receptor more"
        )
    return found


def threads(directory: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run receptors through the native engine by one thread and by two; print and return the times."""
    from stilt_dagster.science.transport.native.engine import NativeEngine

    met = directory / "all"
    met.write_bytes(b"".join(p.read_bytes() for p in sorted((directory / "meteorology").iterdir())))
    at = dt.datetime(2023, 7, 16, 0, 15, tzinfo=dt.UTC)
    receptors = [make_receptor(at, -112.6 + 0.01 * k, 40.5, 5) for k in range(options.receptors)]
    settings, engine = TransportSettings(n_hours=-options.hours, numpar=options.numpar), NativeEngine()
    engine.run(receptors[0], settings, met)
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(max(options.repeats, 3)):
        for n, times in took.items():
            start = time.monotonic()
            with ThreadPoolExecutor(n) as pool:
                list(pool.map(lambda r: engine.run(r, settings, met), receptors))
            times.append(time.monotonic() - start)
    best = {n: min(times) for n, times in took.items()}
    nanoseconds = 1e9 * best[1] / (len(receptors) * options.numpar * options.hours * 60)
    print(
        f"{len(receptors)} receptors: {best[1]:.2f} s by one thread, {best[2]:.2f} s by two, "
        f"{best[1] / best[2]:.2f} times as fast; {nanoseconds:.0f} ns a particle-minute; load {os.getloadavg()[0]:.1f}"
    )
    return {"one": best[1], "two": best[2], "scaling": best[1] / best[2]}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["scenes", "threads"], default="scenes")
    parser.add_argument("--engines", nargs="+", choices=list(_ENGINES), default=list(_ENGINES))
    parser.add_argument("--receptors", type=int, default=16)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--numpar", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write what was found there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as tmp:
        directory = Path(tmp)
        os.environ.update(STILT_STORE=str(directory / "store"), DAGSTER_HOME=str(directory / "home"))
        (directory / "home").mkdir()
        weather = Weather(speed=3.0, direction=250, veer=3.0, shear=True, hill=500)
        make_meteorology(directory / "meteorology", "2023-07-15T00:00", 27, (-116.0, 36.6, -108.0, 44.4), weather)
        found = (scenes if options.what == "scenes" else threads)(directory, options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
