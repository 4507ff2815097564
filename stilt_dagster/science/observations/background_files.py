"""Files of backgrounds: Parquet, a row a receptor, with what made it in its metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.science.files.format_numbers import BACKGROUND_FORMAT, METADATA_KEY, require_format
from stilt_dagster.science.scratch import Source, writing

#: Columns of a scene that names a field: ppm, ppm, and a share.
FIELD_COLUMNS = tuple(pa.field(name, pa.float64()) for name in ("background", "background_sd", "background_sampled"))

#: Columns of a scene that has a boundary: a weight, a share of it, numbers of cells, shares.
BOUNDARY_COLUMNS = (
    pa.field("hbc_weight", pa.float64()),
    pa.field("hbc_inside", pa.float64()),
    pa.field("boundary_cell", pa.list_(pa.int32())),
    pa.field("boundary_share", pa.list_(pa.float32())),
)

#: Receptors of a row group.
_ROW_GROUP = 1024


def write_background(tables: Iterable[pa.Table], key: str, path: Path) -> None:
    """Write tables one below the other to a Parquet file that knows what made it, a row group in memory at a time."""
    writer: pq.ParquetWriter | None = None
    try:
        for group in _gathered(tables):
            with writing(path):
                if writer is None:
                    schema = group.schema.with_metadata({METADATA_KEY: BACKGROUND_FORMAT, "stilt:key": key})
                    writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
                writer.write_table(group.cast(writer.schema), row_group_size=len(group))
    finally:
        if writer is not None:
            with writing(path):
                writer.close()


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables joined until they fill a row group: batches hold a few receptors each."""
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(map(len, pending)) >= _ROW_GROUP:
            yield pa.concat_tables(pending)
            pending = []
    if pending:
        yield pa.concat_tables(pending)


class BackgroundFile:
    """A file of backgrounds.

    Parameters
    ----------
    source : Path or BinaryIO
        The file.

    Raises
    ------
    ValueError
        If it is not whole.
    FormatError
        If it is of a later format.
    """

    def __init__(self, source: Source) -> None:
        try:
            self._file = pq.ParquetFile(source, memory_map=False, page_checksum_verification=True)
            metadata = self._file.schema_arrow.metadata or {}
            require_format(metadata.get(METADATA_KEY.encode()), BACKGROUND_FORMAT, source)
            self.key = metadata[b"stilt:key"].decode()
            self.has_boundary = "boundary_cell" in self._file.schema_arrow.names
            names = [f.name for f in self._file.schema_arrow if not pa.types.is_list(f.type)]
            #: One value a receptor: everything but its cells of the boundary.
            self.columns = self._file.read(names, use_threads=False)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ValueError(f"{source} is not a background: {error}") from error

    def boundary(self) -> Iterator[tuple[str, pa.Array, pa.Array]]:
        """Yield each receptor's id, the cells of the boundary its particles left by, and their shares."""
        for group in range(self._file.metadata.num_row_groups):
            table = self._file.read_row_group(group, ["receptor", "boundary_cell", "boundary_share"], use_threads=False)
            ids, cells, shares = (table.column(name) for name in table.column_names)
            for k, receptor in enumerate(ids.to_pylist()):
                yield receptor, cells[k].values, shares[k].values

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


def background_version_of(source: Source) -> str:
    """Return the version of a stored background, read from its footer."""
    metadata = pq.read_schema(source).metadata or {}
    require_format(metadata.get(METADATA_KEY.encode()), BACKGROUND_FORMAT, source)
    return str(metadata[b"stilt:key"].decode())
