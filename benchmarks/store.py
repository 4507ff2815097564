"""What the store asks of an object store: MB/s of a large file, and requests a part of a whole scene.

    python -m benchmarks.store                    200 MB, and a scene of 36 receptors
    python -m benchmarks.store --megabytes 20 --cells 3

It talks to fake-gcs-server and to moto's S3 on loopback, the scene's requests through a proxy that counts them; all
share the machine with what is measured, so that figures are a floor. What Google's client reads, obstore reads in turn.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import obstore
import pytest
from obstore.store import GCSStore

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.operations.status import scene_status
from stilt_dagster.resources.configurable import TransportEngine
from stilt_dagster.resources.remote.buckets import objects_at
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster_tests.assets.test_runs import Bench
from stilt_dagster_tests.harness.gcs import Call, GcsServer, use
from stilt_dagster_tests.harness.s3 import S3Server
from stilt_dagster_tests.harness.s3 import use as use_s3

KINDS = ("trajectories", "footprints", "jacobian", "meteorology_aggregate", "receptors", "scenes")


def speed(directory: Path, megabytes: int, url: str) -> dict[str, float]:
    """Return MB/s of putting one file in a store, and of getting a copy of it."""
    folder = Store(url).folder("trajectories", "speed", "00")
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


def clients(server: GcsServer, megabytes: int, rounds: int = 3) -> None:
    """Print how long Google's client and obstore take to read one file, in turn, and to read it here and there."""
    size, objects = megabytes * 1_000_000, objects_at("gs://scenes/clients")
    state = objects.write("large", io.BytesIO(os.urandom(size)), size, None)
    store = GCSStore(
        "scenes",
        config={"base_url": server.url, "bearer_token": "none"},  # or it asks the machine's metadata for one
        client_options={"allow_http": True},
    )

    def by_obstore(a: int, b: int) -> bytes:
        options = {"range": (a, b), "version": state.version}
        return obstore.get(store, "clients/large", options=options).bytes().to_bytes()

    readers = {"Google's client": lambda a, b: objects.read("large", state, a, b), "obstore": by_obstore}
    span = 16 << 20
    whole = [(a, min(a + span, size)) for a in range(0, size, span)]
    places = random.Random(1)
    parts = [(a, a + 65536) for a in (places.randrange(size - 65536) for _ in range(300))]
    took: dict[tuple[str, str], list[float]] = {}
    for k in range(rounds):
        for name in list(readers)[:: 1 if k % 2 else -1]:
            for what, spans in (("the whole", whole), ("300 times 64 KiB", parts)):
                start = time.perf_counter()
                with ThreadPoolExecutor(4) as pool:
                    list(pool.map(lambda span, read=readers[name]: len(read(*span)), spans))
                took.setdefault((what, name), []).append(time.perf_counter() - start)
    print("| gs:// read by | Google's client | obstore | ratio |\n|---|---|---|---|")
    for what in ("the whole", "300 times 64 KiB"):
        ours, other = (statistics.median(took[what, name]) for name in readers)
        print(f"| {what} of {megabytes} MB | {ours:.2f} s | {other:.2f} s | {ours / other:.2f} |")
    print()


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
        clients(server, args.megabytes)
        with S3Server() as s3:
            use_s3(patch, s3.url)
            s3.put("scenes")
            for url in ("gs://scenes/speed", "s3://scenes/speed"):
                for name, value in speed(Path(tmp), args.megabytes, url).items():
                    print(f"| {url[:5]} {name} of {args.megabytes} MB | {value:.0f} MB/s |")
        print()
        scene(Path(tmp), server, patch, args.cells)


if __name__ == "__main__":
    main()
