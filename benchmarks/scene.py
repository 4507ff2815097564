"""What a scene costs beyond hycs_std, and what it leaves on disk; prints the table of docs/explanation/measurements.md.

    python benchmarks/scene.py                       the scene of the promise: 64 receptors, 200 particles, 24 h
    python benchmarks/scene.py --receptors 4 --hours 6   a quick look
    python benchmarks/scene.py --domain                  the predecessor's domain: 32 receptors, 4 h, 0.002 degrees

Everything runs as users run it, in one process of the command line; CPU is that process's and its children's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import yaml

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.scenes.receptors import Receptor

_RUN = """
import json, resource, sys, warnings
warnings.filterwarnings("ignore")
from stilt_dagster.cli.console import open_instance, open_scene, open_store
from stilt_dagster.operations.run import run_scene

def definitions():
    from stilt_dagster.definitions import defs
    return defs

run_scene(open_instance(), open_scene(open_store(), sys.argv[1]), definitions)
own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"own": own.ru_utime + own.ru_stime, "hycs_std": children.ru_utime + children.ru_stime,
                  "own_rss": own.ru_maxrss / 1024}))
"""


class EnginePeak(threading.Thread):
    """Watches the memory of running hycs_std; a child's own count begins with that of the process that started it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib = 0.0

    def run(self) -> None:
        """Look twice a second."""
        while True:
            for entry in Path("/proc").glob("[0-9]*/status"):
                with suppress(OSError, IndexError):  # one that has just ended
                    text = entry.read_text()
                    if text.startswith("Name:\thycs_std\n"):
                        self.mib = max(self.mib, int(text.split("VmRSS:")[1].split()[0]) / 1024)
            time.sleep(0.5)


#: The grid of the promise, 6 x 6 degrees at 0.01; and that of the predecessor's domain.
WIDE = {"xmin": -115, "xmax": -109, "xres": 0.01, "ymin": 37.5, "ymax": 43.5, "yres": 0.01}
DOMAIN = {"xmin": -112.5, "xmax": -111.5, "xres": 0.002, "ymin": 40.1, "ymax": 41.2, "yres": 0.002}


def scene(directory: Path, name: str, receptors: int, hours: int, numpar: int, grid: dict[str, float]) -> Path:
    """Write a scene of *receptors* in a row."""
    points = [
        {"longitude": round(-112.6 + 1.2 * k / max(receptors - 1, 1), 4), "latitude": 40.5, "height": 5}
        for k in range(receptors)
    ]
    data = {
        "id": name,
        "time": "2023-07-16T00:15:00Z",
        "receptors": {"points": points},
        "transport": {"n_hours": -hours, "numpar": numpar},
        "footprint": grid,
        "meteorology": {"directory": str(directory / "meteorology"), "pattern": "%Y%m%d_%H-*_hrrr"},
    }
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def run(directory: Path, name: str) -> dict[str, float]:
    """Run a registered scene, and return what it took."""
    start = time.monotonic()
    peak = EnginePeak()
    peak.start()
    done = subprocess.run([sys.executable, "-c", _RUN, name], capture_output=True, text=True, check=True, cwd=directory)
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": time.monotonic() - start, "hycs_std_rss": peak.mib}


