"""What the boundary and the maps of a scene take: CPU a receptor, and how far memory rises with receptors.

    python -m benchmarks.boundary

Particles wander from the middle of a grid; nothing is simulated. Each figure of memory has a process of its own.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import h5netcdf
import numpy as np
import pyarrow as pa

from stilt_dagster.resources.folders import Directory
from stilt_dagster.science.batches import plan_batches
from stilt_dagster.science.footprints.exports.cf_files import write_footprints
from stilt_dagster.science.footprints.exports.chosen import sum_footprints
from stilt_dagster.science.footprints.exports.raster_files import write_geotiff
from stilt_dagster.science.footprints.footprint_files import FootprintWriter
from stilt_dagster.science.footprints.gridding import Footprint, Layer
from stilt_dagster.science.jacobian.boundary.writing import write_boundary
from stilt_dagster.science.observations.background_files import BOUNDARY_COLUMNS, BackgroundFile, write_background
from stilt_dagster.science.observations.boundary import Box
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.loading import parse_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.versions import footprint_key

_HEIGHTS = [1000.0 * k for k in range(21)]


def particles(n: int, minutes: int) -> tuple[np.ndarray, ...]:
    """Return numbers, longitudes, latitudes and heights of particles that wander for some minutes."""
    rng = np.random.default_rng(1)
    steps = rng.normal(0, 1, (3, n, minutes)).cumsum(axis=2)
    lon, lat = (-112 + 0.03 * steps[0]).ravel(), (40.5 + 0.02 * steps[1]).ravel()
    return np.repeat(np.arange(1, n + 1), minutes), lon, lat, np.abs(30 * steps[2]).ravel()


def seconds(box: Box, n: int, minutes: int) -> float:
    """Return the CPU seconds of a receptor's boundary, the least of five."""
    table, weights, best = particles(n, minutes), np.full(n, 1 / n), np.inf
    for _ in range(5):
        start = time.process_time()
        box.shares(box.cells(box.exits(*table)), weights)
        best = min(best, time.process_time() - start)
    return float(best)


def scene_of(receptors: int, **changes: object) -> Scene:
    """Return a scene of some receptors."""
    points = [{"longitude": round(-112 + 0.0001 * k, 4), "latitude": 40.5, "height": 10} for k in range(receptors)]
    data = {
        "id": "made-up",
        "time": "2023-07-15T12:00:00Z",
        "receptors": {"points": points},
        "transport": {"n_hours": -24, "numpar": 1000},
        "footprint": {"xmin": -114, "xmax": -110, "xres": 0.01, "ymin": 38.5, "ymax": 42.5, "yres": 0.01},
        "meteorology": {"source": "hrrr"},
        "background": {"boundary": {}},
        **changes,
    }
    return parse_scene(data, "the benchmark's scene", None)


def boundary(receptors: int, path: Path) -> str:
    """Write the background's file and the jacobian's boundary of 500 cells a receptor."""
    scene = scene_of(receptors)
    rng, size = np.random.default_rng(1), Box(scene.footprint.grid, tuple(_HEIGHTS)).size

    def tables() -> Iterator[pa.Table]:
        schema = pa.schema([pa.field("receptor", pa.string()), *BOUNDARY_COLUMNS])
        for receptor in scene.receptor_ids:
            cells = np.unique(rng.integers(0, size, 500)).astype(np.int32)
            shares = rng.dirichlet(np.ones(len(cells))).astype(np.float32)
            row = {"hbc_weight": 1.0, "hbc_inside": 0.0, "boundary_cell": cells, "boundary_share": shares}
            yield pa.Table.from_pylist([{"receptor": receptor, **row}], schema=schema)

    write_background(tables(), "key", path / "background.parquet")
    (path / "scratch").mkdir()
    with h5netcdf.File(path / "jacobian.nc", "w") as file:
        file.dimensions.update({"obs": receptors, "bnds": 2})
        write_boundary(file, path / "jacobian.nc", scene, BackgroundFile(path / "background.parquet"), path / "scratch")
    return f"{(path / 'jacobian.nc').stat().st_size / 1e6:.1f} MB of the jacobian"


def maps(receptors: int, path: Path) -> str:
    """Write the sum and the CF file of receptors of 24 hours on 400 x 400 cells, of which each feels a tenth."""
    scene = scene_of(receptors)
    shards = plan_batches(scene, "meteorology", "engine")
    values = np.random.default_rng(1).uniform(0, 1, (126, 126)).astype(np.float32)
    layers = tuple(Layer(-1 - hour, 130, 130, values) for hour in range(24))
    for shard, batches in shards.items():
        for batch in batches:
            key = footprint_key(scene, batch.key, batch.receptors.ids)
            writer = FootprintWriter(path / "part.nc", key, "", batch.receptors, scene.footprint, -24)
            for receptor in batch.receptors.ids:
                writer.add(Outcome(receptor), Footprint(layers, layers, 1.0))
            writer.close()
            Directory(path / shard).put(path / "part.nc", f"{batch.name}.nc")
    pipe, other = multiprocessing.Pipe(duplex=False)
    read = multiprocessing.get_context("spawn").Process(target=_export, args=(receptors, path, other))
    read.start()
    said: str = pipe.recv()
    read.join()
    return said


def _export(receptors: int, path: Path, pipe: Connection) -> None:
    scene = scene_of(receptors)
    shards = plan_batches(scene, "meteorology", "engine")
    before, start = _held(), time.process_time()

    def folder(shard: str) -> IndexedFolder:
        return IndexedFolder(Directory(path / shard))

    total, _ = sum_footprints(scene, shards, folder, scene.receptor_ids)
    write_geotiff(total, scene.footprint.grid, "sum", {}, path / "sum.tif")
    after, summed = _peak(), time.process_time() - start
    start = time.process_time()
    write_footprints(scene, shards, folder, scene.receptor_ids, path / "all.nc")
    pipe.send(
        f"GeoTIFF {summed:.1f} CPU s, memory rises by {after - before:.0f} MiB; "
        f"CF file {time.process_time() - start:.1f} CPU s, by {_peak() - before:.0f} MiB"
    )


def _peak() -> float:
    """Return the most memory this process held since it was last asked, MiB, and begin anew."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _held() -> float:
    """Return the memory this process holds, MiB, from which it rises."""
    _peak()
    return _peak()


def _measured(make: Callable[[int, Path], str], receptors: int, pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as directory:
        before, start = _held(), time.process_time()
        said = make(receptors, Path(directory))
        pipe.send(f"{time.process_time() - start:.1f} CPU s, memory rises by {_peak() - before:.0f} MiB; {said}")


def main() -> None:
    """Print the figures."""
    grid = Grid(-114, -110, 0.01, 38.5, 42.5, 0.01)
    lambert = Grid(-114, -110, 1000, 38.5, 42.5, 1000, "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=40 +lon_0=-97 +R=6371229")
    for name, of in (("degrees", grid), ("Lambert", lambert)):
        taken = seconds(Box(of, tuple(_HEIGHTS)), 1000, 24 * 60)
        print(f"a receptor of 1000 particles and 24 h, {name}: {taken * 1e3:.0f} ms of CPU", flush=True)
    spawn = multiprocessing.get_context("spawn")
    for make, sizes in ((boundary, (1000, 10_000)), (maps, (50, 200))):
        for receptors in sizes:
            pipe, other = spawn.Pipe(duplex=False)
            child = spawn.Process(target=_measured, args=(make, receptors, other))
            child.start()
            print(f"{make.__name__} of {receptors} receptors: {pipe.recv()}", flush=True)
            child.join()


if __name__ == "__main__":
    main()
