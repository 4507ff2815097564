"""Files of backgrounds: Parquet, a row a receptor, with what made it in its metadata."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.science.scratch import Source


def write_background(table: pa.Table, key: str, path: Path) -> None:
    """Write a background to a Parquet file that knows what made it."""
    pq.write_table(
        table.replace_schema_metadata({"stilt:key": key}), path, compression="zstd", write_page_checksum=True
    )


def read_background(source: Source) -> tuple[pa.Table, str]:
    """Read what :func:`write_background` wrote, and its key.

    Raises
    ------
    ValueError
        If it is not whole.
    """
    try:
        table = pq.read_table(source, use_threads=False, page_checksum_verification=True)
        return table, (table.schema.metadata or {})[b"stilt:key"].decode()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"{source} is not a background: {error}") from error


def background_version_of(source: Source) -> str:
    """Return the version of a stored background, read from its footer."""
    return str((pq.read_schema(source).metadata or {})[b"stilt:key"].decode())
