"""Soundings: what a satellite retrieved at each of its pixels, as one table whatever the product.

One row a sounding. Profiles run from the surface upward; pressures are hPa, heights m above sea level, mole fractions
ppm, angles degrees, azimuths clockwise from north toward the instrument, times UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stilt_dagster.science.errors import RetrievalError
from stilt_dagster.science.scratch import Source

#: Decimals positions are kept to, about a metre: the ids of receptors carry them.
POSITION_DECIMALS = 5

#: Columns, with their units or meaning.
SOUNDING_COLUMNS = {
    "sounding": "sounding id, of the product",
    "time": "UTC",
    "longitude": "degrees_east, of the pixel's centre",
    "latitude": "degrees_north, of the pixel's centre",
    "value": "column-average dry-air mole fraction, ppm",
    "uncertainty": "one standard deviation of value, ppm",
    "quality": "from 0, not to be used, to 1",
    "surface_pressure": "hPa",
    "surface_altitude": "m above sea level",
    "zenith": "degrees from the vertical, of the line of sight at the ground",
    "azimuth": "degrees clockwise from north, of the line of sight, toward the instrument",
    "pressure": "hPa, surface first: of the levels, or, one more than these, of the edges of layers",
    "altitude": "m above sea level, of pressure",
    "averaging_kernel": "column averaging kernel, surface first, 1",
    "pressure_weight": "share of the dry column, surface first, 1",
    "prior": "prior profile, surface first, ppm",
    "corner_longitude": "degrees_east, of the pixel's corners",
    "corner_latitude": "degrees_north, of the pixel's corners",
    "n_pixels": "pixels that went into the sounding",
    "pixels": "ids of these, where they are several",
}

_PROFILES = ("pressure", "altitude", "averaging_kernel", "pressure_weight", "prior")
_CORNERS = ("corner_longitude", "corner_latitude")

#: What the digests of a table cover: a change of one redoes what is made of it, and no more.
_KERNEL = ("surface_pressure", "surface_altitude", "pressure", "altitude", "averaging_kernel", "pressure_weight")
_OBSERVED = ("value", "uncertainty", "quality", "prior")

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Soundings:
    """A table of soundings.

    Attributes
    ----------
    sounding : ndarray of str
        Ids within the product, shape ``(n,)``, as all that follow unless said otherwise.
    time : ndarray of datetime64[s]
        UTC.
    longitude, latitude : ndarray
        Of the centre, degrees, float64, rounded to :data:`POSITION_DECIMALS`.
    value, uncertainty : ndarray
        Column-average dry-air mole fraction and its standard deviation, ppm.
    quality : ndarray
        0 to 1; what a product calls good is 0.5 and above.
    surface_pressure, surface_altitude : ndarray
        hPa; m above sea level, NaN where the product has none.
    zenith, azimuth : ndarray
        Of the line of sight, degrees; NaN where the product has none.
    pressure : ndarray
        hPa, falling, shape ``(n, levels)`` of a product on levels, or ``(n, levels + 1)``, the edges of layers.
    averaging_kernel, pressure_weight, prior : ndarray
        Shape ``(n, levels)``: 1; share of the dry column, summing to 1; ppm.
    altitude : ndarray, optional
        Heights of *pressure*, m above sea level, same shape.
    corner_longitude, corner_latitude : ndarray, optional
        Degrees, shape ``(n, 4)``.
    n_pixels : ndarray of int
        Pixels that went into each.
    pixels : tuple of tuple of str
        Their ids, where they are aggregated; else empty.
    """

    sounding: NDArray[np.object_]
    time: NDArray[np.datetime64]
    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    value: Floats
    uncertainty: Floats
    quality: Floats
    surface_pressure: Floats
    surface_altitude: Floats
    zenith: Floats
    azimuth: Floats
    pressure: Floats
    averaging_kernel: Floats
    pressure_weight: Floats
    prior: Floats
    altitude: Floats | None = None
    corner_longitude: Floats | None = None
    corner_latitude: Floats | None = None
    n_pixels: NDArray[np.int32] | None = None
    pixels: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        n, levels = len(self), self.averaging_kernel.shape[1]
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray) and len(value) != n:
                raise ValueError(f"{f.name} has {len(value)} rows, and there are {n} soundings")
        if self.pressure.shape[1] not in (levels, levels + 1):
            raise ValueError(f"pressure has {self.pressure.shape[1]} levels for {levels} of the averaging kernel")
        for name in ("pressure_weight", "prior"):
            if getattr(self, name).shape[1] != levels:
                raise ValueError(f"{name} has {getattr(self, name).shape[1]} levels, and the kernel {levels}")
        if self.altitude is not None and self.altitude.shape != self.pressure.shape:
            raise ValueError("altitude and pressure differ in shape")

    def __len__(self) -> int:
        return len(self.sounding)

    @property
    def has_layers(self) -> bool:
        """Whether profiles are of layers, whose edges *pressure* holds."""
        return bool(self.pressure.shape[1] > self.averaging_kernel.shape[1])

    def select(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Self:
        """Return some of the soundings, by a mask, indices, or a slice."""
        indices = np.arange(len(self))[which]
        values: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                values[f.name] = value[indices]
            elif f.name == "pixels" and value:
                values[f.name] = tuple(value[i] for i in indices)
        return type(self)(**values)

    @property
    def is_whole(self) -> NDArray[np.bool_]:
        """Which have all that a receptor and its row need: no number missing, pressures that fall, weights of a column.

        Shape ``(n,)``.
        """
        needed = np.column_stack([self.longitude, self.latitude, self.value, self.uncertainty, self.surface_pressure])
        whole = np.isfinite(needed).all(axis=1) & ~np.isnat(self.time)
        for profile in (self.pressure, self.averaging_kernel, self.pressure_weight, self.prior):
            whole &= np.isfinite(profile).all(axis=1)
        if self.altitude is not None:
            whole &= np.isfinite(self.altitude).all(axis=1)
        with np.errstate(invalid="ignore"):
            whole &= (self.uncertainty >= 0) & (np.diff(self.pressure, axis=1) < 0).all(axis=1)
            whole &= np.abs(self.pressure_weight.sum(axis=1, dtype=np.float64) - 1) < 0.01
        return whole

    def digests(self) -> dict[str, str]:
        """Return hashes of what footprints are weighted with, and of what was observed."""
        return {"kernels": self._digest(_KERNEL), "observations": self._digest(_OBSERVED)}

    def _digest(self, names: Sequence[str]) -> str:
        hashed = hashlib.sha256()
        for name in names:
            value = getattr(self, name)
            if value is not None:
                hashed.update(name.encode())
                hashed.update(np.ascontiguousarray(value, np.float64).data)
        return hashed.hexdigest()[:32]

    # -- files -----------------------------------------------------------------------------------------------------

    def to_table(self) -> pa.Table:
        """Return the soundings as a table, profiles as lists, each column with its unit."""
        arrays, schema = [], []
        for name, meaning in SOUNDING_COLUMNS.items():
            value = getattr(self, name)
            if value is None or (name == "pixels" and not value):
                continue
            if name == "time":
                array = pa.array(value.astype("datetime64[s]"), pa.timestamp("s", "UTC"))
            elif name == "pixels":
                array = pa.array(value, pa.list_(pa.string()))
            elif name in _PROFILES + _CORNERS:
                array = pa.FixedSizeListArray.from_arrays(pa.array(value.ravel()), value.shape[1])
            elif name == "sounding":
                array = pa.array(value, pa.string())
            else:
                array = pa.array(value)
            arrays.append(array)
            schema.append(pa.field(name, array.type, metadata={"description": meaning}))
        return pa.Table.from_arrays(arrays, schema=pa.schema(schema))

    def write(self, path: Path) -> None:
        """Write the soundings to a Parquet file."""
        pq.write_table(self.to_table(), path, compression="zstd", write_page_checksum=True)

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Return the soundings of a table that holds at least the columns :meth:`to_table` makes."""
        values: dict[str, Any] = {}
        for f in fields(cls):
            if f.name not in table.column_names:
                continue
            column = table.column(f.name).combine_chunks()
            if f.name == "pixels":
                values[f.name] = tuple(tuple(ids) for ids in column.to_pylist())
            elif f.name in _PROFILES + _CORNERS:
                values[f.name] = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
            elif f.name == "time":
                values[f.name] = column.cast(pa.timestamp("s")).to_numpy(zero_copy_only=False)
            else:
                values[f.name] = column.to_numpy(zero_copy_only=False)
        return cls(**values)


def read_soundings(source: Source) -> Soundings:
    """Read a file :meth:`Soundings.write` wrote.

    Raises
    ------
    RetrievalError
        If it is not one, or is damaged.
    """
    try:
        return Soundings.from_table(pq.read_table(source, use_threads=False, page_checksum_verification=True))
    except (pa.ArrowException, ValueError, TypeError, OSError) as error:
        raise RetrievalError(
            f"{source} is not a whole table of soundings: {error}; register the scene again"
        ) from error
