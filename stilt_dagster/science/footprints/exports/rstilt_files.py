"""A scene's results laid out as R STILT lays out its own, for scripts written for that.

::

    footprints/<yyyymmddHHMM_long_lati_zagl>_foot.nc     foot(time, lat, lon)
    particles/<yyyymmddHHMM_long_lati_zagl>_traj.parquet the particle table, R STILT's columns by R STILT's names
    particles/<yyyymmddHHMM_long_lati_zagl>_error.parquet that of the error run, where the scene has one
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5netcdf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.footprints.footprint_files import FOOT_UNITS
from stilt_dagster.science.footprints.footprints import read_part as read_footprints
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import writing
from stilt_dagster.science.transport.particle_files import ParticleFile
from stilt_dagster.science.transport.particle_tables import as_floats
from stilt_dagster.science.transport.particles import COLUMN_NAMES
from stilt_dagster.science.transport.trajectories import read_part as read_trajectories

_R_NAMES = {ours: theirs for theirs, ours in COLUMN_NAMES.items()}


def export_scene(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    trajectories_of: Callable[[str], IndexedFolder],
    footprints_of: Callable[[str], IndexedFolder],
    directory: Path,
) -> int:
    """Write a scene's particles and footprints, a file a receptor, as R STILT names them.

    Parameters
    ----------
    scene : Scene
        The scene.
    shards : mapping of str to sequence of Batch
        Its batches.
    trajectories_of, footprints_of : callable
        The store's folders of a shard.
    directory : Path
        Where to write. As in R STILT, a receptor that failed or feels nothing has no footprint file.

    Returns
    -------
    int
        Receptors that have particles.

    Raises
    ------
    IncompleteError
        Naming the shard that is missing.
    """
    count = 0
    for batch in (b for members in shards.values() for b in members):
        particles = read_trajectories(trajectories_of(batch.shard), batch, whole=True)
        footprints = read_footprints(footprints_of(batch.shard), batch, scene, whole=True)
        if particles is None or footprints is None:
            raise IncompleteError(f"shard {batch.shard} of scene {scene.id} is not done: run the scene first")
        count += _write_particles(particles, directory / "particles")
        for k, (receptor, outcome) in enumerate(zip(batch.receptors, footprints.outcomes, strict=True)):
            if outcome.status == "ok":
                _write_footprint(scene, receptor, footprints.foot(k), directory / "footprints")
        footprints.close()
        particles.close()
    return count


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a name beside *path* to write to, and rename it once it is whole."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        yield part
        os.replace(part, path)


def _write_particles(part: ParticleFile, directory: Path) -> int:
    """Write each receptor's particles, and those of its error run, if any; return how many receptors they are."""
    count = 0
    for receptor, table, error_table in part.runs(part.columns[1:]):
        _write_table(table, directory / f"{receptor}_traj.parquet")
        if error_table is not None:
            _write_table(error_table, directory / f"{receptor}_error.parquet")
        count += 1
    return count


def _write_table(table: pa.Table, path: Path) -> None:
    floats = as_floats(table).drop_columns(["receptor"])
    named = floats.rename_columns([_R_NAMES.get(n, n) for n in floats.column_names])
    with _whole(path) as target:
        pq.write_table(named.cast(pa.schema([(n, pa.float64()) for n in named.column_names])), target)


def _write_footprint(scene: Scene, receptor: Receptor, foot: NDArray[np.float32], directory: Path) -> None:
    """Write one footprint, the earliest hour first, its time the start of each hour (the release, where integrated)."""
    grid = scene.footprint.grid
    released = receptor.time.timestamp()
    hours = np.zeros(1) if scene.footprint.time_integrate else np.arange(-len(foot), 0)
    y, x = ("lat", "lon") if grid.is_longlat else ("y", "x")
    path = directory / f"{receptor.id}_foot.nc"
    image = io.BytesIO()  # HDF5 crashes the process when it meets a full disk
    with h5netcdf.File(image, "w") as file:
        file.dimensions.update({"time": len(foot), y: grid.ny, x: grid.nx})
        file.create_variable("time", ("time",), "f8", data=released + 3600.0 * hours).attrs.update(
            {"units": "seconds since 1970-01-01 00:00:00Z", "standard_name": "time"}
        )
        for name, values, units in ((y, grid.y, "degrees_north"), (x, grid.x, "degrees_east")):
            axis = file.create_variable(name, (name,), "f8", data=values)
            axis.attrs["units"] = units if grid.is_longlat else "m"
        options = {"chunks": (1, grid.ny, grid.nx), "compression": "gzip", "compression_opts": 1}
        variable = file.create_variable("foot", ("time", y, x), "f4", data=foot[::-1], **options)
        variable.attrs.update({"units": FOOT_UNITS, "standard_name": "footprint"})
        file.attrs.update({"crs": scene.footprint.projection, "crs_format": "PROJ.4", "title": "STILT Footprint"})
    with _whole(path) as target:
        target.write_bytes(image.getbuffer())
