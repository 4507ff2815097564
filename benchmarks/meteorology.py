"""What a scene's meteorology costs: bytes, requests, CPU and memory of its aggregate, and what the smaller file saves.

    python -m benchmarks.meteorology                         3.8 GB of files, made first: five minutes
    python -m benchmarks.meteorology --spacing 12            0.6 GB
    python -m benchmarks.meteorology --directory DIR         keep the files there, or use those that are

A scene of 1 x 1 degree and 24 h in the middle of a grid like HRRR's, read from files, from a web server and from an
object server (fake-gcs-server) on loopback, a process each. Beside it what NOAA's ``xtrct_grid`` does to the same
records: unpack each field whole, pack the window anew, with the same compiled codec.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.meteorology.arl.fields import read_records
from stilt_dagster.science.meteorology.arl.packing import repack
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.ensembles import simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.validation import trust_hosts
from stilt_dagster.settings import trusts

#: Runs of the engine that are compared, a receptor each.
RUNS = 3


def scene(place: str, **meteorology: Any) -> Scene:
    """Return the scene, its meteorology in a place."""
    grid = {"xmin": -97.5, "xmax": -96.5, "xres": 0.1, "ymin": 37.0, "ymax": 38.0, "yres": 0.1, "height": 5}
    footprint = {"xmin": -98.0, "xmax": -96.0, "xres": 0.01, "ymin": 36.5, "ymax": 38.5, "yres": 0.01}
    return make_scene(
        {
            "id": "plains",
            "time": "2023-07-15T03:00:00Z",
            "receptors": {"grid": grid},
            "transport": {"n_hours": -24, "numpar": 100},
            "footprint": footprint,
            "meteorology": {"directory": place, "pattern": "%Y%m%d_%H-*_hrrr", **meteorology},
        },
        "benchmark",
    )


def build(place: str, path: Path, **meteorology: Any) -> dict[str, Any]:
    """Build the aggregate here, and return what it took."""
    trust_hosts(trusts)
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    before = used.ru_utime + used.ru_stime
    made = build_aggregate(scene(place, **meteorology), FileArchive(""), path)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime - before,
        "rss": high_water(),
        "written": path.stat().st_size,
        "grid": [made.nx, made.ny, len(made.levels)],
        **made.kept,
    }


def high_water() -> int:
    """Return the most memory this process had; ``ru_maxrss`` is also that of the process it was forked from."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def in_a_process(place: str, path: Path, environment: dict[str, str], **meteorology: Any) -> dict[str, Any]:
    """Build it in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.meteorology", "--child", place, str(path)]
    done = subprocess.run(
        [*command, json.dumps(meteorology)], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def needed(files: list[Path], made: Path) -> dict[str, int]:
    """Return the bytes of the records that the aggregate has of the source: whole, and to its northern row."""
    kept = arl.read_header(made)
    headers = [arl.read_header(path) for path in files]
    wide = headers[0]
    lon, lat = arl.grid_lonlat(kept.grid)
    _, y = wide.grid.fractional_indices(lon[[0, -1], 0], lat[[0, -1], 0])
    south, north = round(float(y[0])), round(float(y[1])) + 1
    records = sum(sum(1 for _ in step.records(kept.record_length)) for step in kept.steps)
    index = sum(len(header.steps) for header in headers) * wide.record_length
    return {
        "records": records * wide.record_length,
        "to the northern row": records * (50 + north * wide.grid.nx),
        "rows": records * (north - south) * wide.grid.nx,
        "index": index,
        "files": sum(path.stat().st_size for path in files),
    }


def as_xtrct_grid(files: list[Path], made: Path) -> float:
    """Return the CPU of unpacking whole the records that the aggregate has and packing their windows anew, s."""
    kept = arl.read_header(made)
    used = time.process_time()
    for path in files:
        header = arl.read_header(path)
        lon, lat = arl.grid_lonlat(kept.grid)
        x, y = header.grid.fractional_indices(lon[0, :1], lat[0, :1])
        x0, y0 = round(float(x[0])), round(float(y[0]))
        window = (x0, x0 + kept.grid.nx, y0, y0 + kept.grid.ny)
        wanted = [
            (step, record)
            for step in header.steps
            if step.time in kept.times
            for record in step.records(header.record_length)
            if record.level < len(kept.levels)
        ]
        for _, _, field in read_records(header, wanted):
            repack([field], window)
    return time.process_time() - used


def engine(files: dict[str, Path], directory: Path) -> None:
    """Print what hycs_std takes with each file, in turn, and how the influence differs."""
    hysplit = Hysplit(scratch=directory)
    spec = scene("/m")
    receptors = [spec.receptor_list[k] for k in np.linspace(0, len(spec.receptor_list) - 1, RUNS).astype(int)]
    took: dict[str, list[float]] = {name: [] for name in files}
    influence: dict[str, list[float]] = {name: [] for name in files}
    escaped: dict[str, float] = dict.fromkeys(files, 0.0)
    for receptor in receptors:
        for name, path in files.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            outcome, table = simulate(receptor, spec.transport, path, hysplit)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert outcome.status == "ok", outcome
            took[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            escaped[name] = max(escaped[name], outcome.escaped_fraction)
            influence[name].append(float(np.sum(table.column("foot").to_numpy())))
    print("\n| meteorology of hycs_std | bytes | CPU s a run | influence of all particles | particles that escaped |")
    print("|---|---|---|---|---|")
    first = influence[next(iter(files))]
    for name, path in files.items():
        off = max(abs(a / b - 1) for a, b in zip(influence[name], first, strict=True))
        cpu = statistics.median(took[name])
        print(f"| {name} | {path.stat().st_size / 1e6:.0f} MB | {cpu:.2f} | within {off:.1e} | {escaped[name]:.1%} |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spacing", type=float, default=4.8)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--child", nargs=3)
    args = parser.parse_args()
    if args.child:
        place, path, meteorology = args.child
        print(json.dumps(build(place, Path(path), **json.loads(meteorology))))
        return
    # Not in the process that is measured.
    from stilt_dagster.resources.gcs import client
    from stilt_dagster_tests.harness.gcs import GcsServer
    from stilt_dagster_tests.harness.web import WebServer

    with tempfile.TemporaryDirectory(prefix="benchmark-") as tmp:
        directory = args.directory or Path(tmp) / "met"
        weather = Weather(speed=8.0, direction=250.0)
        files = make_meteorology(
            directory, "2023-07-14T00:00", 30, (-122.0, 26.0, -72.0, 48.0), weather, spacing_km=args.spacing
        )
        made = Path(tmp) / "aggregate.arl"
        print("| | bytes read | requests | bytes written | CPU s | wall s | RSS, MiB |\n|---|---|---|---|---|---|---|")

        def show(name: str, took: dict[str, Any], sent: int, requests: int | str) -> None:
            print(
                f"| {name} | {sent / 1e6:.0f} MB | {requests} | {took['written'] / 1e6:.0f} MB | {took['cpu']:.1f} | "
                f"{took['wall']:.1f} | {took['rss'] / 2**20:.0f} |",
                flush=True,
            )

        uncached = {"STILT_CACHE_GB": "0"}
        local = in_a_process(str(directory), made, uncached)
        show("files", local, local["bytes_read"], "")
        content = {f"/met/{path.name}": path.read_bytes() for path in files}
        with WebServer(content) as web:
            environment = uncached | {"STILT_TRUSTED_HOSTS": web.host}
            took = in_a_process(f"{web.url}/met", Path(tmp) / "web.arl", environment)
            show("web server", took, web.sent, len(web.requests))
            assert (Path(tmp) / "web.arl").read_bytes() == made.read_bytes()
            web.requests.clear()
            cached = {"STILT_TRUSTED_HOSTS": web.host, "STILT_CACHE": f"{tmp}/cache", "STILT_CACHE_GB": "10"}
            in_a_process(f"{web.url}/met", Path(tmp) / "web.arl", cached)
            web.requests.clear()
            took = in_a_process(f"{web.url}/met", Path(tmp) / "web.arl", cached)
            show("web server, ranges kept by an earlier scene", took, web.sent, len(web.requests))
        del content
        with GcsServer("met") as gcs:
            environment = uncached | {"STORAGE_EMULATOR_HOST": gcs.url}
            os.environ |= environment
            for file in files:
                client().bucket("met").blob(file.name, chunk_size=16 << 20).upload_from_filename(str(file))
            took = in_a_process("gs://met", Path(tmp) / "gcs.arl", environment)
            show("object server", took, took["bytes_read"], "")
            assert (Path(tmp) / "gcs.arl").read_bytes() == made.read_bytes()
        bytes_of = needed(files, made)
        print(f"\n{local['grid']} of the source; {local['crop']}; {local['levels']}")
        print(", ".join(f"{name} {value / 1e6:.0f} MB" for name, value in bytes_of.items()))
        print(f"CPU of unpacking and packing the same records, as xtrct_grid does: {as_xtrct_grid(files, made):.1f} s")
        whole, levels = Path(tmp) / "whole.arl", Path(tmp) / "levels.arl"
        build(str(directory), whole, crop=False)
        build(str(directory), levels, n_levels="all")
        engine({"whole files": whole, "the crop, all levels": levels, "the crop and its levels": made}, Path(tmp))


if __name__ == "__main__":
    main()
