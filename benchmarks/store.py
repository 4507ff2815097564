"""What the store asks of an object store: MB/s of a large file, and requests a part of a whole scene.

    python -m benchmarks.store                    200 MB, and a scene of 36 receptors
    python -m benchmarks.store --megabytes 20 --cells 3

It talks to fake-gcs-server on loopback, the scene's requests through a proxy that counts them; both share the machine
with what is measured, so that figures are a floor.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.operations.status import scene_status
from stilt_dagster.resources.configurable import TransportEngine
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster_tests.assets.test_runs import Bench
from stilt_dagster_tests.harness.gcs import Call, GcsServer, use

KINDS = ("trajectories", "footprints", "jacobian", "meteorology_aggregate", "receptors", "scenes")


def speed(directory: Path, megabytes: int) -> dict[str, float]:
    """Return MB/s of putting one file, and of getting a copy of it."""
    folder = Store("gs://scenes/speed").folder("trajectories", "speed", "00")
    path = directory / "large"
    path.write_bytes(os.urandom(megabytes * 1_000_000))
    took = {}
    start = time.perf_counter()
    folder.put(path, "part-00000.parquet")
    took["put"] = time.perf_counter() - start
    start = time.perf_counter()
    size = folder.open("part-00000.parquet", lambda source: Path(str(source)).stat().st_size, whole=True)
    took["get"] = time.perf_counter() - start
    assert size == megabytes * 1_000_000
    return {name: megabytes / seconds for name, seconds in took.items()}


def kind_of(call: Call) -> str:
    """Return what a request was: its verb in the store's words, and the asset it was for."""
    asset = next((k for k in KINDS if f"{k}%2F" in call.path), "other")
    if call.method == "POST" or call.method == "PUT":
        return f"upload {asset}"
    if call.method == "DELETE":
        return f"delete {asset}"
    if "alt=media" in call.path:
        return f"download {asset}"
    return f"list {asset}" if "delimiter" in call.path else f"look {asset}"


def scene(directory: Path, server: GcsServer, patch: pytest.MonkeyPatch, cells: int) -> None:
    """Run a scene of *cells* by *cells* receptors, and print the requests of each job and of a second run."""
    make_meteorology(
        directory / "met", "2023-07-15T06:00", 12, (-114.0, 38.8, -110.4, 42.2), Weather(speed=6.0, direction=270.0)
    )
    version = TransportEngine().open().version
    with server.proxy() as proxy, dg.instance_for_test() as instance:
        use(patch, proxy)
        bench = Bench(directory, directory / "met", instance, "gs://scenes/scene")
        side = 0.01 * (cells - 1)
        grid = {"xmin": -112.1, "xmax": -112.1 + side, "xres": 0.01, "ymin": 40.4, "ymax": 40.4 + side, "yres": 0.01}
        made = bench.scene(receptors={"grid": grid}, transport={"numpar": 200})
        parts = len({r.shard for r in made.receptor_list})
        print(f"{len(made.receptor_list)} receptors in {parts} parts and 16 shards\n")

        def show(name: str) -> None:
            counts = Counter(kind_of(c) for c in proxy.calls)
            listed = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
            sent, received = (sum(getattr(c, k) for c in proxy.calls) / 1e6 for k in ("sent", "received"))
            print(f"| {name} | {len(proxy.calls)} | {sent:.2f} MB | {received:.2f} MB | {listed} |")
            proxy.calls.clear()

        print("| | requests | sent | received | of them |\n|---|---|---|---|---|")
        proxy.calls.clear()
        for job in ("prepare", "simulate", "assemble"):
            assert bench.run(job, made).success
            show(job)
        assert scene_status(StoredScene.load(bench.store, made.id, version)).is_ready
        show("status")
        assert bench.run("simulate", made).success
        show("simulate again")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--cells", type=int, default=6)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as tmp,
        GcsServer("scenes") as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        use(patch, server)
        for name, value in speed(Path(tmp), args.megabytes).items():
            print(f"| {name} of {args.megabytes} MB | {value:.0f} MB/s |")
        print()
        scene(Path(tmp), server, patch, args.cells)


if __name__ == "__main__":
    main()
