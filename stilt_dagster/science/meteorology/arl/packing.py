"""Fields as ARL packs them: cut to a window without being packed anew, unpacked, packed.

A record holds a field as differences in steps of one size, ``2**(exponent - 7)``, a byte each (HYSPLIT's ``PAKOUT`` and
``PAKINP``). The first value of a row differs from the first of the row below it, every other one from its neighbour to
the west::

    value(0, j) = value(0, j - 1) + (byte(0, j) - 127) step         value(0, -1) is in the record's header
    value(i, j) = value(i - 1, j) + (byte(i, j) - 127) step

So a window's bytes are the field's own, but for its first column, whose differences are sums of bytes. Its values are
then those of the source, to the seven digits that a header has for a first value, where a field that is unpacked and
packed anew is rounded to steps of another size: winds by up to 0.03 m/s. Rows south of the window are needed for their
first bytes, those north of it are not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from arlmet import GridWindow, calculate_checksum, pack, unpack
from arlmet import Header as RecordHeader
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.grids import Window
from stilt_dagster.science.meteorology.arl.index import RECORD_HEADER

#: Where a record's text has the letters of its grid's thousands.
_THOUSANDS = slice(12, 14)

#: The byte of no difference, and the smallest and the largest difference a byte holds.
_ZERO, _LEAST, _MOST = 127, -127, 128


@dataclass(frozen=True)
class Field:
    """A field as a record holds it, or its southern rows.

    Attributes
    ----------
    header : arlmet.Header
        The record's text.
    data : ndarray of uint8, shape (rows, nx)
        Its bytes.
    raw : bytes, optional
        The record as it was read.
    """

    header: RecordHeader
    data: NDArray[np.uint8]
    raw: bytes | None = None

    @classmethod
    def of(cls, record: bytes, nx: int) -> Field:
        """Return the field of a record's bytes, of as many whole rows as there are.

        Raises
        ------
        ARLFormatError
            If the record's text cannot be read.
        """
        rows = (len(record) - RECORD_HEADER) // nx
        data = np.frombuffer(record, np.uint8, rows * nx, RECORD_HEADER).reshape(rows, nx)
        return cls(RecordHeader.from_bytes(record[:RECORD_HEADER]), data, record)

    @property
    def is_missing(self) -> bool:
        """Whether the record says that it holds nothing: HYSPLIT skips it."""
        return bool(self.header.forecast < 0 or self.header.variable == "NULL")

    @property
    def checksum(self) -> int:
        """Rolling sum of its bytes, as an index record has it; 0 where there is nothing."""
        return 0 if self.is_missing else int(calculate_checksum(self.data.tobytes()))

    @property
    def step(self) -> float:
        """The size of a difference of one."""
        return float(2.0 ** (self.header.exponent - 7))

    def tobytes(self) -> bytes:
        """Return the record."""
        return self.raw or with_thousands(self.header.tobytes()) + self.data.tobytes()


def with_thousands(record: bytes) -> bytes:
    """Return a record with its grid's thousands as HYSPLIT reads them.

    A letter stands for the thousands of columns, another for those of rows: A for 1000. Where the one is a letter the
    other must be ``@`` for none, since HYSPLIT takes the code of both less 64 (found by trying: of ``A9`` it makes
    1053 x -6430 cells); arlmet writes ``9``, which is right where neither is a letter.
    """
    letters = record[_THOUSANDS]
    if letters.count(b"9") != 1:
        return record
    return record[: _THOUSANDS.start] + letters.replace(b"9", b"@") + record[_THOUSANDS.stop :]


def cut(field: Field, window: Window) -> Field | None:
    """Return the window of a field, in the field's own steps.

    Parameters
    ----------
    field : Field
        The field, of the window's northern row at least.
    window : tuple of int
        First and last but one column and row. A window across the seam of a global grid ends beyond its last column.

    Returns
    -------
    Field or None
        None where two rows differ at the window's western edge by more steps than a byte holds.
    """
    x0, x1, y0, y1 = window
    data, nx = field.data, field.data.shape[1]
    if field.is_missing:
        blank = np.full((y1 - y0, x1 - x0), ord(" "), np.uint8)  # as HYSPLIT's pakini.f leaves it
        blank[-1, -1] = 13
        return Field(_on(field.header, blank), blank)
    rows = data[y0:y1]
    first = _steps(data[:y1, 0]).cumsum()[y0:]
    west = first + _sum(rows[:, 1 : x0 + 1])
    made = np.empty((y1 - y0, x1 - x0), np.uint8)
    northward = np.diff(west)
    if x1 <= nx:
        made[:, 1:] = rows[:, x0 + 1 : x1]
        across = northward[:0]
    else:
        made[:, 1 : nx - x0] = rows[:, x0 + 1 :]
        across = first - (west + _sum(rows[:, x0 + 1 :]))
        made[:, nx - x0 + 1 :] = rows[:, 1 : x1 - nx]
    for steps in (northward, across):
        if steps.size and (steps.min() < _LEAST or steps.max() > _MOST):
            return None
    made[0, 0], made[1:, 0] = _ZERO, northward + _ZERO
    if across.size:
        made[:, nx - x0] = across + _ZERO
    value = float(field.header.initial_value) + float(west[0]) * field.step
    return Field(replace(_on(field.header, made), initial_value=value), made)


def _steps(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.asarray(data.astype(np.int64) - _ZERO)


def _sum(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the steps along each row together."""
    return np.asarray(data.sum(axis=1, dtype=np.int64) - _ZERO * data.shape[1])


def _on(header: RecordHeader, data: NDArray[np.uint8]) -> RecordHeader:
    """Return a header for a grid of the size of *data*."""
    ny, nx = data.shape
    return replace(header, grid=(nx // 1000 * 1000, ny // 1000 * 1000))


def values(field: Field, window: Window) -> NDArray[np.float32]:
    """Return the window of a field as HYSPLIT unpacks it, shape ``(ny, nx)``; NaN where it is missing."""
    x0, x1, y0, y1 = window
    rows, nx = field.data.shape
    if field.is_missing:
        return np.full((y1 - y0, x1 - x0), np.nan, np.float32)
    parts = [(x0, min(x1, nx))] + ([(0, x1 - nx)] if x1 > nx else [])
    header = field.header
    unpacked = [
        unpack(
            field.data.tobytes(), nx, rows, header.precision, header.exponent, header.initial_value,
            window=GridWindow(x_start=a, x_stop=b, y_start=y0, y_stop=y1),
        )
        for a, b in parts
    ]  # fmt: skip
    return np.hstack(unpacked) if len(unpacked) > 1 else np.asarray(unpacked[0])


def repack(fields: list[Field], window: Window) -> list[Field]:
    """Return the window of a field and of the differences that belong to it, packed anew.

    Parameters
    ----------
    fields : list of Field
        The field, and its ``DIF`` records: each holds what packing left over of the ones before.
    window : tuple of int
        As in :func:`cut`.
    """
    left = np.sum([values(f, window) for f in fields if not f.is_missing], axis=0, dtype=np.float32)
    made, whole = [], (0, window[1] - window[0], 0, window[3] - window[2])
    for field in fields:
        packed, precision, exponent, initial_value = pack(left)
        header = replace(_on(field.header, packed), precision=precision, exponent=exponent, initial_value=initial_value)
        made.append(Field(header, np.asarray(packed).reshape(left.shape)))
        left = left - values(made[-1], whole)
    return made
