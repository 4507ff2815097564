"""Particles: reading HYSPLIT's text, the near-field correction, and the Parquet files of a batch.

A particle table holds one row a particle a minute, sorted by particle and then by time since release. A part
file holds the tables of a batch's receptors one after the other, a row group at a time, so that neither writing
nor reading it takes more memory than a few receptors do. It carries in its metadata what made it (its ``key``)
and one :class:`Outcome` for every receptor of the batch, failed ones included.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stilt_dagster.science.errors import DamagedError, Reason, SimulationFailed

#: HYSPLIT's names of the columns a particle table names otherwise.
COLUMN_NAMES = {"indx": "particle", "time": "age", "long": "lon", "lati": "lat"}

#: Columns the near-field correction reads.
NEAR_FIELD_COLUMNS = ("dens", "samt", "sigw", "tlgr", "foot", "mlht")

#: Units and meaning of the columns, written into each part file.
COLUMN_ATTRIBUTES = {
    "receptor": "receptor id",
    "particle": "particle number, from 1",
    "age": "minutes since release, negative backward in time",
    "lon": "degrees_east",
    "lat": "degrees_north",
    "zagl": "m above ground",
    "foot": "ppm (umol m-2 s-1)-1, near-field corrected where hnf_plume is on",
    "foot_no_hnf_dilution": "ppm (umol m-2 s-1)-1, as HYSPLIT printed it",
    "xhgt": "release height in the column, m",
    "mlht": "mixing height, m",
    "dens": "air density, kg m-3",
    "pres": "air pressure, hPa",
    "samt": "share of the step below veght, 1",
    "sigw": "standard deviation of vertical velocity, m s-1",
    "tlgr": "Lagrangian timescale, s",
}

_MOLAR_MASS_OF_AIR = 0.02897  # kg mol-1

#: Rows a row group holds at least, unless the batch ends: small simulations share one.
_ROW_GROUP = 250_000


@dataclass
class Outcome:
    """How the simulation of one receptor ended.

    Attributes
    ----------
    receptor : str
        Receptor id.
    status : str
        ``ok`` or ``failed``; of a footprint also ``empty``.
    reason, message, log : str
        Of a failed one: the :class:`Reason`, one line for a person, and the tail of HYSPLIT's log.
    attempts : int
        How often it was tried.
    n_particles : int
        Particles that moved.
    hours_covered : float
        How far back in time the longest-living particle was followed, h.
    escaped_fraction : float
        Share of the particles that left the meteorology's domain before the run's end.
    outside_fraction : float
        Of a footprint: share of the receptor's influence that lies outside the grid.
    """

    receptor: str
    status: str = "ok"
    reason: str = ""
    message: str = ""
    log: str = ""
    attempts: int = 1
    n_particles: int = 0
    hours_covered: float = 0.0
    escaped_fraction: float = 0.0
    outside_fraction: float = 0.0


@dataclass
class Particles:
    """The particle table of one receptor.

    Attributes
    ----------
    columns : dict of str to ndarray
        Equal-length columns by name, sorted by particle, then by time since release.
    decimals : dict of str to int
        Decimals HYSPLIT printed of each column it printed.
    """

    columns: dict[str, NDArray[Any]]
    decimals: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["age"])

    @property
    def n_particles(self) -> int:
        """Number of particles that have a row."""
        return int(np.count_nonzero(np.diff(self.columns["particle"]))) + bool(len(self))

    def coverage(self, n_hours: int) -> tuple[float, float]:
        """Return the hours covered and the share of particles that left the domain before *n_hours*."""
        age = np.abs(self.columns["age"])
        last = age[np.append(np.diff(self.columns["particle"]) != 0, True)]
        # The last step of a run may be printed one time step early.
        return float(age.max()) / 60, float(np.mean(last < abs(n_hours) * 60 - 1))


# -- HYSPLIT's text ------------------------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _parse(text: NDArray[np.uint8], n_columns: int) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Parse white-space separated numbers, skipping the first line.

    Returns the values (columns, rows), the most decimals printed in each column (-1 where one was printed with an
    exponent), and the 1-based line of the first bad row, or 0. A decimal is its digits as an integer divided by a
    power of ten, both exact in binary up to 2^53 and 10^22, so each value is the double nearest to what is printed.
    """
    n_rows = 0
    for byte in text:
        n_rows += byte == 10
    values = np.empty((n_columns, n_rows))
    decimals = np.zeros(n_columns, np.int64)
    i, n = 0, len(text)
    while i < n and text[i] != 10:
        i += 1
    i += 1
    row, line = 0, 2
    while i < n:
        column = 0
        while i < n and text[i] != 10:
            if text[i] == 32 or text[i] == 9 or text[i] == 13:
                i += 1
                continue
            start = i
            negative = text[i] == 45
            if text[i] == 45 or text[i] == 43:
                i += 1
            mantissa, scale, exponent, digits, point = np.int64(0), 0, 0, 0, False
            while i < n and (48 <= text[i] <= 57 or (text[i] == 46 and not point)):
                if text[i] == 46:
                    point = True
                else:
                    if mantissa < 100_000_000_000_000_000:
                        mantissa = mantissa * 10 + (text[i] - 48)
                        scale += point
                    else:
                        exponent += not point
                    digits += 1
                i += 1
            printed = scale
            if digits and i < n and (text[i] == 69 or text[i] == 101 or text[i] == 68 or text[i] == 100):
                i += 1
                down = i < n and text[i] == 45
                if i < n and (text[i] == 45 or text[i] == 43):
                    i += 1
                power = 0
                while i < n and 48 <= text[i] <= 57:
                    power = power * 10 + (text[i] - 48)
                    i += 1
                exponent += -power if down else power
                printed = -1
            if column >= n_columns:
                return values, decimals, line
            if digits and (i == n or text[i] == 32 or text[i] == 10 or text[i] == 13 or text[i] == 9):
                net = exponent - scale
                value = float(mantissa)
                if net < -300:
                    value = 0.0
                elif net < 0:
                    value /= 10.0 ** (-net)
                elif net > 0:
                    value *= 10.0**net
                values[column, row] = -value if negative else value
                if printed < 0 or decimals[column] < 0:
                    decimals[column] = -1
                elif printed > decimals[column]:
                    decimals[column] = printed
            else:
                # Fortran prints stars where a number does not fit its field, and NaN or Infinity by name.
                first = text[start + 1] if negative and start + 1 < n else text[start]
                if not (first == 42 or first == 78 or first == 110 or first == 73 or first == 105):
                    return values, decimals, line
                while i < n and text[i] != 32 and text[i] != 10 and text[i] != 9:
                    i += 1
                values[column, row] = np.nan
            column += 1
        i += 1
        if column:
            if column != n_columns:
                return values, decimals, line
            row += 1
        line += 1
    return values[:, :row], decimals, 0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _by_particle(
    values: NDArray[np.float64], particle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Sort rows by particle, keeping their order otherwise (HYSPLIT writes minute by minute)."""
    n_columns, n_rows = values.shape
    last = int(particle.max())
    start = np.zeros(last + 2, np.int64)
    for p in particle:
        start[int(p) + 1] += 1
    for k in range(1, last + 2):
        start[k] += start[k - 1]
    out = np.empty_like(values)
    number = np.empty(n_rows, np.int32)
    for row in range(n_rows):
        p = int(particle[row])
        to = start[p]
        start[p] = to + 1
        number[to] = p
        for column in range(n_columns):
            out[column, to] = values[column, row]
    return out, number


def parse_particle_dat(path: Path, varsiwant: Sequence[str]) -> Particles:
    """Read HYSPLIT's ``PARTICLE_STILT.DAT``.

    Parameters
    ----------
    path : Path
        The file.
    varsiwant : sequence of str
        Its columns, the ``varsiwant`` of the run, in order.

    Returns
    -------
    Particles
        Sorted by particle; values are the doubles nearest to the printed decimals.

    Raises
    ------
    SimulationFailed
        ``NO_PARTICLE_DATA`` for a missing or empty file, ``HYSPLIT_ERROR`` for a row that cannot be read.
    """
    if not path.exists():
        raise SimulationFailed(Reason.NO_PARTICLE_DATA, "HYSPLIT wrote no particle file")
    values, decimals, bad_line = _parse(np.fromfile(path, np.uint8), len(varsiwant))
    if bad_line:
        raise SimulationFailed(
            Reason.HYSPLIT_ERROR, f"line {bad_line} of {path.name} does not hold the {len(varsiwant)} varsiwant columns"
        )
    if not values.shape[1]:
        raise SimulationFailed(Reason.NO_PARTICLE_DATA, "HYSPLIT wrote no particles")
    names = [COLUMN_NAMES.get(name, name) for name in varsiwant]
    particle = values[names.index("particle")]
    if not np.all(particle >= 1) or particle.max() > 10_000_000:
        raise SimulationFailed(Reason.HYSPLIT_ERROR, f"{path.name} has a particle without a number")
    ordered, number = _by_particle(values, particle)
    columns: dict[str, NDArray[Any]] = dict(zip(names, ordered, strict=True))
    columns["particle"] = number
    if np.array_equal(columns["age"], np.rint(columns["age"])):
        columns["age"] = columns["age"].astype(np.int32)
    return Particles(columns, {n: int(d) for n, d in zip(names, decimals, strict=True) if n not in ("particle", "age")})


# -- near field ----------------------------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _dilute(
    particle: NDArray[np.int32],
    seconds: NDArray[np.float64],
    release: NDArray[np.float64],
    dens: NDArray[np.float64],
    samt: NDArray[np.float64],
    sigw: NDArray[np.float64],
    tlgr: NDArray[np.float64],
    mlht: NDArray[np.float64],
    foot: NDArray[np.float64],
    veght: float,
) -> NDArray[np.float64]:
    out = foot.copy()
    depth = 0.0
    for i in range(len(foot)):
        if i == 0 or particle[i] != particle[i - 1]:
            depth = 0.0
        sigma = (
            samt[i]
            * np.sqrt(2.0)
            * sigw[i]
            * np.sqrt(tlgr[i] * seconds[i] + tlgr[i] ** 2 * np.exp(-seconds[i] / tlgr[i]) - 1.0)
        )
        if np.isnan(sigma):
            continue
        depth += sigma
        plume = release[i] + depth
        if plume < (veght * mlht[i] if veght <= 1 else veght):
            out[i] = _MOLAR_MASS_OF_AIR / (plume * dens[i]) * samt[i] * 60.0
    return out


def correct_near_field(particles: Particles, heights: tuple[float, ...], numpar: int, veght: float) -> Particles:
    """Correct ``foot`` for a plume that is still thinner than the layer its fluxes are mixed into.

    R STILT's ``calc_plume_dilution``: a plume of a depth that grows from the release height with the turbulence
    each particle meets, ``sigma = samt sqrt(2) sigw sqrt(tlgr t + tlgr^2 exp(-t / tlgr) - 1)`` summed along its
    track; while the plume is below ``veght`` times the mixing height (below ``veght`` metres where it is over 1, as
    HYSPLIT reads it), ``foot = 0.02897 / (plume dens) samt 60``.

    Parameters
    ----------
    particles : Particles
        Must have the columns :data:`NEAR_FIELD_COLUMNS`.
    heights : tuple of float
        Release height, or the first and last height of a column: a particle then stands for the middle of its slab
        of ``numpar``, in the order of particle numbers (R STILT's ``xhgt``).
    numpar : int
        Number of particles released.
    veght : float
        STILT's ``veght``.

    Returns
    -------
    Particles
        With the printed values in ``foot_no_hnf_dilution``, and ``xhgt`` for a column.
    """
    c = dict(particles.columns)
    number = c["particle"]
    if len(heights) > 1:
        bottom, top = min(heights), max(heights)
        c["xhgt"] = (number - 0.5) * ((top - bottom) / numpar) + bottom
        release = c["xhgt"]
    else:
        release = np.full(len(number), float(heights[0]))
    foot = _dilute(
        number,
        np.abs(c["age"] * 60.0),
        release,
        *(c[k] for k in ("dens", "samt", "sigw", "tlgr", "mlht", "foot")),
        veght,
    )
    c["foot_no_hnf_dilution"], c["foot"] = c["foot"], foot
    decimals = {**particles.decimals, "foot_no_hnf_dilution": particles.decimals.get("foot", -1)}
    decimals.pop("foot", None)
    return Particles(c, decimals)


# -- part files ----------------------------------------------------------------------------------------------------


def _field(name: str, decimals: Mapping[str, int]) -> pa.DataType:
    """Return how a column is stored so that no printed digit is lost.

    Longitude and latitude with their four decimals fit a float32, and so does the corrected ``foot``, which is
    computed. Other printed columns are kept as decimals: integers in the file, a third the size of doubles.
    """
    if name == "receptor":
        return pa.dictionary(pa.int32(), pa.string())
    if name in ("particle", "age"):
        return pa.int32()
    if name in ("lon", "lat") and 0 <= decimals.get(name, -1) <= 4:
        return pa.float32()
    if name == "foot":
        return pa.float64() if name in decimals else pa.float32()
    if 0 <= decimals.get(name, -1) <= 7:
        return pa.decimal128(9, decimals[name])
    return pa.float64()


def _decimal_array(values: NDArray[np.float64], kind: pa.Decimal128Type) -> pa.Array | None:
    """Return *values* as exact decimals, NaN as null; None where one has more digits than fit."""
    scaled = np.rint(values * 10.0**kind.scale)
    missing = np.isnan(scaled)
    if np.any(np.abs(scaled[~missing]) >= 10.0**kind.precision):
        return None
    units = np.where(missing, 0, scaled).astype(np.int64)
    words = np.empty((len(units), 2), np.int64)
    words[:, 0], words[:, 1] = units, units >> 63
    mask = None if not missing.any() else pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind, len(units), [mask, pa.py_buffer(words)])


def to_table(receptor: str, particles: Particles) -> pa.Table:
    """Return a particle table as it is stored, with a ``receptor`` column first.

    Raises
    ------
    SimulationFailed
        If a number is too large to be stored exactly.
    """
    schema = pa.schema(
        [
            pa.field(n, _field(n, particles.decimals), metadata={"description": COLUMN_ATTRIBUTES.get(n, n)})
            for n in ("receptor", *particles.columns)
        ]
    )
    arrays = []
    for f in schema:
        if f.name == "receptor":
            arrays.append(
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(particles), np.int32)), pa.array([receptor]))
            )
        elif pa.types.is_decimal(f.type):
            column = _decimal_array(particles.columns[f.name], f.type)
            if column is None:
                raise SimulationFailed(Reason.HYSPLIT_ERROR, f"column {f.name} holds a number too large to store")
            arrays.append(column)
        else:
            arrays.append(pa.array(particles.columns[f.name], f.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _doubles(column: pa.Decimal128Array) -> NDArray[np.float64]:
    """Return decimals as the doubles nearest to them: an integer divided by a power of ten, both exact."""
    words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset :: 2][: len(column)]
    values = words / 10.0**column.type.scale
    values[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return np.asarray(values)


class ParticleWriter:
    """Write the particle tables of a batch to one Parquet file, a row group at a time.

    Parameters
    ----------
    path : Path
        A local file, complete only once :meth:`close` returned.
    key : str
        Hash of what makes the batch.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._outcomes: list[dict[str, Any]] = []
        self._pending: list[pa.Table] = []
        self._rows = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, outcome: Outcome, table: pa.Table | None) -> None:
        """Append the outcome of a receptor and, unless it failed, its table."""
        self._outcomes.append(asdict(outcome))
        if table is not None:
            self._pending.append(table)
            self._rows += table.num_rows
            if self._rows >= _ROW_GROUP:
                self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending).unify_dictionaries()
        if self._writer is None:
            self._writer = _open_writer(self._path, table.schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._pending, self._rows = [], 0

    def close(self) -> None:
        """Write what is pending and the metadata."""
        self._flush()
        if self._writer is None:  # every receptor failed: the outcomes still need their file
            self._writer = _open_writer(self._path, pa.schema([("receptor", pa.string())]))
        meta = {"stilt:key": self._key, "stilt:outcomes": json.dumps(self._outcomes)}
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
        if f.name != "receptor"
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


#: A file of this machine, or an open one that may be elsewhere.
Source = Path | BinaryIO


def size_of(source: Source) -> int:
    """Return the size of a file, bytes."""
    return source.stat().st_size if isinstance(source, Path) else source.seek(0, io.SEEK_END)


class ParticleFile:
    """A part file: its key, its outcomes, and its receptors' particles, a row group at a time.

    Parameters
    ----------
    source : Path or BinaryIO
        The file.

    Raises
    ------
    ValueError
        If the file is not a complete part file.
    """

    def __init__(self, source: Source) -> None:
        try:
            self._file = pq.ParquetFile(source, memory_map=False, page_checksum_verification=True)
            self._lock = threading.Lock()
            meta = self._file.schema_arrow.metadata or {}
            extra = self._file.metadata.metadata or {}
            self.key: str = (extra.get(b"stilt:key") or meta[b"stilt:key"]).decode()
            outcomes = extra.get(b"stilt:outcomes") or meta[b"stilt:outcomes"]
            self.outcomes = [Outcome(**row) for row in json.loads(outcomes)]
        except (pa.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
            raise ValueError(f"{source} is not a complete particle file: {error}") from error

        self.size = size_of(source)

    @property
    def rows(self) -> int:
        """Number of particle rows."""
        return int(self._file.metadata.num_rows)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Yield each receptor's id and table, in the order written, reading one row group at a time."""
        for group in range(self.n_groups):
            yield from self.tables_of(group, columns)

    @property
    def n_groups(self) -> int:
        """Number of row groups."""
        return int(self._file.metadata.num_row_groups)

    def tables_of(self, group: int, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Yield each receptor's id and table of one row group.

        Raises
        ------
        DamagedError
            If it cannot be read as it was written.
        """
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


def positions(table: pa.Table) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return ``particle, age, lon, lat, foot`` of a stored table, positions as the decimals HYSPLIT printed."""

    def column(name: str) -> NDArray[Any]:
        return np.asarray(table.column(name).to_numpy())

    lon, lat = column("lon"), column("lat")
    if lon.dtype == np.float32:  # four decimals, which the float32 holds
        lon, lat = np.round(lon.astype(np.float64), 4), np.round(lat.astype(np.float64), 4)
    return column("particle"), column("age"), lon, lat, column("foot").astype(np.float64)


def column_of(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column of a stored table as the doubles nearest to what HYSPLIT printed."""
    column = table.column(name).combine_chunks()
    return _doubles(column) if pa.types.is_decimal(column.type) else np.asarray(column.to_numpy(), np.float64)


def read_particles(path: Path | str) -> Any:
    """Read a part file into a pandas DataFrame of floats, one row a particle a minute.

    Returns
    -------
    pandas.DataFrame
        ``receptor``, ``particle``, ``age`` (minutes), ``lon``, ``lat`` (degrees, as HYSPLIT printed them), ``zagl``,
        ``foot`` and the other columns of the run's ``varsiwant``.
    """
    tables = [as_floats(table) for _, table in ParticleFile(Path(path)).tables()]
    return pa.concat_tables(tables).unify_dictionaries().to_pandas()


def as_floats(table: pa.Table) -> pa.Table:
    """Return a stored table with the numbers HYSPLIT printed as the doubles nearest to them."""
    _, _, lon, lat, _ = positions(table)
    for name, values in (("lon", lon), ("lat", lat)):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    for i, f in enumerate(table.schema):
        if pa.types.is_decimal(f.type):
            table = table.set_column(i, f.name, pa.array(_doubles(table.column(i).combine_chunks())))
    return table
