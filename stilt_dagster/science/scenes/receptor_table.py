"""Tables of receptors: the one kept beside a spec, and the product, which also holds what a retrieval measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.files.format_numbers import METADATA_KEY, RECEPTORS_FORMAT, require_format
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import Source

#: Columns of a receptor table, with their units.
RECEPTOR_COLUMNS = {
    "receptor": "receptor id",
    "shard": "shard the receptor is simulated in",
    "time": "release time, UTC",
    "longitude": "degrees_east, of the point or the bottom of the column",
    "latitude": "degrees_north, of the point or the bottom of the column",
    "height": "m, of a point; missing for a column",
    "bottom": "m, of a column; missing for a point",
    "top": "m, of a column; missing for a point",
    "longitude_top": "degrees_east, of the top of a slanted column; else missing",
    "latitude_top": "degrees_north, of the top of a slanted column; else missing",
}


def receptor_table(receptors: Receptors) -> pa.Table:
    """Return receptors as a table, in their order, with the columns :data:`RECEPTOR_COLUMNS` and their units."""
    column, slanted = receptors.is_column, receptors.slanted
    (x0, x1), (y0, y1), (z0, z1) = receptors.longitude.T, receptors.latitude.T, receptors.height.T

    def where(which: np.ndarray, values: np.ndarray) -> pa.Array:
        return pa.array(values, pa.float64(), mask=~which)

    arrays = {
        "receptor": pa.array(receptors.ids, pa.string()),
        "shard": pa.array(receptors.shards, pa.string()),
        "time": pa.array(receptors.time.astype("datetime64[us]"), pa.timestamp("us", "UTC")),
        "longitude": pa.array(x0),
        "latitude": pa.array(y0),
        "height": where(~column, z0),
        "bottom": where(column, z0),
        "top": where(column, z1),
        "longitude_top": where(slanted, x1),
        "latitude_top": where(slanted, y1),
    }
    fields = [pa.field(n, arrays[n].type, metadata={"description": text}) for n, text in RECEPTOR_COLUMNS.items()]
    return pa.Table.from_arrays([arrays[f.name] for f in fields], schema=pa.schema(fields))


def receptors_of_table(table: pa.Table) -> Receptors:
    """Return the receptors of a table :func:`receptor_table` made."""

    def column(name: str) -> np.ndarray:
        return np.asarray(table.column(name).to_numpy(), np.float64)

    def or_else(values: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), other, values)

    height, x, y = column("height"), column("longitude"), column("latitude")
    minutes = table.column("time").cast(pa.timestamp("s")).to_numpy().astype("datetime64[m]").astype(np.int64)
    return Receptors(
        minutes,
        np.column_stack([x, or_else(column("longitude_top"), x)]),
        np.column_stack([y, or_else(column("latitude_top"), y)]),
        np.column_stack([or_else(height, column("bottom")), or_else(height, column("top"))]),
        table.column("receptor").to_pylist(),
    )


def write_receptors(receptors: Receptors, path: Path) -> None:
    """Write receptors to a Parquet file."""
    pq.write_table(receptor_table(receptors), path, compression="zstd", write_page_checksum=True)


def read_receptors(source: Source) -> Receptors:
    """Read a file :func:`write_receptors` wrote.

    Raises
    ------
    SceneError
        If it is not one, or is damaged.
    """
    try:
        return receptors_of_table(pq.read_table(source, use_threads=False, page_checksum_verification=True))
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        raise SceneError(f"{source} is not a whole table of receptors: {error}; register the scene again") from error


def stored_receptors(scene: Scene, version: str) -> pa.Table:
    """Return the receptor table of a scene as it is stored.

    Parameters
    ----------
    scene : Scene
        The scene.
    version : str
        What the table is made of.

    Returns
    -------
    pyarrow.Table
        Columns with their units; of a retrieval also those of its soundings, profiles as lists, and in the metadata
        which soundings were selected, and how many each step left.
    """
    made = receptor_table(scene.receptor_list)
    metadata = {METADATA_KEY: RECEPTORS_FORMAT, "stilt:version": version}
    retrieval = scene.receptors.retrieval
    if retrieval is not None:
        soundings = scene.soundings.to_table()
        for f in soundings.schema:
            if f.name not in RECEPTOR_COLUMNS:
                made = made.append_column(f, soundings.column(f.name))
        metadata["stilt:retrieval"] = json.dumps(retrieval.model_dump(mode="json", exclude_none=True))
    return made.replace_schema_metadata(metadata)


def stored_version(source: Source) -> str:
    """Return the version of a stored table, read from its footer; empty, if a program before 0.1 wrote it."""
    metadata = pq.read_schema(source).metadata or {}
    require_format(metadata.get(METADATA_KEY.encode()), RECEPTORS_FORMAT, source)
    return str(metadata.get(b"stilt:version", b"").decode())
