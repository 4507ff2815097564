"""What `stilt-dagster migrate` takes: a store of jacobians with compressed entries; prints a table.

    python -m benchmarks.migrate                20 scenes of 1,000 rows and 1,000,000 columns, 0.4 % dense
    python -m benchmarks.migrate --scenes 4

1 GB is written to TMPDIR and removed. Also what it takes to tell the format of a part file, which each reading does.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np

from benchmarks.matrix import GRID, HOURS, plumes
from stilt_dagster import open_jacobian
from stilt_dagster.operations.migrate.scenes import find_moves
from stilt_dagster.resources.store import Store
from stilt_dagster.science.files.format_numbers import PARTICLES_FORMAT, require_format
from stilt_dagster_tests.science.jacobian.files import sample


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the time and the CPU of this process that something takes, s."""
    start, spent = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    now = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic() - start, now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    scenes = parser.parse_args().scenes
    with tempfile.TemporaryDirectory() as folder:
        store, rng = Store(folder), np.random.default_rng(0)
        empty = sample("scene", rows=1, hours=HOURS, grid=GRID, density=0.0, compressed=True)
        names = [f"scene-{k}" for k in range(scenes)]
        for name in names:
            made = empty.but(scene=name, matrix=plumes(1000, 0.004, rng), attrs={"stilt_key": name})
            made.write(Path(folder, "jacobian", f"{name}.nc"))
        files = [Path(folder, "jacobian", f"{name}.nc") for name in names]

        def product() -> None:
            matrix = open_jacobian(files)
            matrix @ np.ones(matrix.shape[1], np.float32)

        product()
        before, compressed = sum(f.stat().st_size for f in files), seconds(product)
        instance = dg.DagsterInstance.ephemeral()
        moves = list(find_moves(instance, store, names, _no_scene))
        found = seconds(lambda: list(find_moves(instance, store, names, _no_scene)))
        moved = seconds(lambda: [move.apply() for move in moves])
        after, plain = sum(f.stat().st_size for f in files), seconds(product)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    format_seconds, _ = seconds(
        lambda: [require_format(b"stilt-particles/1", PARTICLES_FORMAT, "") for _ in range(10000)]
    )
    print(f"{len(moves)} scenes, {before / 1e6:.0f} MB -> {after / 1e6:.0f} MB")
    for what, (took, cpu) in (
        ("found", found), ("moved and compared", moved), ("product before", compressed), ("product after", plain),
    ):  # fmt: skip
        print(f"{what:20} {took:7.2f} s {cpu:7.2f} s of CPU")
    print(f"{'format told':20} {format_seconds * 100:7.2f} us a file; peak memory {memory:.0f} MB")


def _no_scene(name: str) -> object:
    raise AssertionError(f"{name} has no records")


if __name__ == "__main__":
    main()
