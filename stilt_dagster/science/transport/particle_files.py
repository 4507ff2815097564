"""Part files of particles, as Parquet: the tables of a batch's receptors one after the other.

A row group holds a few receptors, so that neither writing nor reading takes more memory than these. The file carries in
its metadata what made it (its ``key``) and one :class:`~stilt_dagster.science.outcomes.Outcome` for every receptor of
the batch, failed ones included.

Where a scene has error runs, a column ``error`` tells their rows from those of receptors' own runs, and they lie in row
groups of their own, each behind that of the same receptors: who asks for particles reads none of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.science.errors import DamagedError
from stilt_dagster.science.files.format_numbers import METADATA_KEY, PARTICLES_FORMAT, require_format
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scratch import Source, size_of
from stilt_dagster.science.transport.effort import Effort
from stilt_dagster.science.transport.particle_tables import as_floats

#: Rows a row group holds at least, unless the batch ends: small simulations share one.
_ROW_GROUP = 250_000


class ParticleWriter:
    """Write the particle tables of a batch to one Parquet file, a row group at a time.

    Parameters
    ----------
    path : Path
        A local file, complete only once :meth:`close` returned.
    key : str
        Hash of what makes the batch.
    engine : str
        Version of the transport engine, for machines that have none.
    """

    def __init__(self, path: Path, key: str, engine: str = "") -> None:
        self._path, self._key, self._engine = path, key, engine
        self.outcomes: list[Outcome] = []
        self.rows = self._groups = 0
        self._pending: tuple[list[pa.Table], list[pa.Table]] = ([], [])
        self._error_groups: list[int] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, outcome: Outcome, table: pa.Table | None, error_table: pa.Table | None = None) -> None:
        """Append the outcome of a receptor and, unless it failed, its table and that of its error run, if any."""
        self.outcomes.append(outcome)
        for pending, new in zip(self._pending, (table, error_table), strict=True):
            if new is not None:
                pending.append(new)
                self.rows += new.num_rows
        if sum(t.num_rows for t in self._pending[0]) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        for pending, of_errors in zip(self._pending, (False, True), strict=True):
            if not pending:
                continue
            table = pa.concat_tables(pending, promote_options="default").unify_dictionaries()
            if self._writer is None:
                self._writer = _open_writer(self._path, table.schema)
            self._writer.write_table(table.select(self._writer.schema.names), row_group_size=table.num_rows)
            if of_errors:
                self._error_groups.append(self._groups)
            self._groups += 1
            pending.clear()

    def close(self, effort: Effort | None = None) -> None:
        """Write what is pending and the metadata; *effort* is what making the file took."""
        self._flush()
        if self._writer is None:  # every receptor failed: the outcomes still need their file
            self._writer = _open_writer(self._path, pa.schema([("receptor", pa.string())]))
        meta = {METADATA_KEY: PARTICLES_FORMAT, "stilt:key": self._key, "stilt:engine": self._engine}
        meta["stilt:outcomes"] = json.dumps([o.to_dict() for o in self.outcomes])
        if effort is not None:
            meta["stilt:effort"] = json.dumps(asdict(effort))
        if self._error_groups:
            meta["stilt:error_groups"] = json.dumps(self._error_groups)
        self._writer.add_key_value_metadata(meta)
        self._writer.close()

    def abort(self) -> None:
        """Close the file without finishing it."""
        if self._writer is not None:
            self._writer.close()


def _open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a writer with the encoding that keeps each kind of column smallest.

    Sorted by particle, positions change little from row to row: integers and decimals as differences, floats with
    their bytes split into streams, and zstd over both.
    """
    encoding = {
        f.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(f.type) else "DELTA_BINARY_PACKED"
        for f in schema
        if f.name not in ("receptor", "error")
    }
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=["receptor"],
        column_encoding=encoding,
        store_decimal_as_integer=True,
        write_page_checksum=True,  # a flipped bit is an error, not another number
        write_statistics=["receptor", "age"],
    )


