"""Products of many scenes' jacobians, beside scipy's of the same data in memory; prints a table.

    python -m benchmarks.matrix                       100 scenes of 1,000 rows and 1,000,000 columns, 0.4 % dense
    python -m benchmarks.matrix --scenes 10           a tenth of them
    python -m benchmarks.matrix --scenes 10 --bucket  from an object store on loopback, too
    python -m benchmarks.matrix --layouts FILE        a jacobian's entries as they are, and in compressed chunks

3.2 GB are written to TMPDIR and removed. Entries of a row are in patches, as plumes are: an ellipse of cells in each of
25 hours. Times are medians of repeats in which everything takes its turn, so that whatever else the machine does meets
all alike. RSS is the peak of a process that does nothing but open the files and multiply.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from stilt_dagster import open_jacobian
from stilt_dagster.resources.remote.files import RemoteRanges
from stilt_dagster_tests.science.jacobian.files import sample

HOURS, SIDE = 25, 200
GRID = {"xmin": -114.0, "xmax": -112.0, "xres": 0.01, "ymin": 40.0, "ymax": 42.0, "yres": 0.01}


def plumes(rows: int, density: float, rng: np.random.Generator) -> scipy.sparse.csr_matrix:
    """Return rows of patches that drift from hour to hour: what footprints look like."""
    cells = int(density * SIDE * SIDE)
    height = max(int(np.sqrt(cells / 2)), 1)
    width = cells // height
    y = rng.integers(0, SIDE - height, (rows, 1)) + np.zeros((1, HOURS), int)
    x = (rng.integers(0, SIDE - width, (rows, 1)) + 3 * np.arange(HOURS)) % (SIDE - width)
    patch = (np.arange(height)[:, None] * SIDE + np.arange(width)).ravel()
    first = (np.arange(HOURS) * SIDE + y) * SIDE + x
    columns = (first[:, :, None] + patch).reshape(rows, -1)
    data = rng.random(columns.shape, dtype=np.float32) * 1e-3
    indptr = np.arange(0, columns.size + 1, columns.shape[1])
    shape = (rows, HOURS * SIDE * SIDE)
    return scipy.sparse.csr_matrix((data.ravel(), columns.ravel().astype(np.int32), indptr), shape=shape)


def write_scenes(folder: Path, scenes: int, rows: int, density: float) -> list[Path]:
    """Write the jacobians of some scenes."""
    rng = np.random.default_rng(0)
    empty = sample("scene", rows=1, hours=HOURS, grid=GRID, density=0.0)
    return [
        empty.but(scene=f"scene-{k:03}", matrix=plumes(rows, density, rng)).write(folder / f"scene-{k:03}.nc")
        for k in range(scenes)
    ]


def stream(places: list[str], repeats: int) -> dict[str, float]:
    """Open files and multiply; return times, s, memory's peak, MiB, and bytes of object stores a product, GB."""
    fetched: list[int] = []
    read = RemoteRanges.read

    def counting(ranges: RemoteRanges, start: int, stop: int) -> bytes:
        found = read(ranges, start, stop)
        fetched.append(len(found))
        return found

    RemoteRanges.read = counting  # type: ignore[method-assign]
    open_jacobian(places[:1]).matvec(np.zeros(HOURS * SIDE * SIDE))  # compiles
    open_jacobian(places[:1]).without_failed().rmatvec(np.zeros(len(open_jacobian(places[:1]).obs)))
    found: dict[str, list[float]] = {"open": [], "H x": [], "H.T y": []}
    with timed(found["open"]):
        h = open_jacobian(places)
    rng = np.random.default_rng(1)
    x, y = rng.random(h.shape[1]), rng.random(h.shape[0])
    fetched.clear()
    for _ in range(repeats):
        with timed(found["H x"]):
            h.matvec(x)
        with timed(found["H.T y"]):
            h.rmatvec(y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    medians = {name: statistics.median(times) for name, times in found.items()}
    return medians | {"RSS": peak, "fetched": sum(fetched) / (2 * repeats) / 1e9}


def compare(places: list[str], repeats: int) -> dict[str, float]:
    """Time products side by side with scipy's of the same data in memory, and those of coarse cells; s."""
    h = open_jacobian(places)
    single = in_memory(places, h.shape)
    rng = np.random.default_rng(1)
    x, y = rng.random(h.shape[1]), rng.random(h.shape[0])
    assert np.allclose(h.matvec(x), single @ x, rtol=1e-6)
    assert np.allclose(h.rmatvec(y), single.T @ y, rtol=1e-6)
    coarse = h.coarsen(10)
    xc = rng.random(coarse.shape[1])
    double = single.astype(np.float64)
    turns: dict[str, Callable[[], Any]] = {
        "H x": lambda: h.matvec(x),
        "H.T y": lambda: h.rmatvec(y),
        "H x, scipy": lambda: double @ x,
        "H.T y, scipy": lambda: double.T @ y,
        "H x, scipy, as the file is": lambda: single @ x,
        "H.T y, scipy, as the file is": lambda: single.T @ y,
        "coarsen(10)": lambda: h.coarsen(10),
        "coarse H x": lambda: coarse.matvec(xc),
        "coarse H.T y": lambda: coarse.rmatvec(y),
        "coarse to_csr": coarse.to_csr,
    }
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repeats):
        for name, turn in turns.items():
            with timed(found[name]):
                turn()
    sums = coarse.matvec(np.ones(coarse.shape[1]))
    error = float(np.max(np.abs(sums / h.obs.row_sum - 1)))
    return {name: statistics.median(times) for name, times in found.items()} | {"row sums differ by": error}


