"""CPU, memory and size of reports: of a jacobian of many entries, and of one of many receptors, both made up.

``python -m benchmarks.report`` prints a row for each. There are no particles to draw: those of three receptors, 200
each over 22 hours, take 0.23 s more.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5netcdf
import numpy as np

from stilt_dagster.operations.products.report import make_report
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.jacobian.jacobian import flux_hours
from stilt_dagster.science.jacobian.jacobian_files import write_matrix
from stilt_dagster.science.jacobian.row_spool import RowSpool
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.loading import make_scene

#: Receptors, and entries of each.
CASES = ((64, 100_000), (640, 100_000), (100_000, 100))


def store_with(root: Path, receptors: int, entries: int) -> StoredScene:
    """Return a scene of 24 h on 600 x 600 cells whose jacobian has entries at random; one in a hundred failed."""
    side = int(np.ceil(np.sqrt(receptors)))
    data = {
        "name": "report",
        "time": "2023-07-15T09:20:00Z",
        "receptors": {
            "grid": {
                "xmin": -112.1, "xmax": -112.1 + 0.001 * (side - 1), "xres": 0.001,
                "ymin": 40.4, "ymax": 40.4 + 0.001 * (side - 1), "yres": 0.001, "height": 5,
            }
        },
        "transport": {"n_hours": -24, "numpar": 200},
        "footprint": {"xmin": -115.0, "xmax": -109.0, "xres": 0.01, "ymin": 38.0, "ymax": 44.0, "yres": 0.01},
        "meteorology": {"source": "hrrr"},
    }  # fmt: skip
    store = Store(str(root))
    store.write_scene(make_scene(data, "benchmark").canonical())
    scene = store.scene("report-20230715t0920")
    grid, (first, hours) = scene.footprint.grid, flux_hours(scene)
    spool, rng = RowSpool(root, hours * grid.ny * grid.nx), np.random.default_rng(0)
    outcomes, sums = [], np.zeros(len(scene.receptor_ids))
    for row, receptor in enumerate(scene.receptor_ids):
        failed = row % 100 == 99
        columns = np.unique(rng.integers(0, hours * grid.ny * grid.nx, 0 if failed else entries))
        values = rng.gamma(1.0, 1e-4, len(columns)).astype(np.float32)
        spool.add(row, columns, values)
        sums[row] = values.sum()
        why = ("failed", "MET_COVERAGE", "the receptor lies outside the meteorology") if failed else ("ok",)
        outcomes.append(Outcome(receptor, *why, n_particles=200, hours_covered=24.0))
    (root / "jacobian").mkdir()
    with h5netcdf.File(root / "jacobian" / f"{scene.id}.nc", "w") as file:
        write_matrix(file, scene, outcomes, spool.close_rows(len(outcomes)), sums, spool, (first, hours))
        file.attrs.update({"stilt_key": "made up", "stilt_version": "made up"})
    return StoredScene(store, scene, "none")


def measure(receptors: int, entries: int) -> None:
    """Print what the second report of a process takes: the first imports bokeh."""
    with tempfile.TemporaryDirectory() as scratch:
        scene = store_with(Path(scratch), receptors, entries)
        make_report(scene)
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        size = len(make_report(scene).html.encode())
        cpu = time.process_time() - start
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"| {receptors:,} | {receptors * entries:,} | {cpu:.2f} | {more:.0f} | {size / 1e6:.2f} |", flush=True)


def main() -> None:
    """Measure each case in a process of its own."""
    if len(sys.argv) > 1:
        measure(*map(int, sys.argv[1:]))
        return
    print("| receptors | entries, about | CPU, s | MiB more | page, MB |\n|---|---|---|---|---|", flush=True)
    for case in CASES:
        subprocess.run([sys.executable, "-m", "benchmarks.report", *map(str, case)], check=True)


if __name__ == "__main__":
    main()