class ParticleFile:
    """A part file: its key, its engine, its outcomes, and its receptors' particles, a row group at a time.

    Parameters
    ----------
    source : Path or BinaryIO
        The file.

    Raises
    ------
    ValueError
        If the file is not a complete part file.
    FormatError
        If it is of a later format.
    """

    def __init__(self, source: Source) -> None:
        try:
            self._file = pq.ParquetFile(source, memory_map=False, page_checksum_verification=True)
            self._lock = threading.Lock()
            meta = self._file.schema_arrow.metadata or {}
            extra = self._file.metadata.metadata or {}
            require_format(extra.get(METADATA_KEY.encode()), PARTICLES_FORMAT, source)
            self.key: str = (extra.get(b"stilt:key") or meta[b"stilt:key"]).decode()
            outcomes = extra.get(b"stilt:outcomes") or meta[b"stilt:outcomes"]
            self.outcomes = [Outcome.from_dict(row) for row in json.loads(outcomes)]
            self.engine: str = extra.get(b"stilt:engine", b"").decode()  # empty in files made before it was kept
            self.effort = Effort.from_dict(json.loads(extra.get(b"stilt:effort") or "null"))
            of_errors = set(json.loads(extra.get(b"stilt:error_groups") or "[]"))
        except (pa.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
            raise ValueError(f"{source} is not a complete particle file: {error}") from error

        # Each row group of receptors' own runs, and that of their error runs behind it.
        groups = range(self._file.metadata.num_row_groups)
        self._groups = [(g, g + 1 if g + 1 in of_errors else None) for g in groups if g not in of_errors]
        self.size = size_of(source)

    @property
    def columns(self) -> list[str]:
        """Names of the columns its tables have."""
        return [name for name in self._file.schema_arrow.names if name != "error"]

    @property
    def rows(self) -> int:
        """Number of particle rows, those of error runs included."""
        return int(self._file.metadata.num_rows)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Yield each receptor's id and table, in the order written, reading one row group at a time."""
        for group in range(self.n_groups):
            yield from self.tables_of(group, columns)

    @property
    def n_groups(self) -> int:
        """Number of row groups, without those of error runs."""
        return len(self._groups)

    def tables_of(self, group: int, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Yield each receptor's id and table of one row group.

        Raises
        ------
        DamagedError
            If it cannot be read as it was written.
        """
        yield from self._read(self._groups[group][0], self.columns[1:] if columns is None else columns)

    def runs(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table, pa.Table | None]]:
        """Yield each receptor's id, its table, and that of its error run, None where the scene has none.

        As :meth:`tables_of`; without *columns* the tables are as they are stored, with the column ``error``.
        """
        for own, of_errors in self._groups:
            error_tables = repeat(None) if of_errors is None else (t for _, t in self._read(of_errors, columns))
            for (receptor, table), error_table in zip(self._read(own, columns), error_tables, strict=False):
                yield receptor, table, error_table

    def _read(self, group: int, columns: Sequence[str] | None) -> Iterator[tuple[str, pa.Table]]:
        """Yield each receptor's id and table of one row group of the file; all columns without *columns*."""
        wanted = None if columns is None else ["receptor", *columns]
        try:
            with self._lock:  # a reader shared by threads can wait for itself for ever
                table = self._file.read_row_group(group, columns=wanted, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(f"a particle file is damaged inside: {error}") from error
        table = table.combine_chunks()
        column = table.column("receptor").combine_chunks()
        if not isinstance(column, pa.DictionaryArray):
            column = column.dictionary_encode()
        codes = column.indices.to_numpy(zero_copy_only=False)
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        stops = np.r_[starts[1:], len(codes)]
        ids = column.dictionary.to_pylist()
        for start, stop in zip(starts, stops, strict=True):
            yield ids[codes[start]], table.slice(start, stop - start)

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


def read_particles(path: Path | str, *, error: bool = False) -> Any:
    """Read a part file into a pandas DataFrame of floats, one row a particle a minute.

    Parameters
    ----------
    path : Path or str
        The file.
    error : bool
        Read the particles of receptors' error runs, which a scene with ``siguverr`` or ``sigzierr`` has, instead of
        those its footprints are made of.

    Returns
    -------
    pandas.DataFrame
        ``receptor``, ``particle``, ``age`` (minutes), ``lon``, ``lat`` (degrees, as HYSPLIT printed them), ``zagl``,
        ``foot`` and the other columns of the run's ``varsiwant``.

    Raises
    ------
    ValueError
        If it is no complete part file, or error runs are asked of one without.
    """
    part = ParticleFile(Path(path))
    found = [run[2] if error else run[1] for run in part.runs(part.columns[1:])]
    if error and (not found or found[0] is None):
        raise ValueError(f"{path} has no error runs: they come with siguverr or sigzierr of a scene's transport")
    tables = [as_floats(table) for table in found if table is not None]
    return pa.concat_tables(tables).unify_dictionaries().to_pandas()