def in_memory(places: list[str], shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    """Return the same data as scipy has them: all files' hours are the same, so that columns are."""
    ends = [0]
    for place in places:
        with h5py.File(place) as file:
            ends.append(ends[-1] + len(file["data"]))
    data, indices, indptr = np.empty(ends[-1], "f4"), np.empty(ends[-1], "i4"), [np.zeros(1, np.int64)]
    for place, start, stop in zip(places, ends[:-1], ends[1:], strict=True):
        with h5py.File(place) as file:
            file["data"].read_direct(data, dest_sel=np.s_[start:stop])
            file["indices"].read_direct(indices, dest_sel=np.s_[start:stop])
            indptr.append(file["indptr"][1:] + start)
    return scipy.sparse.csr_matrix((data, indices, np.concatenate(indptr).astype("i4")), shape=shape)


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    """Add what a block takes to *times*, s."""
    begin = time.perf_counter()
    yield
    times.append(time.perf_counter() - begin)


def child(what: str, places: list[str], repeats: int) -> dict[str, float]:
    """Run one of the measurements in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.matrix", "--repeats", str(repeats), "--only", what]
    done = subprocess.run(command, input=json.dumps(places), check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def layouts(path: Path, scratch: Path, repeats: int) -> None:
    """Print what the entries of a jacobian take as they are and compressed: bytes, and CPU to write and to read."""
    with h5py.File(path) as file:
        entries = {name: file[name][:] for name in ("indices", "data")}
    count = len(entries["data"])
    chunks = (min(1 << 17, count),)
    for title, how in (
        ("as they are", {}),
        ("gzip 1, shuffled", {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}),
    ):
        written, read = [], []
        for _ in range(repeats):
            begin = time.process_time()
            with h5py.File(scratch / "entries.h5", "w") as file:
                for name, values in entries.items():
                    file.create_dataset(name, data=values, **how)
            written.append(time.process_time() - begin)
            begin = time.process_time()
            with h5py.File(scratch / "entries.h5") as file:
                for name in entries:
                    file[name][:]
            read.append(time.process_time() - begin)
        size = (scratch / "entries.h5").stat().st_size
        write, read_ns = (1e9 * statistics.median(times) / count for times in (written, read))
        print(f"{title:<20} {size / count:.2f} bytes an entry; CPU to write {write:.1f} ns, to read {read_ns:.1f} ns")


@contextmanager
def bucket(files: list[Path]) -> Iterator[list[str]]:
    """Put files into an object store on loopback; give their URLs."""
    from stilt_dagster.resources.remote.buckets import objects_at
    from stilt_dagster_tests.harness.gcs import GcsServer

    with GcsServer("scenes") as server:
        os.environ["STORAGE_EMULATOR_HOST"] = server.url
        objects = objects_at("gs://scenes/jacobian")
        for path in files:
            with path.open("rb") as file:
                objects.write(path.name, file, path.stat().st_size, None)
        yield [f"gs://scenes/jacobian/{path.name}" for path in files]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--density", type=float, default=0.004)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bucket", action="store_true")
    parser.add_argument("--layouts", type=Path, metavar="FILE")
    parser.add_argument("--only", choices=("stream", "compare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        run = {"stream": stream, "compare": compare}[options.only]
        print(json.dumps(run(json.load(sys.stdin), options.repeats)))
        return
    with tempfile.TemporaryDirectory(prefix="matrix-") as scratch:
        if options.layouts:
            layouts(options.layouts, Path(scratch), options.repeats)
            return
        files = write_scenes(Path(scratch), options.scenes, options.rows, options.density)
        size = sum(path.stat().st_size for path in files)
        print(f"{options.scenes} scenes x {options.rows} rows x {HOURS * SIDE * SIDE} columns, {size / 1e9:.2f} GB")
        places = [str(path) for path in files]
        report("from files", child("stream", places, options.repeats))
        report("side by side", child("compare", places, options.repeats))
        if options.bucket:
            with bucket(files) as urls:
                report("from a bucket", child("stream", urls, 2))


def report(title: str, found: dict[str, float]) -> None:
    """Print what was found."""
    print(title)
    for name, value in found.items():
        unit = {"RSS": "MiB", "fetched": "GB", "row sums differ by": ""}.get(name, "s")
        print(f"  {name:<30} {value:10.3g} {unit}" if unit != "s" else f"  {name:<30} {value:10.3f} s")


if __name__ == "__main__":
    main()