def bare(directory: Path, name: str) -> float:
    """Return the CPU seconds a receptor of hycs_std alone, run as R STILT and pystilt run it, one a core."""
    from stilt.transport.hysplit import write_inputs

    from stilt_dagster.resources.store import Store
    from stilt_dagster.science.transport.hysplit import release

    spec = Store(str(directory / "store")).scene(name)
    met = directory / f"store/meteorology_aggregate/{name}.arl"
    n = 4 * (os.cpu_count() or 1)
    receptors = list(spec.receptor_list)[:: max(1, len(spec.receptor_list) // n)][:n]

    def simulate(receptor: Receptor) -> None:
        with tempfile.TemporaryDirectory() as work:
            write_inputs(work, release(receptor, 0), spec.transport.for_receptor(receptor, None), [met])
            subprocess.run([f"{work}/hycs_std"], cwd=work, stdout=subprocess.DEVNULL, check=True)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(simulate, receptors))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(receptors)


def gridding(directory: Path, name: str) -> float:
    """Return the CPU seconds of one footprint, warm."""
    from stilt_dagster.resources.store import Store
    from stilt_dagster.science.footprints.gridding import calculate_footprint
    from stilt_dagster.science.transport.particle_files import ParticleFile
    from stilt_dagster.science.transport.particle_tables import positions

    spec = Store(str(directory / "store")).scene(name)
    part = sorted((directory / "store/trajectories" / name).glob("*/part-*.parquet"))[0]
    _, table = next(ParticleFile(part).tables(("particle", "age", "lon", "lat", "foot")))
    best = 9.0
    for _ in range(5):
        start = time.process_time()
        calculate_footprint(*positions(table), spec.footprint.grid, minute=15)
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--receptors", type=int, default=64)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--numpar", type=int, default=200)
    parser.add_argument("--domain", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as tmp:
        directory = Path(tmp)
        os.environ.update(
            STILT_STORE=str(directory / "store"), DAGSTER_HOME=str(directory / "home"), PYTHONWARNINGS="ignore"
        )
        weather = Weather(speed=3.0, direction=250, veer=3.0, shear=True, hill=500)
        make_meteorology(directory / "meteorology", "2023-07-15T00:00", 27, (-116.0, 36.6, -108.0, 44.4), weather)
        grid = WIDE
        if args.domain:
            args.receptors, args.hours, grid = 32, 4, DOMAIN
        files = [
            scene(directory, "one", 1, 1, 20, grid),
            scene(directory, "many", args.receptors, args.hours, args.numpar, grid),
        ]
        cli = [sys.executable, "-m", "stilt_dagster.cli", "scene", "add", *map(str, files)]
        subprocess.run(cli, check=True, capture_output=True)
        run(directory, "one")  # compiles what numba has not compiled on this machine yet
        subprocess.run(
            [sys.executable, "-m", "stilt_dagster.cli", "scene", "add", "--replace", str(files[0])],
            check=True,
            capture_output=True,
        )
        for kind in ("trajectories", "footprints", "jacobian", "receptors", "meteorology_aggregate"):
            subprocess.run(["rm", "-rf", str(directory / "store" / kind)], check=True)
        one, many = run(directory, "one"), run(directory, "many")
        n = args.receptors
        size = {
            kind: sum(p.stat().st_size for p in (directory / "store" / kind).glob(pattern))
            for kind, pattern in (("trajectories", "many/*/*"), ("footprints", "many/*/*"), ("jacobian", "many.nc"))
        }
        rows = n * args.numpar * args.hours * 60
        cpu = many["own"] + many["hycs_std"]
        alone = bare(directory, "many")
        print(f"{platform.machine()}, {os.cpu_count()} cores; {n} receptors, {args.numpar} particles, {args.hours} h\n")
        for name, value in (
            ("hycs_std's share of all CPU", f"{100 * many['hycs_std'] / cpu:.1f} %"),
            ("CPU of hycs_std, a receptor", f"{many['hycs_std'] / n:.2f} s"),
            ("CPU of all else, a receptor", f"{many['own'] / n:.3f} s"),
            ("CPU of bare hycs_std, a receptor", f"{alone:.2f} s"),
            ("the whole scene against bare hycs_std", f"{cpu / n / alone:.2f}"),
            ("receptors per core-hour", f"{n / cpu * 3600:.0f}"),
            ("wall time", f"{many['seconds']:.0f} s"),
            ("peak RSS of the run's process", f"{many['own_rss']:.0f} MiB"),
            ("peak RSS of a hycs_std", f"{many['hycs_std_rss']:.0f} MiB"),
            ("trajectories, bytes a particle-minute row", f"{size['trajectories'] / rows:.2f}"),
            ("trajectories, a receptor", f"{size['trajectories'] / n / 1e6:.2f} MB"),
            ("footprints, a receptor", f"{size['footprints'] / n / 1e6:.2f} MB"),
            ("jacobian, a receptor", f"{size['jacobian'] / n / 1e6:.2f} MB"),
            ("gridding one footprint, warm", f"{gridding(directory, 'many'):.3f} CPU s"),
            ("fixed cost: 1 receptor, all five assets", f"{one['own'] + one['hycs_std']:.1f} CPU s"),
        ):
            print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
