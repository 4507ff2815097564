"""What it takes to write a matrix for inversion codes: seconds, MB of files, and how far memory rises.

    python -m benchmarks.adapters                 1,000 observations of 24 hours on 200 x 200 cells, 0.4 % of entries
    python -m benchmarks.adapters --rows 100

Each code has a process of its own. fips has no gaps and so a coarser matrix: days, cells ten times as wide.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

from stilt_dagster.science.jacobian.adapters.fips import write_operator
from stilt_dagster.science.jacobian.adapters.imi import write_granules
from stilt_dagster.science.jacobian.adapters.openghg.footprints import write_footprints as write_openghg
from stilt_dagster.science.jacobian.adapters.pystilt import write_footprints as write_pystilt
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster_tests.science.jacobian.adapters.matrices import Small, cells_of

CODES = ("openghg", "openghg, time resolved", "pystilt", "imi", "fips")


def made_up(rows: int, n_hours: int, cells: int, density: float) -> Small:
    """Return observations of a day, entries anywhere."""
    grid = Grid(-115.0, -115.0 + 0.05 * cells, 0.05, 35.0, 35.0 + 0.05 * cells, 0.05)
    matrix = scipy.sparse.random(
        rows, n_hours * cells**2, density, format="csr", dtype=np.float32, random_state=np.random.default_rng(1)
    )
    start = np.datetime64("2023-07-01T00", "ns")
    hours = start + np.arange(n_hours + 1).astype("timedelta64[h]")
    place = np.round(-110 + np.arange(rows) / 1000, 3)
    obs = pd.DataFrame(
        {
            "scene": "made-up",
            "time": hours[-1],
            "longitude": place,
            "latitude": 40.0,
            "status": "ok",
            "value": 1.9,
            "uncertainty": 0.01,
            "prior_term": 0.2,
            "background": 1.65,
        },
        index=pd.Index([f"{pd.Timestamp(hours[-1]):%Y%m%d%H%M}_{x}_40_5" for x in place], name="obs_id"),
    )
    return Small(matrix, obs, np.column_stack([hours[:-1], hours[1:]]), cells_of(grid))


def write(code: str, matrix: Small, directory: Path) -> None:
    """Write a matrix for a code."""
    if code.startswith("openghg"):
        write_openghg(matrix, directory / "footprints.nc", time_resolved=code != "openghg")
    elif code == "pystilt":
        write_pystilt(matrix, directory)
    elif code == "imi":
        ny, nx = matrix.cells.shape
        labels = 1 + np.arange(ny)[:, None] // (ny // 10) * 10 + np.arange(nx)[None, :] // (nx // 10)
        write_granules(matrix, directory, prior=np.full(matrix.shape[1], 0.01), state_vector=labels)
    else:
        write_operator(matrix, directory / "h.pkl")


def measure(code: str, size: tuple[int, int, int, float], answer: Connection) -> None:
    """Write a matrix for a code, and send what it took."""
    matrix = made_up(*size)
    with tempfile.TemporaryDirectory() as directory:
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        write(code, matrix, Path(directory))
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        files = sum(p.stat().st_size for p in Path(directory).rglob("*") if p.is_file())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer.send((seconds, cpu, files / 1e6, (after.ru_maxrss - before.ru_maxrss) / 1024))


def main() -> None:
    """Print a line a code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    rows = parser.parse_args().rows
    context = multiprocessing.get_context("spawn")
    print(f"{'code':24}{'matrix':>18}{'s':>8}{'CPU s':>8}{'MB':>8}{'MiB more':>10}")
    for code in CODES:
        size = (rows, 1, 20, 1.0) if code == "fips" else (rows, 24, 200, 0.004)
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(code, size, send))
        process.start()
        seconds, cpu, megabytes, more = receive.recv()
        process.join()
        shape = f"{rows} x {size[1] * size[2] ** 2}"
        print(f"{code:24}{shape:>18}{seconds:8.1f}{cpu:8.1f}{megabytes:8.1f}{more:10.0f}")


if __name__ == "__main__":
    main()
