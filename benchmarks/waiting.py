"""How long people wait for the command line; prints the table of docs/explanation/measurements.md.

    python -m benchmarks.waiting     on a scene of 32 receptors, one of 10,000 in a bucket, one of 100,000

Wall time is the median of five; CPU and memory are the process's own. Parts of the large scenes are written here, of a
few rows each, those of the largest empty: what is measured is finding out how they ended, which the indexes tell.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.footprints.footprint_files import FootprintWriter
from stilt_dagster.science.footprints.gridding import Footprint, Layer
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.outcomes import Outcome, PartSummary
from stilt_dagster.science.pystilt import engine_version, find_hycs_std
from stilt_dagster.science.transport.particle_files import ParticleWriter
from stilt_dagster.science.transport.particle_tables import to_table
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster.science.versions import footprint_key, meteorology_key, simulations_digest

#: Commands, the store they work on, and the most they may take: s, and MB.
Command = tuple[str, list[str], float, float | None]


def spec(directory: Path, name: str, receptors: dict, **changes: object) -> Path:
    """Write a scene's YAML."""
    data = {
        "id": name,
        "time": "2023-07-15T12:00:00Z",
        "receptors": receptors,
        "transport": {"n_hours": -2, "numpar": 20},
        "footprint": {"xmin": -113.0, "xmax": -111.6, "xres": 0.02, "ymin": 40.0, "ymax": 41.0, "yres": 0.02},
        "meteorology": {"directory": str(directory / "meteorology"), "pattern": "%Y%m%d_%H-*_hrrr"},
        **changes,
    }
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def finish(store: Store, name: str, *, empty: bool = False) -> int:
    """Write every part of a scene and its index as a run leaves them, a few rows a receptor; return how many."""
    scene = StoredScene.load(store, name, engine_version(find_hycs_std()))
    key = meteorology_key(scene.spec)
    description = Description(key, "0" * 64, [], [0, 0, 1, 1], 2, 2, ["2023-07-15T00:00Z"], [1.0], "HRRR", [])
    folder = store.folder("meteorology_aggregate")
    folder.write(f"{name}.arl", "written by a benchmark")
    folder.write(f"{name}.json", json.dumps(description.to_dict()))
    particles = Particles(
        {
            "particle": np.ones(2, np.int32),
            "age": np.array([-1, -2], np.int32),
            **{c: np.zeros(2) for c in ("lon", "lat", "zagl", "foot")},
        }
    )
    layers = (Layer(-1, 10, 10, np.ones((3, 3), np.float32)),)
    utc = (Layer(0, 10, 10, np.ones((3, 3), np.float32)),)
    count = 0
    with store.scratch() as scratch:
        for shard, members in scene.batches.items():
            for batch in members:
                path = scratch / "part"
                outcomes = [Outcome(i, n_particles=200, hours_covered=24.0) for i in batch.receptors.ids]
                if empty:
                    _put_empty(scene, batch, outcomes, path)
                    count += 2
                    continue
                writer = ParticleWriter(path, batch.key)
                for outcome in outcomes:
                    writer.add(outcome, to_table(outcome.receptor, particles))
                writer.close()
                scene.trajectories(shard).put(path, f"{batch.name}.parquet", PartSummary.of(batch.key, outcomes, 1, 1))
                made_of = footprint_key(scene.spec, batch.key, batch.receptors.ids)
                ended = simulations_digest((o.receptor, o.status) for o in outcomes)
                grids = FootprintWriter(
                    path, made_of, ended, batch.receptors, scene.spec.footprint, scene.spec.transport.n_hours
                )
                for outcome in outcomes:
                    grids.add(outcome, Footprint(layers, utc, 1.0))
                grids.close()
                summary = PartSummary.of(made_of, outcomes, 1, 0, ended)
                scene.footprints(shard).put(path, f"{batch.name}.nc", summary)
                count += 2
            scene.trajectories(shard).save()
            scene.footprints(shard).save()
    return count


def _put_empty(scene: StoredScene, batch: Batch, outcomes: list[Outcome], path: Path) -> None:
    ended = simulations_digest((o.receptor, o.status) for o in outcomes)
    key = footprint_key(scene.spec, batch.key, batch.receptors.ids)
    path.touch()
    scene.trajectories(batch.shard).put(path, f"{batch.name}.parquet", PartSummary.of(batch.key, outcomes, 1, 1))
    path.touch()
    scene.footprints(batch.shard).put(path, f"{batch.name}.nc", PartSummary.of(key, outcomes, 1, 0, ended))


#: The command line, which says at its end how much memory it held: what wait4 counts begins with that of its parent.
_CLI = """
import atexit, sys
held = lambda: [l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM")][0]
atexit.register(lambda: print(held(), file=sys.stderr))
from stilt_dagster.cli import main
main()
"""


