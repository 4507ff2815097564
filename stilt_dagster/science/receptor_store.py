"""The receptor table of a scene as it is stored: releases, and what a retrieval measured there."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.science.particles import Source
from stilt_dagster.science.receptors import RECEPTOR_COLUMNS
from stilt_dagster.science.scene import Scene


def stored_receptors(scene: Scene, table: pd.DataFrame, version: str) -> pa.Table:
    """Return a receptor table as it is stored.

    Parameters
    ----------
    scene : Scene
        The scene.
    table : DataFrame
        Its receptors, as :func:`~stilt_dagster.science.receptors.receptor_table` makes them.
    version : str
        What the table is made of.

    Returns
    -------
    pyarrow.Table
        Columns with their units; of a retrieval also those of its soundings, profiles as lists, and in the metadata
        which soundings were selected, and how many each step left.
    """
    made = pa.Table.from_pandas(table, preserve_index=False)
    made = made.cast(pa.schema([f.with_metadata({"description": RECEPTOR_COLUMNS[f.name]}) for f in made.schema]))
    metadata = {"stilt:version": version}
    retrieval = scene.receptors.retrieval
    if retrieval is not None:
        soundings = scene.soundings.to_table()
        for f in soundings.schema:
            if f.name not in RECEPTOR_COLUMNS:
                made = made.append_column(f, soundings.column(f.name))
        metadata["stilt:retrieval"] = json.dumps(retrieval.model_dump(mode="json", exclude_none=True))
    return made.replace_schema_metadata(metadata)


def stored_version(source: Source) -> tuple[list[str], str]:
    """Return the ids of a stored table, and what it is made of; empty, if an earlier program wrote it."""
    table = pq.read_table(source, columns=["receptor"], use_threads=False)
    return table.column("receptor").to_pylist(), (table.schema.metadata or {}).get(b"stilt:version", b"").decode()
