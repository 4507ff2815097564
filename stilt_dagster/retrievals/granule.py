"""Reading one retrieval's file as its product's table says: one engine for all products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from netCDF4 import Dataset
from numpy.typing import NDArray

from stilt_dagster.retrievals.table import Identify, Product, Table
from stilt_dagster.retrievals.times import first_time, sounding_times
from stilt_dagster.retrievals.variables import Variables
from stilt_dagster.science.errors import RetrievalError, UnreadableError
from stilt_dagster.science.files.hdf5_checks import find_hostile_part
from stilt_dagster.science.observations.soundings import POSITION_DECIMALS, Soundings
from stilt_dagster.science.scenes.observation_settings import Area
from stilt_dagster.science.validation import validate


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


class _Reader(Variables):
    """Makes soundings of a file's variables."""

    def granule(self, identify: Identify, product: str, area: Area | None) -> Granule:
        """Return the granule."""
        lon, lat = self.numbers("longitude").astype(np.float64), self.numbers("latitude").astype(np.float64)
        # Rounded before they are compared with the area: a float32 of its edge lies beside it.
        lon, lat = (np.round(v, POSITION_DECIMALS) + 0.0 for v in (np.where(lon > 180, lon - 360, lon), lat))
        here = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
        n_read = int(here.sum())
        first = first_time(self, here)
        key, version = identify(self.file, self.name, first)
        wanted = here if area is None else here & area.contains(lon, lat)
        places = np.flatnonzero(wanted)
        row = int(np.prod(self.shape[1:], dtype=np.int64))
        if len(places):
            self.block = slice(int(places[0]) // row, int(places[-1]) // row + 1)
        else:
            self.block = slice(0, min(1, self.shape[0]))
        self.which = places - self.block.start * row
        return Granule(product, key, version, self._soundings(lon[places], lat[places], places), n_read)

    def _soundings(self, lon: NDArray[np.float64], lat: NDArray[np.float64], places: NDArray[np.int64]) -> Soundings:
        t = self.table
        surface_pressure = self.numbers("surface_pressure").astype(np.float64)
        pressure = self._edges(surface_pressure)
        kernel, prior = self._profile("averaging_kernel", len(lon)), self._profile("prior", len(lon))
        dry = None if t.dry_air is None else self.numbers("dry_air", profile=True)
        weight = None if t.pressure_weight is None else self.numbers("pressure_weight", profile=True)
        layers = self._layers(pressure, averaging_kernel=kernel, prior=prior, dry_air=dry, pressure_weight=weight)
        if pressure is None:
            pressure = self._equal_layers(surface_pressure, layers)
        for profile in (kernel, prior):
            self.count_bytes("profiles of one number", 8 * len(lon) * layers if profile.shape[1] < layers else 0)
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
            azimuth = np.mod(self.optional("azimuth", lon), 360)
        return Soundings(
            sounding=self._ids(places),
            time=sounding_times(self),
            longitude=lon,
            latitude=lat,
            value=self.numbers("value").astype(np.float64),
            uncertainty=self._uncertainty(len(lon)),
            quality=quality,
            surface_pressure=surface_pressure,
            surface_altitude=self.optional("surface_altitude", lon).astype(np.float64),
            zenith=self.optional("zenith", lon),
            azimuth=azimuth,
            pressure=pressure,
            averaging_kernel=kernel,
            pressure_weight=weight,
            prior=prior,
            altitude=None if t.altitude is None else self.numbers("altitude", profile=True),
            corner_longitude=self.numbers("corner_longitude", profile=True) if corners else None,
            corner_latitude=self.numbers("corner_latitude", profile=True) if corners else None,
        )

    def _profile(self, field: str, n: int) -> NDArray[Any]:
        """Return a profile, or the one number there is for all layers, as one column."""
        path = getattr(self.table, field)
        if path is None:
            return np.full((n, 1), self._constant(field))
        if field in self.table.repeated:
            return self.numbers(field)[:, None]
        return self.numbers(field, profile=True)

    def _layers(self, pressure: NDArray[Any] | None, **profiles: NDArray[Any] | None) -> int:
        """Return how many levels or layers profiles have: all the same, but for those of one number."""
        sizes = {field: p.shape[1] for field, p in profiles.items() if p is not None and p.shape[1] > 1}
        layers = next(iter(sizes.values()), 0)
        for name, size in sizes.items():
            if size != layers:
                raise RetrievalError(
                    f"{self.name}: {getattr(self.table, name)} ({name}) has {size} levels, and {next(iter(sizes))} "
                    f"{layers}: they must be on the same"
                )
        if pressure is None:
            if layers:
                return layers
            raise RetrievalError(
                f"{self.name}: averaging_kernel and prior are one number each: mapping must name pressure or "
                "pressure_hybrid, which tell the layers"
            )
        if layers and pressure.shape[1] - layers not in (0, 1):
            raise RetrievalError(
                f"{self.name}: there are {pressure.shape[1]} levels of pressure, expected {layers}, as many as of "
                f"{next(iter(sizes))}, or {layers + 1}, their edges"
            )
        return layers or pressure.shape[1] - 1

    def _require_same_units(self, *fields: str) -> None:
        """Refuse a quotient of variables in different units."""
        said = {f: str(getattr(self.variable(f, getattr(self.table, f)), "units", "")).strip() for f in fields}
        if len({unit for unit in said.values() if unit}) > 1:
            raise RetrievalError(
                f"{self.name}: {' and '.join(f'{f} has units {u!r}' for f, u in said.items())}, expected the same"
            )

    def _quality(self, n: int) -> NDArray[np.float64]:
        path = self.table.quality
        if path is None:
            return np.ones(n)
        quality = self.numbers("quality").astype(np.float64)
        if self.table.quality_is == "flag":
            return np.where(quality == 0, 1.0, 0.0)
        beyond = quality[(quality < -1e-6) | (quality > 1 + 1e-6)]
        if len(beyond):
            raise RetrievalError(
                f"{self.name}: {path} (quality) holds {beyond[0]:g}, expected 0 to 1: set mapping.quality_is to flag, "
                "if 0 is good, or mapping.quality to null, to take all for good"
            )
        return np.nan_to_num(quality, nan=0.0)

    def _constant(self, field: str) -> float:
        """Return the value that stands for a field of all soundings."""
        try:
            return self.table.constants[field]  # type: ignore[index]
        except KeyError:
            raise RetrievalError(
                f"{self.name}: the product's table does not say where {field} is: name its variable as "
                f"mapping.{field}, or give one value for all as mapping.constants.{field}"
            ) from None

    def _edges(self, surface: NDArray[np.float64]) -> NDArray[Any] | None:
        """Return pressures, if they do not depend on how many layers the kernel has."""
        t = self.table
        if t.pressure is not None:
            return self.numbers("pressure", profile=True)
        if t.pressure_hybrid is None:
            return None
        a, b, c = (np.array(v) for v in zip(*t.pressure_hybrid, strict=True))
        top = np.full(len(surface), t.constants.get("tropopause_pressure", 0.0))
        if t.tropopause_pressure is not None:
            top = self.numbers("tropopause_pressure").astype(np.float64)
        self.count_bytes("pressure_hybrid", 8 * len(surface) * len(a))
        return np.asarray(a * (surface - top)[:, None] + b * top[:, None] + c)

    def _equal_layers(self, surface: NDArray[np.float64], layers: int) -> NDArray[np.float32]:
        """Return the edges of equal layers."""
        if self.table.pressure_interval is None:
            raise RetrievalError(f"{self.name}: mapping must name pressure, pressure_interval or pressure_hybrid")
        interval = self.numbers("pressure_interval").astype(np.float64)
        edges = surface[:, None] - interval[:, None] * np.arange(layers + 1)
        # The top edge is the top of the atmosphere but for what single precision loses.
        return np.asarray(np.maximum(edges, 0.0), np.float32)

    def _uncertainty(self, n: int) -> NDArray[np.float64]:
        if self.table.uncertainty is None:
            return np.full(n, self._constant("uncertainty"))
        return self.numbers("uncertainty").astype(np.float64)

    def _ids(self, places: NDArray[np.int64]) -> NDArray[np.object_]:
        parts = []
        for path in self.table.id:
            values = self.words("id", path, self.variable("id", path))
            if values.dtype.kind == "f":  # numbers of which some are missing
                parts.append([f"{v:.0f}" if np.isfinite(v) else f"p{k}" for v, k in zip(values, places, strict=True)])
            else:
                parts.append([str(v) for v in values.tolist()])
        ids = ["_".join(p) for p in zip(*parts, strict=True)] if parts else [str(p) for p in places.tolist()]
        return np.array(ids, object)


def _weights(pressure: NDArray[Any], levels: int) -> NDArray[np.float64]:
    """Return each level's share of the column by pressure alone: of layers their depth, of levels what lies around."""
    step = -np.diff(np.asarray(pressure, np.float64), axis=1)
    if pressure.shape[1] == levels:
        half = step / 2
        step = np.pad(half, ((0, 0), (1, 0))) + np.pad(half, ((0, 0), (0, 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(step / step.sum(axis=1, keepdims=True))
