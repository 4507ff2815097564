"""What every product's reader does: follow a table of variables, check units, turn profiles the right way up."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from netCDF4 import Dataset, num2date
from numpy.typing import NDArray
from pydantic import Field

from stilt_dagster.science.errors import RetrievalError, UnreadableError
from stilt_dagster.science.selection import Area
from stilt_dagster.science.soundings import POSITION_DECIMALS, Soundings
from stilt_dagster.science.spec import Spec, validate

#: A file that declares more is taken for damaged or hostile: nothing of it is read.
MAX_SOUNDINGS, MAX_LEVELS = 20_000_000, 200

#: What units a field may have, and what makes ours of them.
_FRACTIONS = {
    "ppm": 1.0, "ppb": 1e-3, "ppt": 1e-6, "1e-9": 1e-3, "1e-09": 1e-3, "1e-6": 1.0, "1e-06": 1.0,
    "mol mol-1": 1e6, "mol/mol": 1e6, "1": 1e6, "parts per billion": 1e-3, "parts per million": 1.0, "nmol mol-1": 1e-3,
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
    top_first: bool = Field(False, description="Whether profiles run from the top of the atmosphere down.")
    units: dict[str, str] = Field(default_factory=dict, description="Units of fields, whatever the file says.")
    repeated: list[Literal["averaging_kernel", "prior"]] = Field(
        default_factory=list, description="Profiles of which the file has one number, for all layers."
    )
    constants: dict[Literal["uncertainty", "averaging_kernel", "prior"], float] = Field(
        default_factory=dict, description="One value for all soundings and layers, in our units: ppm, or 1."
    )


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
    table = validate(Table, {**product.table, **mapping}, f"mapping of {name}", RetrievalError)
    with _opened(path) as file:
        return _Reader(file, path.name, table, product.units).granule(product.identify, name, area)


@contextmanager
def _opened(path: Path) -> Iterator[Dataset]:
    """Open a file; what breaks while it is read is said in one line that names it."""
    try:
        with Dataset(path) as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise UnreadableError(
            f"{path.name} cannot be read ({' '.join(str(error).split())}): it is damaged, still being written, or no "
            "NetCDF-4 file"
        ) from error
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise RetrievalError(f"{path.name} is not what its product's files are: {error}") from error


class _Reader:
    """Reads one file's variables along its soundings."""

    def __init__(self, file: Dataset, name: str, table: Table, units: Mapping[str, str]) -> None:
        self._units = units
        self._file = file
        self._name = name
        self._table = table
        value = self._variable("value", table.value)
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
            return self._file[path]
        except (IndexError, KeyError):
            raise RetrievalError(
                f"{self._name}: variable {path} ({field}) is missing: it is of another product, or mapping.{field} "
                "must say where it is"
            ) from None

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
        if profile and self._table.top_first and not field.startswith("corner"):
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
        lon = np.where(lon > 180, lon - 360, lon)
        here = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
        n_read = int(here.sum())
        first = self._first_time(here)
        key, version = identify(self._file, self._name, first)
        wanted = here
        if area is not None:
            west, south, east, north = area.box
            wanted = here & Area(xmin=west, xmax=east, ymin=south, ymax=north).contains(lon, lat)
        places = np.flatnonzero(wanted)
        row = int(np.prod(self._shape[1:], dtype=np.int64))
        if len(places):
            self._block = slice(int(places[0]) // row, int(places[-1]) // row + 1)
        else:
            self._block = slice(0, min(1, self._shape[0]))
        self._which = places - self._block.start * row
        position = (np.round(v[places], POSITION_DECIMALS) + 0.0 for v in (lon, lat))
        return Granule(product, key, version, self._soundings(*position, places), n_read)

    def _soundings(self, lon: NDArray[np.float64], lat: NDArray[np.float64], places: NDArray[np.int64]) -> Soundings:
        t = self._table
        surface_pressure = self._numbers("surface_pressure").astype(np.float64)
        pressure = self._edges(surface_pressure)
        kernel = self._profile("averaging_kernel", pressure, len(lon))
        if pressure is None:
            pressure = self._layers(surface_pressure, kernel.shape[1])
        prior = self._profile("prior", pressure, len(lon))
        if t.dry_air is not None:
            dry = self._numbers("dry_air", profile=True)
            with np.errstate(invalid="ignore", divide="ignore"):
                weight = dry / dry.sum(axis=1, keepdims=True)
                prior = prior / dry * dry.dtype.type(1e6) if t.prior_is == "partial_column" else prior
        elif t.pressure_weight is not None:
            weight = self._numbers("pressure_weight", profile=True)
        else:
            weight = _weights(pressure, kernel.shape[1])
        quality = np.ones(len(lon)) if t.quality is None else self._numbers("quality").astype(np.float64)
        if t.quality is not None and t.quality_is == "flag":
            quality = np.where(quality == 0, 1.0, 0.0)
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
            quality=np.nan_to_num(quality, nan=0.0),
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

    def _profile(self, field: str, edges: NDArray[Any] | None, n: int) -> NDArray[Any]:
        """Return a profile; one number for all layers is repeated."""
        path = getattr(self._table, field)
        if path is not None:
            if field not in self._table.repeated:
                return self._numbers(field, profile=True)
            single = self._numbers(field)
        elif field in self._table.constants:
            single = np.full(n, self._table.constants[field])  # type: ignore[index]
        else:
            raise self._unnamed(field)
        if edges is None:
            raise RetrievalError(f"{self._name}: mapping.constants.{field} needs pressure or pressure_hybrid")
        return np.repeat(single[:, None], edges.shape[1] - 1, axis=1)

    def _unnamed(self, field: str) -> RetrievalError:
        return RetrievalError(
            f"{self._name}: the product's table does not say where {field} is: name its variable as mapping.{field}, "
            f"or give one value for all as mapping.constants.{field}"
        )

    def _edges(self, surface: NDArray[np.float64]) -> NDArray[Any] | None:
        """Return pressures, if they do not depend on how many layers the kernel has."""
        t = self._table
        if t.pressure is not None:
            return self._numbers("pressure", profile=True)
        if t.pressure_hybrid is None:
            return None
        a, b, c = (np.array(v) for v in zip(*t.pressure_hybrid, strict=True))
        top = (
            self._numbers("tropopause_pressure").astype(np.float64) if t.tropopause_pressure else np.zeros(len(surface))
        )
        return a * (surface - top)[:, None] + b * top[:, None] + c

    def _layers(self, surface: NDArray[np.float64], layers: int) -> NDArray[np.float32]:
        """Return the edges of equal layers."""
        if self._table.pressure_interval is None:
            raise RetrievalError(f"{self._name}: mapping must name pressure, pressure_interval or pressure_hybrid")
        interval = self._numbers("pressure_interval").astype(np.float64)
        edges = surface[:, None] - interval[:, None] * np.arange(layers + 1)
        # The top edge is the top of the atmosphere but for what single precision loses.
        return np.asarray(np.maximum(edges, 0.0), np.float32)

    def _uncertainty(self, n: int) -> NDArray[np.float64]:
        if self._table.uncertainty is not None:
            return self._numbers("uncertainty").astype(np.float64)
        if "uncertainty" not in self._table.constants:
            raise self._unnamed("uncertainty")
        return np.full(n, self._table.constants["uncertainty"])

    def _ids(self, places: NDArray[np.int64]) -> NDArray[np.object_]:
        parts = []
        for path in self._table.id:
            data, _ = self._array("id", path, self._variable("id", path))
            parts.append([str(int(v)) if isinstance(v, float) else str(v) for v in data.tolist()])
        ids = ["_".join(p) for p in zip(*parts, strict=True)] if parts else [str(p) for p in places.tolist()]
        return np.array(ids, object)

    def _times(self) -> NDArray[np.datetime64]:
        variable = self._variable("time", self._table.time)
        data, _ = self._array("time", self._table.time, variable)
        times = self._decoded(variable, data)
        if self._table.time_offset is not None:
            offset_variable = self._variable("time_offset", self._table.time_offset)
            offset, _ = self._array("time_offset", self._table.time_offset, offset_variable)
            scale = 1.0 if str(getattr(offset_variable, "units", "milliseconds")).lower().startswith("s") else 1e-3
            seconds = np.nan_to_num(offset.astype(np.float64) * scale, nan=0.0)
            times = times + np.round(seconds).astype("timedelta64[s]")
        return times

    def _decoded(self, variable: Any, data: NDArray[Any]) -> NDArray[np.datetime64]:
        """Return times as seconds of UTC; what is none is NaT."""
        if data.dtype.kind in "OUS":
            text, which = np.unique(data.astype(str), return_inverse=True)
            times = pd.to_datetime(pd.Series(text), errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
            return np.asarray(times.to_numpy("datetime64[s]")[which.ravel()])
        units = self._table.units.get("time") or str(getattr(variable, "units", "")) or self._units.get("time", "")
        match = re.match(r"(\w+) since ", units)
        if match is None:
            raise RetrievalError(
                f"{self._name}: {self._table.time} (time) has units {units!r}, expected one such as "
                "'seconds since 1970-01-01': mend the file, or set mapping.units.time"
            )
        start = num2date(0, units, only_use_cftime_datetimes=False, only_use_python_datetimes=True)
        per = {"m": 60.0, "h": 3600.0, "d": 86400.0, "s": 1.0}[match[1].lower()[0]]
        per = 1e-3 if match[1].lower().startswith(("milli", "ms")) else per
        data = data.astype(np.float64) * per
        data = np.where(np.abs(data) < 1e11, data, np.nan)
        origin = np.datetime64(start.replace(tzinfo=None), "s")
        whole = origin + np.round(np.nan_to_num(data)).astype("timedelta64[s]")
        return np.where(np.isfinite(data), whole, np.datetime64("NaT", "s"))

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


def _weights(pressure: NDArray[Any], levels: int) -> NDArray[np.float64]:
    """Return each level's share of the column by pressure alone: of layers their depth, of levels what lies around."""
    step = -np.diff(np.asarray(pressure, np.float64), axis=1)
    if pressure.shape[1] == levels:
        half = step / 2
        step = np.pad(half, ((0, 0), (1, 0))) + np.pad(half, ((0, 0), (0, 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(step / step.sum(axis=1, keepdims=True))