def measure(command: list[str], env: dict[str, str], runs: int = 5) -> tuple[float, float, float]:
    """Return wall time (the median), CPU (the least) and memory (the most) of a command: s, s, MB."""
    walls, cpus, peak = [], [], 0.0
    for _ in range(runs):
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", _CLI, *command],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0, said.decode()
        walls.append(time.monotonic() - start)
        cpus.append(used.ru_utime + used.ru_stime)
        peak = max(peak, int(said.split()[-1]) / 1000)
    return statistics.median(walls), min(cpus), peak


def main() -> None:
    """Run the benchmark."""
    from stilt_dagster_tests.harness.gcs import GcsServer

    with tempfile.TemporaryDirectory(prefix="waiting-") as tmp, GcsServer("waiting") as server:
        directory = Path(tmp)
        make_meteorology(
            directory / "meteorology", "2023-07-15T06:00", 12, (-114.0, 38.8, -110.4, 42.2), Weather(speed=6.0)
        )
        env = {
            **os.environ,
            "STILT_STORE": str(directory / "store"),
            "DAGSTER_HOME": str(directory / "home"),
            "PYTHONWARNINGS": "ignore",
        }
        bucket = {**env, "STILT_STORE": "gs://waiting/store", "STORAGE_EMULATOR_HOST": server.url}
        os.environ["STORAGE_EMULATOR_HOST"] = server.url

        def cli(*command: object, at: dict[str, str] = env) -> None:
            subprocess.run([sys.executable, "-m", "stilt_dagster.cli", *map(str, command)], env=at, check=True)

        points = [{"longitude": round(-112.0 + k / 100, 2), "latitude": 40.5, "height": 5} for k in range(32)]
        cli("scene", "add", spec(directory, "small", {"points": points}))
        cli("scene", "run", "small")
        wide = {"xmin": -113.0, "xmax": -112.01, "xres": 0.01, "ymin": 40.0, "ymax": 40.99, "yres": 0.01}
        long = {"n_hours": -24, "numpar": 200}
        cli("scene", "add", spec(directory, "bucket", {"grid": wide}, transport=long), at=bucket)
        print(f"10,000 receptors in a bucket: {finish(Store('gs://waiting/store'), 'bucket')} parts\n")
        table = "run_time,long,lati,zagl\n" + "".join(
            f"2023-07-15T{9 + k % 3:02d}:{k % 60:02d}:00Z,{-112 + k % 317 / 1000:.3f},{40 + k // 317 / 1000:.3f},5\n"
            for k in range(100_000)
        )
        (directory / "many.csv").write_text(table)
        many = spec(directory, "many", {"file": "many.csv"}, transport=long)
        cli("scene", "add", many)
        finish(Store(env["STILT_STORE"]), "many", empty=True)
        rows: list[tuple[str, list[str], dict[str, str], str]] = [
            ("--version", ["--version"], env, "0.8 s"),
            ("scene list", ["scene", "list"], env, "0.8 s"),
            ("scene show, 32 receptors", ["scene", "show", "small"], env, "0.8 s"),
            ("scene status, 32 receptors", ["scene", "status", "small"], env, "1.5 s"),
            ("scene status, 10,000 receptors in a bucket", ["scene", "status", "bucket"], bucket, "4 s"),
            ("scene run with nothing to do, 32 receptors", ["scene", "run", "small"], env, "4 s"),
            ("scene add, 100,000 receptors from a CSV, again", ["scene", "add", str(many)], env, "3 s, 400 MB"),
            ("scene status, 100,000 receptors", ["scene", "status", "many"], env, "3 s, 400 MB"),
        ]
        print("| | wall, s | CPU, s | MB | bar |\n|---|---|---|---|---|")
        for name, command, where, bar in rows:
            wall, cpu, peak = measure(command, where)
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {bar} |", flush=True)
        size = (directory / "store/scenes/many.json").stat().st_size
        beside = next((directory / "store/scenes").glob("many.*.parquet")).stat().st_size
        print(f"\nspec of 100,000 receptors: {size / 1000:.1f} kB, and beside it {beside / 1e6:.1f} MB")
        load = (
            "import time; import stilt_dagster.automation.scene_sensor\n"
            "from stilt_dagster.resources.store import Store; from stilt_dagster.science import versions\n"
            "begin = time.monotonic(); scene = Store(%r).scene('many'); versions.receptors_version(scene)\n"
            "held = [l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0]\n"
            "print(time.monotonic() - begin, int(held) / 1000)"
        )
        done = subprocess.run(
            [sys.executable, "-c", load % env["STILT_STORE"]], env=env, capture_output=True, text=True, check=True
        )
        seconds, peak = map(float, done.stdout.split())
        print(f"a sensor's look at it: {seconds:.2f} s, {peak:.0f} MB with Dagster and all libraries")


if __name__ == "__main__":
    main()
