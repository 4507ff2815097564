"""The table of a receptor's particles as it is stored: no printed digit is lost, and none is kept that was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.errors import Reason, SimulationFailed
from stilt_dagster.science.transport.particles import COLUMN_ATTRIBUTES, Particles

#: Digits of a decimal that is a 32-bit integer in the file, and of one of 64 bits.
_NARROW, _WIDE = 9, 18

#: Columns without an upper bound: a Lagrangian time scale grows as turbulence vanishes, to days in an evening's calm.
_UNBOUNDED = ("tlgr",)


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
        return pa.decimal128(_WIDE if name in _UNBOUNDED else _NARROW, decimals[name])
    return pa.float64()


def _decimal_array(values: NDArray[np.float64], kind: pa.Decimal128Type) -> pa.Array | None:
    """Return *values* as exact decimals, NaN as null; None where one has more digits than fit."""
    words, known = np.empty((len(values), 2), np.int64), np.empty(len(values), np.bool_)
    if not _fill_decimals(values, 10.0**kind.scale, 10.0**kind.precision, words, known):
        return None
    mask = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(words)])


@kernel()
def _fill_decimals(
    values: NDArray[np.float64],
    unit: float,
    limit: float,
    words: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> bool:
    """Fill in the two words of each decimal, and whether there is one; return whether all are below *limit* units."""
    for n in range(len(values)):
        scaled = np.rint(values[n] * unit)
        known[n] = not np.isnan(scaled)
        if known[n] and abs(scaled) >= limit:
            return False
        units = np.int64(scaled) if known[n] else np.int64(0)
        words[n, 0], words[n, 1] = units, units >> 63
    return True


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


def of_run(table: pa.Table, *, error: bool) -> pa.Table:
    """Return a stored table with the column that tells an error run from a receptor's own."""
    field = pa.field("error", pa.bool_(), metadata={"description": COLUMN_ATTRIBUTES["error"]})
    return table.add_column(1, field, [pa.array(np.full(len(table), error))])


def _doubles(column: pa.Decimal128Array) -> NDArray[np.float64]:
    """Return decimals as the doubles nearest to them: an integer divided by a power of ten, both exact."""
    words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset :: 2][: len(column)]
    values = words / 10.0**column.type.scale
    values[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return np.asarray(values)


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


def as_floats(table: pa.Table) -> pa.Table:
    """Return a stored table with the numbers HYSPLIT printed as the doubles nearest to them."""
    _, _, lon, lat, _ = positions(table)
    for name, values in (("lon", lon), ("lat", lat)):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    for i, f in enumerate(table.schema):
        if pa.types.is_decimal(f.type):
            table = table.set_column(i, f.name, pa.array(_doubles(table.column(i).combine_chunks())))
    return table
