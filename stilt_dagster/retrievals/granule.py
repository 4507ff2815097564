"""What every product's reader does: follow a table of variables, check units, turn profiles the right way up."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from netCDF4 import Dataset, Variable, num2date
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from stilt_dagster.science.errors import RetrievalError, UnreadableError
from stilt_dagster.science.hdf5_checks import find_hostile_part
from stilt_dagster.science.observations.soundings import POSITION_DECIMALS, Soundings
from stilt_dagster.science.scenes.retrieval_settings import Area
from stilt_dagster.science.validation import Spec, validate

#: A file that declares more is taken for damaged or hostile: nothing of it is read.
MAX_SOUNDINGS, MAX_LEVELS = 20_000_000, 200

#: Most bytes of a file's variables, unpacked: a small file can declare any number of levels that hold nothing.
MAX_BYTES = 4 * 2**30

#: What units a field may have, and what makes ours of them.
_FRACTIONS = {
    "ppm": 1.0, "ppb": 1e-3, "ppt": 1e-6, "1e-9": 1e-3, "1e-09": 1e-3, "1e-6": 1.0, "1e-06": 1.0,
    "mol mol-1": 1e6, "mol/mol": 1e6, "1": 1e6, "parts per billion": 1e-3, "parts per million": 1.0, "nmol mol-1": 1e-3,
    "nmol/mol": 1e-3, "umol mol-1": 1.0, "umol/mol": 1.0, "1e-9 mol mol-1": 1e-3, "1e-6 mol mol-1": 1.0, "ppbv": 1e-3,
    "ppmv": 1.0,
}  # fmt: skip
_PRESSURES = {"pa": 0.01, "hpa": 1.0, "mbar": 1.0, "mb": 1.0, "kpa": 10.0}
_METRES = {"m": 1.0, "metre": 1.0, "meters": 1.0, "meter": 1.0, "km": 1000.0}
_DEGREES = {
    "degree": 1.0, "degrees": 1.0, "deg": 1.0, "degrees_east": 1.0, "degrees_north": 1.0, "degree_east": 1.0,
    "degree_north": 1.0, "radian": 180 / np.pi, "radians": 180 / np.pi, "rad": 180 / np.pi,
}  # fmt: skip
_UNITS: dict[str, dict[str, float]] = {
    "value": _FRACTIONS, "uncertainty": _FRACTIONS, "prior": _FRACTIONS,
    "surface_pressure": _PRESSURES, "pressure": _PRESSURES, "pressure_interval": _PRESSURES,
    "tropopause_pressure": _PRESSURES,
    "surface_altitude": _METRES, "altitude": _METRES,
    "longitude": _DEGREES, "latitude": _DEGREES, "zenith": _DEGREES, "azimuth": _DEGREES,
    "corner_longitude": _DEGREES, "corner_latitude": _DEGREES,
}  # fmt: skip

#: Seconds of each unit of time, by the names CF knows.
_SECONDS = {
    name: seconds
    for seconds, names in (
        (1e-6, "microseconds microsecond microsecs microsec us"),
        (1e-3, "milliseconds millisecond millisecs millisec msecs msec ms"),
        (1.0, "seconds second secs sec s"),
        (60.0, "minutes minute mins min"),
        (3600.0, "hours hour hrs hr h"),
        (86400.0, "days day d"),
    )
    for name in names.split()
}

_Profile = Literal["pressure", "altitude", "averaging_kernel", "prior", "dry_air", "pressure_weight"]


class Table(Spec):
    """Where a product keeps what soundings are made of: paths of variables, such as ``PRODUCT/latitude``.

    The dimensions of ``value`` are the soundings'; other variables have some of these, in any order, and profiles one
    more.
    """

    longitude: str = Field(description="Degrees east, of the centre.")
    latitude: str = Field(description="Degrees north, of the centre.")
    time: str = Field(description="CF time with units, or ISO text.")
    time_offset: str | None = Field(None, description="To be added to time: ms, or what its units say.")
    value: str = Field(description="Column-average dry-air mole fraction.")
    uncertainty: str | None = Field(None, description="Its standard deviation.")
    quality: str | None = Field(None, description="Quality; without, all are 1.")
    quality_is: Literal["fraction", "flag"] = Field(
        "fraction", description="fraction: 0 to 1, good from 0.5; flag: 0 is good."
    )
    surface_pressure: str = Field(description="Pressure at the ground.")
    surface_altitude: str | None = Field(None, description="Height of the ground above sea level.")
    zenith: str | None = Field(None, description="Viewing zenith angle.")
    azimuth: str | None = Field(None, description="Viewing azimuth, clockwise from north, toward the instrument.")
    pressure: str | None = Field(None, description="Pressure of levels, or of the edges of layers, one more.")
    pressure_interval: str | None = Field(None, description="Instead: depth of each of the equal layers.")
    pressure_hybrid: list[tuple[float, float, float]] | None = Field(
        None, max_length=MAX_LEVELS, description="Instead: a, b, c of each edge, a (p_s - p_t) + b p_t + c, hPa."
    )
    tropopause_pressure: str | None = Field(None, description="p_t of pressure_hybrid; p_s is surface_pressure.")
    altitude: str | None = Field(None, description="Heights of pressure, above sea level.")
    averaging_kernel: str | None = Field(
        None, description="Column averaging kernel: a profile, or one number for all layers."
    )
    prior: str | None = Field(
        None, description="Prior: mole fraction, a profile or one number for all layers; or partial columns."
    )
    dry_air: str | None = Field(None, description="Dry air of each layer: makes weights, and fractions of prior.")
    prior_is: Literal["fraction", "partial_column"] = Field("fraction", description="What prior holds.")
    pressure_weight: str | None = Field(None, description="Share of each level of the column, if the product has it.")
    corner_longitude: str | None = Field(None, description="Of the pixel's four corners.")
    corner_latitude: str | None = Field(None, description="Of the pixel's four corners.")
    id: list[str] = Field(default_factory=list, description="Variables that make a sounding's id; its place if none.")
    top_first: bool | list[_Profile] = Field(
        False, description="Whether profiles run from the top of the atmosphere down; or which do."
    )
    units: dict[str, str] = Field(default_factory=dict, description="Units of fields, whatever the file says.")
    repeated: list[Literal["averaging_kernel", "prior"]] = Field(
        default_factory=list, description="Profiles of which the file has one number, for all layers."
    )
    constants: dict[Literal["uncertainty", "averaging_kernel", "prior", "tropopause_pressure"], float] = Field(
        default_factory=dict, description="One value for all soundings and layers, in our units: ppm, 1, or hPa."
    )

    @field_validator("units")
    @classmethod
    def _of_fields(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := value.keys() - _WITH_UNITS:
            raise ValueError(f"{sorted(unknown)[0]} has no units; those of {', '.join(_WITH_UNITS)} can be given")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if twice := [name for name in self.constants if getattr(self, name) is not None]:
            raise ValueError(f"{twice[0]}: name a variable, or give one of constants, not both")
        if self.prior_is == "partial_column" and self.prior is not None and self.dry_air is None:
            raise ValueError("prior_is: partial_column needs dry_air, whose share it is")
        return self


#: Fields whose units a table may say.
_WITH_UNITS = (*_UNITS, "time", "time_offset")


#: Finds what was measured, and the version of its processing, in a file's attributes; its name is a last resort.
Identify = Callable[[Dataset, str, dt.datetime], tuple[str, list[str]]]


@dataclass(frozen=True)
class Product:
    """A product: its table, how its files say what they are, and units of fields whose variables may say none."""

    table: dict[str, Any]
    identify: Identify
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Granule:
    """A retrieval's file, read.

    Attributes
    ----------
    product : str
        The product.
    key : str
        What was measured, such as ``20190530-o08433``: the same for each version of it, whatever the file is called.
    version : list of str
        Stream, collection, processor, time of making; a newer one compares larger.
    soundings : Soundings
        All, or those in the box that was asked for.
    n_read : int
        Soundings with a position there are in the file.
    """

    product: str
    key: str
    version: list[str]
    soundings: Soundings
    n_read: int


def by_start(_: Dataset, name: str, first: dt.datetime) -> tuple[str, list[str]]:
    """Identify a granule by the minute of its first sounding; its version is unknown."""
    return f"{first:%Y%m%dt%H%M}", [""]


def read(path: Path, product: Product, name: str, mapping: Mapping[str, Any], area: Area | None) -> Granule:
    """Read a file as its product's table, with the user's changes, says."""
    given = mapping.get("constants")
    # A value the user gives takes the place of the product's variable.
    replaced = dict.fromkeys(given.keys() & Table.model_fields.keys()) if isinstance(given, Mapping) else {}
    table = validate(Table, {**product.table, **replaced, **mapping}, f"mapping of {name}", RetrievalError)
    with _opened(path) as file:
        return _Reader(file, path.name, table, product.units).granule(product.identify, name, area)


@contextmanager
def _opened(path: Path) -> Iterator[Dataset]:
    """Open a file; what breaks while it is read is said in one line that names it."""
    try:
        if hostile := find_hostile_part(path):
            raise RetrievalError(f"{path.name} is not read: {hostile}")
        with Dataset(path) as file:
            file.set_auto_chartostring(False)  # or dimensions and data of text differ
            yield file
    except (OSError, RuntimeError) as error:
        raise UnreadableError(
            f"{path.name} cannot be read ({' '.join(str(error).split())}): it is damaged, still being written, or no "
            "NetCDF-4 file"
        ) from error
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        raise RetrievalError(f"{path.name} is not what its product's files are: {error}") from error


class _Reader:
    """Reads one file's variables along its soundings."""

    def __init__(self, file: Dataset, name: str, table: Table, units: Mapping[str, str]) -> None:
        self._units = units
        self._file = file
        self._name = name
        self._table = table
        self._bytes = 0
        value = self._variable("value", table.value)
        if not value.dimensions:
            raise RetrievalError(f"{name}: {table.value} (value) is one number, and no soundings")
        sizes = dict(zip(value.dimensions, value.shape, strict=True))
        self._dims = tuple(d for d, n in sizes.items() if n != 1) or value.dimensions[:1]
        self._shape = tuple(sizes[d] for d in self._dims)
        n = int(np.prod([int(s) for s in self._shape], dtype=object))
        if n > MAX_SOUNDINGS:
            raise RetrievalError(f"{name}: {table.value} declares {n} soundings, and at most {MAX_SOUNDINGS} are read")
        self._block = slice(0, self._shape[0])
        self._which: NDArray[np.int64] | None = None

    def _variable(self, field: str, path: str) -> Any:
        try:
            found = self._file[path]
        except (IndexError, KeyError):
            found = None
        if not isinstance(found, Variable):
            raise RetrievalError(
                f"{self._name}: variable {path} ({field}) is missing: it is of another product, or mapping.{field} "
                "must say where it is"
            )
        return found

    def _array(self, field: str, path: str, variable: Any) -> tuple[NDArray[Any], list[str]]:
        """Return a variable along the soundings' dimensions, and what others it has."""
        sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
        others = [d for d, n in sizes.items() if d not in self._dims and n != 1]
        if len(others) > 1 or any(sizes[d] > MAX_LEVELS for d in others):
            raise RetrievalError(
                f"{self._name}: {path} ({field}) has dimensions {sizes}, expected {self._dims} and at most one of "
                f"up to {MAX_LEVELS}"
            )
        wrong = [d for d in self._dims if d in sizes and sizes[d] != self._shape[self._dims.index(d)]]
        if wrong:
            raise RetrievalError(f"{self._name}: {path} ({field}) has another size along {wrong[0]} than the value")
        self._spend(field, path, variable)
        data = variable[tuple(self._block if d == self._dims[0] else slice(None) for d in variable.dimensions)]
        left = [d for d in variable.dimensions if d in self._dims or d in others]
        data = data.reshape([n for d, n in zip(variable.dimensions, data.shape, strict=True) if d in left])
        order = [left.index(d) for d in (*self._dims, *others) if d in left]
        data = data.transpose(order)
        full = [slice(None) if d in left else None for d in self._dims] + [slice(None)] * len(others)
        data = data[tuple(full)]
        rows = (self._block.stop - self._block.start, *self._shape[1:])
        shape = rows + tuple(data.shape[len(rows) :])
        mask = np.ma.getmaskarray(data) if np.ma.isMaskedArray(data) else None
        data = np.broadcast_to(np.ma.getdata(data), shape).reshape(-1, *shape[len(rows) :])
        if mask is not None and mask.any():
            mask = np.broadcast_to(mask, shape).reshape(data.shape)
            if data.dtype.kind in "iu":
                data = data.astype(np.float64)
            data = np.where(mask, np.nan, data) if data.dtype.kind == "f" else data
        return (data if self._which is None else data[self._which]), others

    def _spend(self, field: str, path: str, variable: Any) -> None:
        """Count what reading a variable takes; a chunk is unpacked whole, however little of it is wanted."""
        wanted = [
            self._block.stop - self._block.start if d == self._dims[0] else int(n)
            for d, n in zip(variable.dimensions, variable.shape, strict=True)
        ]
        chunk = variable.chunking()
        item = 64 if variable.dtype is str else np.dtype(variable.dtype).itemsize
        self._count(
            f"{path} ({field})", item * max(math.prod(wanted), math.prod(chunk) if isinstance(chunk, list) else 0)
        )

    def _count(self, what: str, n_bytes: int) -> None:
        """Refuse what takes more memory than any granule should."""
        self._bytes += n_bytes
        if self._bytes > MAX_BYTES:
            raise RetrievalError(
                f"{self._name}: with {what} it takes {self._bytes / 2**30:.1f} GiB, and at most {MAX_BYTES / 2**30:g} "
                "are read: give a smaller area"
            )

    def _numbers(self, field: str, *, profile: bool = False) -> NDArray[Any]:
        """Return a field in our units, profiles surface first; the product's own precision of profiles is kept."""
        path = getattr(self._table, field)
        variable = self._variable(field, path)
        if not hasattr(variable, "dtype") or np.dtype(variable.dtype).kind not in "iuf":
            raise RetrievalError(f"{self._name}: {path} ({field}) holds no numbers")
        data, others = self._array(field, path, variable)
        if profile != bool(others):
            expected = "a profile" if profile else "one number a sounding"
            raise RetrievalError(f"{self._name}: {path} ({field}) must hold {expected}, has {variable.dimensions}")
        if data.dtype.kind != "f":
            data = data.astype(np.float64)
        top_first = self._table.top_first
        if profile and not field.startswith("corner") and (top_first is True or (top_first and field in top_first)):
            data = data[:, ::-1]
        scale = self._scale(field, path, variable)
        return data if scale == 1 else data * data.dtype.type(scale)

    def _scale(self, field: str, path: str, variable: Any) -> float:
        allowed = _UNITS.get(field)
        if field == "prior" and self._table.prior_is == "partial_column":
            allowed = None
        if allowed is None:
            return 1.0
        units = self._table.units.get(field) or str(getattr(variable, "units", "")) or self._units.get(field, "")
        if not units and field.endswith(("longitude", "latitude")):
            units = "degrees"
        scale = allowed.get(units.strip().lower())
        if scale is None:
            raise RetrievalError(
                f"{self._name}: {path} ({field}) has units {units!r}, expected one of {', '.join(allowed)}: mend the "
                f"file, or set mapping.units.{field}"
            )
        return scale

    def _optional(self, field: str, like: NDArray[Any]) -> NDArray[Any]:
        return np.full(like.shape, np.nan) if getattr(self._table, field) is None else self._numbers(field)

    def granule(self, identify: Identify, product: str, area: Area | None) -> Granule:
        """Return the granule."""
        lon, lat = self._numbers("longitude").astype(np.float64), self._numbers("latitude").astype(np.float64)
        # Rounded before they are compared with the area: a float32 of its edge lies beside it.
        lon, lat = (np.round(v, POSITION_DECIMALS) + 0.0 for v in (np.where(lon > 180, lon - 360, lon), lat))
        here = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
        n_read = int(here.sum())
        first = self._first_time(here)
        key, version = identify(self._file, self._name, first)
        wanted = here if area is None else here & area.contains(lon, lat)
        places = np.flatnonzero(wanted)
        row = int(np.prod(self._shape[1:], dtype=np.int64))
        if len(places):
            self._block = slice(int(places[0]) // row, int(places[-1]) // row + 1)
        else:
            self._block = slice(0, min(1, self._shape[0]))
        self._which = places - self._block.start * row
        return Granule(product, key, version, self._soundings(lon[places], lat[places], places), n_read)

    def _soundings(self, lon: NDArray[np.float64], lat: NDArray[np.float64], places: NDArray[np.int64]) -> Soundings:
        t = self._table
        surface_pressure = self._numbers("surface_pressure").astype(np.float64)
        pressure = self._edges(surface_pressure)
        kernel, prior = self._profile("averaging_kernel", len(lon)), self._profile("prior", len(lon))
        dry = None if t.dry_air is None else self._numbers("dry_air", profile=True)
        weight = None if t.pressure_weight is None else self._numbers("pressure_weight", profile=True)
        layers = self._layers(pressure, averaging_kernel=kernel, prior=prior, dry_air=dry, pressure_weight=weight)
        if pressure is None:
            pressure = self._equal_layers(surface_pressure, layers)
        for profile in (kernel, prior):
            self._count("profiles of one number", 8 * len(lon) * layers if profile.shape[1] < layers else 0)
        kernel, prior = (np.repeat(p, layers, axis=1) if p.shape[1] < layers else p for p in (kernel, prior))
        with np.errstate(invalid="ignore", divide="ignore"):
            if dry is not None and t.prior is not None and t.prior_is == "partial_column":
                self._require_same_units("prior", "dry_air")
                prior = prior / dry * dry.dtype.type(1e6)
            if weight is None:
                weight = _weights(pressure, layers) if dry is None else dry / dry.sum(axis=1, keepdims=True)
        quality = self._quality(len(lon))
        corners = t.corner_longitude is not None and t.corner_latitude is not None
        with np.errstate(invalid="ignore"):
            azimuth = np.mod(self._optional("azimuth", lon), 360)
        return Soundings(
            sounding=self._ids(places),
            time=self._times(),
            longitude=lon,
            latitude=lat,
            value=self._numbers("value").astype(np.float64),
            uncertainty=self._uncertainty(len(lon)),
            quality=quality,
            surface_pressure=surface_pressure,
            surface_altitude=self._optional("surface_altitude", lon).astype(np.float64),
            zenith=self._optional("zenith", lon),
            azimuth=azimuth,
            pressure=pressure,
            averaging_kernel=kernel,
            pressure_weight=weight,
            prior=prior,
            altitude=None if t.altitude is None else self._numbers("altitude", profile=True),
            corner_longitude=self._numbers("corner_longitude", profile=True) if corners else None,
            corner_latitude=self._numbers("corner_latitude", profile=True) if corners else None,
        )

    def _profile(self, field: str, n: int) -> NDArray[Any]:
        """Return a profile, or the one number there is for all layers, as one column."""
        path = getattr(self._table, field)
        if path is None:
            return np.full((n, 1), self._constant(field))
        if field in self._table.repeated:
            return self._numbers(field)[:, None]
        return self._numbers(field, profile=True)

    def _layers(self, pressure: NDArray[Any] | None, **profiles: NDArray[Any] | None) -> int:
        """Return how many levels or layers profiles have: all the same, but for those of one number."""
        sizes = {field: p.shape[1] for field, p in profiles.items() if p is not None and p.shape[1] > 1}
        layers = next(iter(sizes.values()), 0)
        for name, size in sizes.items():
            if size != layers:
                raise RetrievalError(
                    f"{self._name}: {getattr(self._table, name)} ({name}) has {size} levels, and {next(iter(sizes))} "
                    f"{layers}: they must be on the same"
                )
        if pressure is None:
            if layers:
                return layers
            raise RetrievalError(
                f"{self._name}: averaging_kernel and prior are one number each: mapping must name pressure or "
                "pressure_hybrid, which tell the layers"
            )
        if layers and pressure.shape[1] - layers not in (0, 1):
            raise RetrievalError(
                f"{self._name}: there are {pressure.shape[1]} levels of pressure, expected {layers}, as many as of "
                f"{next(iter(sizes))}, or {layers + 1}, their edges"
            )
        return layers or pressure.shape[1] - 1

    def _require_same_units(self, *fields: str) -> None:
        """Refuse a quotient of variables in different units."""
        said = {f: str(getattr(self._variable(f, getattr(self._table, f)), "units", "")).strip() for f in fields}
        if len({unit for unit in said.values() if unit}) > 1:
            raise RetrievalError(
                f"{self._name}: {' and '.join(f'{f} has units {u!r}' for f, u in said.items())}, expected the same"
            )

    def _quality(self, n: int) -> NDArray[np.float64]:
        path = self._table.quality
        if path is None:
            return np.ones(n)
        quality = self._numbers("quality").astype(np.float64)
        if self._table.quality_is == "flag":
            return np.where(quality == 0, 1.0, 0.0)
        beyond = quality[(quality < -1e-6) | (quality > 1 + 1e-6)]
        if len(beyond):
            raise RetrievalError(
                f"{self._name}: {path} (quality) holds {beyond[0]:g}, expected 0 to 1: set mapping.quality_is to flag, "
                "if 0 is good, or mapping.quality to null, to take all for good"
            )
        return np.nan_to_num(quality, nan=0.0)

    def _constant(self, field: str) -> float:
        """Return the value that stands for a field of all soundings."""
        try:
            return self._table.constants[field]  # type: ignore[index]
        except KeyError:
            raise RetrievalError(
                f"{self._name}: the product's table does not say where {field} is: name its variable as "
                f"mapping.{field}, or give one value for all as mapping.constants.{field}"
            ) from None

    def _edges(self, surface: NDArray[np.float64]) -> NDArray[Any] | None:
        """Return pressures, if they do not depend on how many layers the kernel has."""
        t = self._table
        if t.pressure is not None:
            return self._numbers("pressure", profile=True)
        if t.pressure_hybrid is None:
            return None
        a, b, c = (np.array(v) for v in zip(*t.pressure_hybrid, strict=True))
        top = np.full(len(surface), t.constants.get("tropopause_pressure", 0.0))
        if t.tropopause_pressure is not None:
            top = self._numbers("tropopause_pressure").astype(np.float64)
        self._count("pressure_hybrid", 8 * len(surface) * len(a))
        return np.asarray(a * (surface - top)[:, None] + b * top[:, None] + c)

    def _equal_layers(self, surface: NDArray[np.float64], layers: int) -> NDArray[np.float32]:
        """Return the edges of equal layers."""
        if self._table.pressure_interval is None:
            raise RetrievalError(f"{self._name}: mapping must name pressure, pressure_interval or pressure_hybrid")
        interval = self._numbers("pressure_interval").astype(np.float64)
        edges = surface[:, None] - interval[:, None] * np.arange(layers + 1)
        # The top edge is the top of the atmosphere but for what single precision loses.
        return np.asarray(np.maximum(edges, 0.0), np.float32)

    def _uncertainty(self, n: int) -> NDArray[np.float64]:
        if self._table.uncertainty is None:
            return np.full(n, self._constant("uncertainty"))
        return self._numbers("uncertainty").astype(np.float64)

    def _words(self, field: str, path: str, variable: Any) -> NDArray[Any]:
        """Return a field that may be text: one number or one string a sounding."""
        data, others = self._array(field, path, variable)
        if others and data.dtype == "S1":  # text as an array of letters
            data = np.ascontiguousarray(data).view(f"S{data.shape[1]}")[:, 0]
        elif others:
            raise RetrievalError(
                f"{self._name}: {path} ({field}) must hold one value a sounding, has {variable.dimensions}"
            )
        return np.char.decode(data, "ascii", "replace") if data.dtype.kind == "S" else data

    def _ids(self, places: NDArray[np.int64]) -> NDArray[np.object_]:
        parts = []
        for path in self._table.id:
            values = self._words("id", path, self._variable("id", path))
            if values.dtype.kind == "f":  # numbers of which some are missing
                parts.append([f"{v:.0f}" if np.isfinite(v) else f"p{k}" for v, k in zip(values, places, strict=True)])
            else:
                parts.append([str(v) for v in values.tolist()])
        ids = ["_".join(p) for p in zip(*parts, strict=True)] if parts else [str(p) for p in places.tolist()]
        return np.array(ids, object)

    def _times(self) -> NDArray[np.datetime64]:
        variable = self._variable("time", self._table.time)
        times = self._decoded(variable, self._words("time", self._table.time, variable))
        path = self._table.time_offset
        if path is None:
            return times
        variable = self._variable("time_offset", path)
        units = self._table.units.get("time_offset") or str(getattr(variable, "units", "")).strip() or "milliseconds"
        seconds = _SECONDS.get(units.split()[0].lower())  # some say since when, which is what time holds
        if seconds is None:
            raise RetrievalError(
                f"{self._name}: {path} (time_offset) has units {units!r}, expected seconds, milliseconds or the like: "
                "set mapping.units.time_offset"
            )
        return _plus(times, self._numbers("time_offset").astype(np.float64) * seconds)

    def _decoded(self, variable: Any, data: NDArray[Any]) -> NDArray[np.datetime64]:
        """Return times as seconds of UTC; what is none is NaT."""
        if data.dtype.kind in "OU":
            text, which = np.unique(data.astype(str), return_inverse=True)
            times = pd.to_datetime(pd.Series(text), errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
            return np.asarray(times.to_numpy("datetime64[s]")[which.ravel()])
        units = self._table.units.get("time") or str(getattr(variable, "units", "")) or self._units.get("time", "")
        calendar = str(getattr(variable, "calendar", "standard")).lower()
        match = re.match(r"\s*(\w+)\s+since\s+(.+)", units)
        try:
            if match is None or calendar not in ("standard", "gregorian", "proleptic_gregorian"):
                raise ValueError
            start = num2date(
                0, f"seconds since {match[2]}", only_use_cftime_datetimes=False, only_use_python_datetimes=True
            )
            seconds = data.astype(np.float64) * _SECONDS[match[1].lower()]
        except (ValueError, KeyError):
            raise RetrievalError(
                f"{self._name}: {self._table.time} (time) has units {units!r}, expected one such as "
                f"'seconds since 1970-01-01', of the standard calendar (its is {calendar}): mend the file, or set "
                "mapping.units.time"
            ) from None
        return _plus(np.full(len(data), np.datetime64(start.replace(tzinfo=None), "s")), seconds)

    def _first_time(self, here: NDArray[np.bool_]) -> dt.datetime:
        """Return when the file's first sounding was made."""
        times = self._times()[here]
        times = times[~np.isnat(times)]
        if not len(times):
            raise RetrievalError(f"{self._name}: {self._table.time} (time) holds no time of a sounding with a position")
        first: dt.datetime = times.min().item()
        if not 1940 <= first.year < 2040:
            raise RetrievalError(f"{self._name}: {self._table.time} (time) begins in {first:%Y-%m-%d}, which cannot be")
        return first


def _plus(times: NDArray[np.datetime64], seconds: NDArray[np.float64]) -> NDArray[np.datetime64]:
    """Return times some seconds later, to the second; NaT, where no number or more than some thousand years."""
    with np.errstate(invalid="ignore"):
        known = np.abs(seconds) < 1e11
    later = times + np.round(np.where(known, seconds, 0.0)).astype("timedelta64[s]")
    return np.where(known, later, np.datetime64("NaT", "s"))


def _weights(pressure: NDArray[Any], levels: int) -> NDArray[np.float64]:
    """Return each level's share of the column by pressure alone: of layers their depth, of levels what lies around."""
    step = -np.diff(np.asarray(pressure, np.float64), axis=1)
    if pressure.shape[1] == levels:
        half = step / 2
        step = np.pad(half, ((0, 0), (1, 0))) + np.pad(half, ((0, 0), (0, 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(step / step.sum(axis=1, keepdims=True))
