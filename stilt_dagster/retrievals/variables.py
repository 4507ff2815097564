"""Reading the variables of one file along its soundings: dimensions, missing values, units, and a bound on memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from netCDF4 import Dataset, Variable
from numpy.typing import NDArray

from stilt_dagster.retrievals.table import MAX_LEVELS, UNITS, Table
from stilt_dagster.science.errors import RetrievalError

#: A file that declares more soundings is taken for damaged or hostile: nothing of it is read.
MAX_SOUNDINGS = 20_000_000

#: Most bytes of a file's variables, unpacked: a small file can declare any number of levels that hold nothing.
MAX_BYTES = 4 * 2**30


class Variables:
    """The variables of one file, along its soundings: all of them, or those that are wanted."""

    def __init__(self, file: Dataset, name: str, table: Table, units: Mapping[str, str]) -> None:
        self.default_units = units
        self.file = file
        self.name = name
        self.table = table
        self._bytes = 0
        value = self.variable("value", table.value)
        if not value.dimensions:
            raise RetrievalError(f"{name}: {table.value} (value) is one number, and no soundings")
        sizes = dict(zip(value.dimensions, value.shape, strict=True))
        self._dims = tuple(d for d, n in sizes.items() if n != 1) or value.dimensions[:1]
        self.shape = tuple(sizes[d] for d in self._dims)
        n = int(np.prod([int(s) for s in self.shape], dtype=object))
        if n > MAX_SOUNDINGS:
            raise RetrievalError(f"{name}: {table.value} declares {n} soundings, and at most {MAX_SOUNDINGS} are read")
        self.block = slice(0, self.shape[0])
        self.which: NDArray[np.int64] | None = None

    def variable(self, field: str, path: str) -> Any:
        """Return the file's variable of a field.

        Raises
        ------
        RetrievalError
            If it is missing.
        """
        try:
            found = self.file[path]
        except (IndexError, KeyError):
            found = None
        if not isinstance(found, Variable):
            raise RetrievalError(
                f"{self.name}: variable {path} ({field}) is missing: it is of another product, or mapping.{field} "
                "must say where it is"
            )
        return found

    def array(self, field: str, path: str, variable: Any) -> tuple[NDArray[Any], list[str]]:
        """Return a variable along the soundings' dimensions, and what others it has."""
        sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
        others = [d for d, n in sizes.items() if d not in self._dims and n != 1]
        if len(others) > 1 or any(sizes[d] > MAX_LEVELS for d in others):
            raise RetrievalError(
                f"{self.name}: {path} ({field}) has dimensions {sizes}, expected {self._dims} and at most one of "
                f"up to {MAX_LEVELS}"
            )
        wrong = [d for d in self._dims if d in sizes and sizes[d] != self.shape[self._dims.index(d)]]
        if wrong:
            raise RetrievalError(f"{self.name}: {path} ({field}) has another size along {wrong[0]} than the value")
        self._spend(field, path, variable)
        data = variable[tuple(self.block if d == self._dims[0] else slice(None) for d in variable.dimensions)]
        left = [d for d in variable.dimensions if d in self._dims or d in others]
        data = data.reshape([n for d, n in zip(variable.dimensions, data.shape, strict=True) if d in left])
        order = [left.index(d) for d in (*self._dims, *others) if d in left]
        data = data.transpose(order)
        full = [slice(None) if d in left else None for d in self._dims] + [slice(None)] * len(others)
        data = data[tuple(full)]
        rows = (self.block.stop - self.block.start, *self.shape[1:])
        shape = rows + tuple(data.shape[len(rows) :])
        mask = np.ma.getmaskarray(data) if np.ma.isMaskedArray(data) else None
        data = np.broadcast_to(np.ma.getdata(data), shape).reshape(-1, *shape[len(rows) :])
        if mask is not None and mask.any():
            mask = np.broadcast_to(mask, shape).reshape(data.shape)
            if data.dtype.kind in "iu":
                data = data.astype(np.float64)
            data = np.where(mask, np.nan, data) if data.dtype.kind == "f" else data
        return (data if self.which is None else data[self.which]), others

    def _spend(self, field: str, path: str, variable: Any) -> None:
        """Count what reading a variable takes; a chunk is unpacked whole, however little of it is wanted."""
        wanted = [
            self.block.stop - self.block.start if d == self._dims[0] else int(n)
            for d, n in zip(variable.dimensions, variable.shape, strict=True)
        ]
        chunk = variable.chunking()
        item = 64 if variable.dtype is str else np.dtype(variable.dtype).itemsize
        self.count_bytes(
            f"{path} ({field})", item * max(math.prod(wanted), math.prod(chunk) if isinstance(chunk, list) else 0)
        )

    def count_bytes(self, what: str, n_bytes: int) -> None:
        """Refuse what takes more memory than any granule should."""
        self._bytes += n_bytes
        if self._bytes > MAX_BYTES:
            raise RetrievalError(
                f"{self.name}: with {what} it takes {self._bytes / 2**30:.1f} GiB, and at most {MAX_BYTES / 2**30:g} "
                "are read: give a smaller area"
            )

    def numbers(self, field: str, *, profile: bool = False) -> NDArray[Any]:
        """Return a field in our units, profiles surface first; the product's own precision of profiles is kept."""
        path = getattr(self.table, field)
        variable = self.variable(field, path)
        if not hasattr(variable, "dtype") or np.dtype(variable.dtype).kind not in "iuf":
            raise RetrievalError(f"{self.name}: {path} ({field}) holds no numbers")
        data, others = self.array(field, path, variable)
        if profile != bool(others):
            expected = "a profile" if profile else "one number a sounding"
            raise RetrievalError(f"{self.name}: {path} ({field}) must hold {expected}, has {variable.dimensions}")
        if data.dtype.kind != "f":
            data = data.astype(np.float64)
        top_first = self.table.top_first
        if profile and not field.startswith("corner") and (top_first is True or (top_first and field in top_first)):
            data = data[:, ::-1]
        scale = self._scale(field, path, variable)
        return data if scale == 1 else data * data.dtype.type(scale)

    def _scale(self, field: str, path: str, variable: Any) -> float:
        allowed = UNITS.get(field)
        if field == "prior" and self.table.prior_is == "partial_column":
            allowed = None
        if allowed is None:
            return 1.0
        units = self.table.units.get(field) or str(getattr(variable, "units", "")) or self.default_units.get(field, "")
        if not units and field.endswith(("longitude", "latitude")):
            units = "degrees"
        scale = allowed.get(units.strip().lower())
        if scale is None:
            raise RetrievalError(
                f"{self.name}: {path} ({field}) has units {units!r}, expected one of {', '.join(allowed)}: correct the "
                f"file, or set mapping.units.{field}"
            )
        return scale

    def optional(self, field: str, like: NDArray[Any]) -> NDArray[Any]:
        """Return a field in our units; NaN where the product has none."""
        return np.full(like.shape, np.nan) if getattr(self.table, field) is None else self.numbers(field)

    def words(self, field: str, path: str, variable: Any) -> NDArray[Any]:
        """Return a field that may be text: one number or one string a sounding."""
        data, others = self.array(field, path, variable)
        if others and data.dtype == "S1":  # text as an array of letters
            data = np.ascontiguousarray(data).view(f"S{data.shape[1]}")[:, 0]
        elif others:
            raise RetrievalError(
                f"{self.name}: {path} ({field}) must hold one value a sounding, has {variable.dimensions}"
            )
        return np.char.decode(data, "ascii", "replace") if data.dtype.kind == "S" else data
