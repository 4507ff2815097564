"""Background: the concentration the air of a receptor had where its particles ended, from a field the user gives.

Each particle's end is looked up in the field, linearly in time, height, latitude and longitude; the mean over particles
has the weights of the footprint, so that background and enhancement add (as in X-STILT; Wu et al. 2018,
doi:10.5194/gmd-11-4843-2018). For a column it is the part of the column the particles stand for: ``prior_term`` holds
the rest. What leaves by the sides of the grid is :mod:`~stilt_dagster.science.observations.boundary`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import BackgroundError, IncompleteError
from stilt_dagster.science.files.hdf5_checks import find_hostile_part
from stilt_dagster.science.observations.background_files import BOUNDARY_COLUMNS, FIELD_COLUMNS
from stilt_dagster.science.observations.boundary import Box
from stilt_dagster.science.observations.column_operator import particle_weights, redistributed_weights
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.part_pool import prefetch
from stilt_dagster.science.scenes.observation_settings import LEVEL_VARIABLES, Background
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.particle_files import ParticleFile
from stilt_dagster.science.transport.particle_tables import column_of, positions
from stilt_dagster.science.transport.trajectories import read_part, removing_damaged

Floats = NDArray[np.float64]

#: Most bytes of a field that are held, unpacked.
_MAX_BYTES = 4 * 2**30

#: What stands in the columns of a receptor that failed.
_MISSING: dict[str, Any] = {
    **{f.name: np.nan for f in FIELD_COLUMNS},
    "background_sampled": 0.0,
    **{f.name: [] if pa.types.is_list(f.type) else np.nan for f in BOUNDARY_COLUMNS},
}

_SCALES = {"ppm": 1.0, "ppb": 1e-3, "mol mol-1": 1e6, "1e-6": 1.0, "1e-9": 1e-3, "1": 1e6, "mole/mole": 1e6}
_NAMES = {
    "lat": ("lat", "latitude"),
    "lon": ("lon", "longitude"),
    "time": ("time", "valid_time"),
}


@dataclass(frozen=True)
class Field:
    """A concentration field in memory, as far as a scene's particles can reach in time.

    Attributes
    ----------
    values : DataArray
        ``(time, level, lat, lon)``, ppm; every axis ascending, levels in hPa or m.
    where : str
        What errors call it.
    """

    values: xr.DataArray
    where: str

    def at(self, time: NDArray[Any], level: Floats, lat: Floats, lon: Floats) -> Floats:
        """Return the field at some points, ppm, shape ``(n,)``; NaN beside it.

        Above its highest and below its lowest level it is what it is there.
        """
        axes = self.values.coords
        west = float(axes["lon"][0])
        lon = (lon - west) % 360 + west
        levels = axes["level"].to_numpy()
        points = {
            "time": xr.DataArray(time, dims="point"),
            "level": xr.DataArray(np.clip(level, levels[0], levels[-1]), dims="point"),
            "lat": xr.DataArray(lat, dims="point"),
            "lon": xr.DataArray(lon, dims="point"),
        }
        return np.asarray(self.values.interp(points, method="linear").to_numpy(), np.float64)


def open_field(source: Path, settings: Background, first: pd.Timestamp, last: pd.Timestamp) -> Field:
    """Read the part of a field that lies around *first* to *last*, naive UTC.

    Raises
    ------
    BackgroundError
        Naming the file and what of it cannot be used: the variable, its axes, units, or times.
    """
    where = f"background {source.name}"
    try:
        if hostile := find_hostile_part(source):
            raise BackgroundError(f"{where} is not read: {hostile}")
        with xr.open_dataset(source) as file:
            if settings.variable not in file:
                raise BackgroundError(
                    f"{where} has no variable {settings.variable}; it has {', '.join(map(str, file.data_vars))}"
                )
            field = _ordered(file[settings.variable], where, settings.vertical)
            times = pd.DatetimeIndex(field["time"].to_numpy())
            if times[0] > first or times[-1] < last:
                raise BackgroundError(
                    f"{where} covers {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC, and the scene needs "
                    f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
                )
            lowest = max(int(times.searchsorted(first, side="right")) - 1, 0)
            highest = int(times.searchsorted(last, side="left"))
            units = settings.units or str(field.attrs.get("units", ""))
            if units not in _SCALES:
                raise BackgroundError(
                    f"{where}: {settings.variable} has units {units!r}: set background.units to ppm, ppb or mol mol-1"
                )
            field = field.isel(time=slice(lowest, highest + 1))
            if field.size * 8 > _MAX_BYTES:
                raise BackgroundError(
                    f"{where}: what lies around the scene's hours takes {field.size * 8 / 2**30:.1f} GiB, and at most "
                    f"{_MAX_BYTES / 2**30:g} are read: cut it in area or levels"
                )
            values = field.astype("f8").load() * _SCALES[units]
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise BackgroundError(f"{where} cannot be read: {error}") from error
    return Field(_closed(values), where)


def _ordered(field: xr.DataArray, where: str, vertical: str) -> xr.DataArray:
    """Return a field with our names of its axes, each ascending, in the units particles have."""
    names: dict[Any, str] = {}
    for ours, theirs in _NAMES.items():
        found = [d for d in field.dims if str(d).lower() in theirs]
        if len(found) != 1:
            raise BackgroundError(f"{where}: {field.name} has no dimension {' or '.join(theirs)}; it has {field.dims}")
        names[found[0]] = ours
    levels = [d for d in field.dims if d not in names]
    if len(levels) != 1 or levels[0] not in field.coords:
        raise BackgroundError(
            f"{where}: {field.name} needs one dimension of levels with a coordinate; it has {field.dims}"
        )
    units = str(field[levels[0]].attrs.get("units", "")).lower()
    scales = (
        {"pa": 0.01, "hpa": 1.0, "mbar": 1.0, "millibars": 1.0} if vertical == "pressure" else {"m": 1.0, "km": 1e3}
    )
    if units not in scales:
        raise BackgroundError(
            f"{where}: levels {levels[0]} have units {units!r}, and background.vertical {vertical} takes "
            f"{', '.join(scales)}"
        )
    field = field.rename({**names, levels[0]: "level"})
    field = field.assign_coords(level=field["level"].astype("f8") * scales[units])
    field = field.sortby(["time", "level", "lat", "lon"]).transpose("time", "level", "lat", "lon")
    for axis in field.dims:
        if field.sizes[axis] < 2:
            raise BackgroundError(f"{where}: needs two {axis}s or more to interpolate between")
    return field


def _closed(values: xr.DataArray) -> xr.DataArray:
    """Return a field that goes around the Earth with its first column once more at the end."""
    lon = values["lon"].to_numpy()
    if abs(lon[-1] + (lon[1] - lon[0]) - lon[0] - 360) > 1e-3:
        return values
    again = values.isel(lon=slice(0, 1)).assign_coords(lon=[lon[0] + 360])
    return xr.concat([values, again], dim="lon")


def sample_background(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    folder_of: Callable[[str], IndexedFolder],
    field: Field | None,
) -> Iterator[pa.Table]:
    """Look at where the particles of each receptor end and leave the grid, a part at a time, each read once.

    Parameters
    ----------
    scene : Scene
        The scene.
    shards : mapping of str to sequence of Batch
        Every batch of the scene.
    folder_of : callable
        The store's folder of a shard's trajectories.
    field : Field or None
        The field, of a scene that names one.

    Yields
    ------
    pyarrow.Table
        The receptors of a batch, a row each: ``receptor``. With a field ``background`` and ``background_sd``, ppm, the
        weighted mean over particles and their weighted standard deviation, times what the particles stand for of the
        column, and ``background_sampled``, the share of particles that ended inside the field; NaN for receptors that
        failed. With a boundary ``hbc_weight``, what the particles stand for of the column, ``hbc_inside``, the share of
        it that never left the grid, and ``boundary_cell`` and ``boundary_share``, the cells of
        :class:`~stilt_dagster.science.observations.boundary.Box` that particles left by and the share of their weight
        in each; NaN and empty for receptors that failed.

    Raises
    ------
    IncompleteError
        Naming the shard whose trajectories are missing or were made with other inputs.
    """
    assert scene.background is not None
    boundary = scene.background.boundary
    box = None if boundary is None else Box(scene.footprint.grid, tuple(boundary.heights))

    def read(batch: Batch) -> ParticleFile | None:
        return read_part(folder_of(batch.shard), batch, whole=True)

    for batch, part in prefetch(read, (b for members in shards.values() for b in members)):
        if part is None:
            raise IncompleteError(
                f"trajectories of shard {batch.shard} are missing or were made with other inputs "
                f"({batch.name}.parquet): materialize trajectories first"
            )
        receptors = dict(zip(batch.receptors.ids, batch.receptors, strict=True))
        rows: dict[str, dict[str, Any]] = {}
        with closing(part), removing_damaged(folder_of(batch.shard), batch):
            for name, table in part.tables(_columns(scene.background)):
                rows[name] = _look_at(scene, receptors[name], table, field, box)
        columns = [*(FIELD_COLUMNS if field is not None else ()), *(BOUNDARY_COLUMNS if box is not None else ())]
        missing = {f.name: _MISSING[f.name] for f in columns}
        schema = pa.schema([pa.field("receptor", pa.string()), *columns])
        yield pa.Table.from_pylist([{"receptor": i, **(rows.get(i) or missing)} for i in receptors], schema=schema)


def _columns(background: Background) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("particle", "age", "lon", "lat", "foot", "zagl", *background.particle_variables)))


def _look_at(scene: Scene, receptor: Receptor, table: pa.Table, field: Field | None, box: Box | None) -> dict[str, Any]:
    """Return a receptor's row of the table, but for its name."""
    assert scene.background is not None
    particle, age, lon, lat, _ = positions(table)
    end = np.flatnonzero(np.append(np.diff(particle) != 0, True))
    weights = particle_weights(scene, receptor)
    w = np.full(len(end), 1 / len(end)) if weights is None else redistributed_weights(weights, particle[end])
    row: dict[str, Any] = {}
    if field is not None:
        last = end if scene.background.at == "end" else _after_grid(scene, end, lon, lat)
        level = _heights(table, scene.background.vertical)[last]
        released = np.datetime64(receptor.time.replace(tzinfo=None), "s")
        time = released + np.round(np.asarray(age[last], np.float64) * 60).astype("timedelta64[s]")
        values = field.at(time, level, lat[last], lon[last])
        found = _sample(values, w * _decay(scene, age[last]))
        row |= dict(zip((f.name for f in FIELD_COLUMNS), found, strict=True))
    if box is not None and scene.background.boundary is not None:
        exits = box.exits(particle, lon, lat, _heights(table, scene.background.boundary.vertical))
        left = w * _decay(scene, age[exits.row])
        cells, shares = box.shares(box.cells(exits), left)
        inside = float(shares[cells >= box.offsets[-2]].sum(dtype=np.float64)) if len(cells) else np.nan
        kept = (float(left.sum()), inside, cells, shares)
        row |= dict(zip((f.name for f in BOUNDARY_COLUMNS), kept, strict=True))
    return row


def _heights(table: pa.Table, vertical: str) -> Floats:
    """Return the heights of a table's rows: hPa, or m above ground or above sea level."""
    found = column_of(table, LEVEL_VARIABLES[vertical])
    return found + column_of(table, "zagl") if vertical == "asl" else found


def _decay(scene: Scene, age: NDArray[Any]) -> Floats:
    """Return what is left of a gas after some minutes; all of one that lasts."""
    if scene.weighting.lifetime is None:
        return np.ones(len(age))
    return np.asarray(np.exp(-np.abs(age) / 60 / scene.weighting.lifetime))


def _sample(values: Floats, w: Floats) -> tuple[float, float, float]:
    """Return the weighted mean and standard deviation of what a field holds, and the share of particles inside it."""
    inside = np.isfinite(values)
    share = float(w[inside].sum())
    if not inside.any() or share == 0:
        return (np.nan if not inside.any() else 0.0), np.nan, float(inside.mean())
    mean = float((w[inside] * values[inside]).sum()) / share
    spread = np.sqrt(max(float((w[inside] * (values[inside] - mean) ** 2).sum()) / share, 0.0))
    whole = float(w.sum())
    return mean * whole, float(spread) * abs(whole), float(inside.mean())


def _after_grid(scene: Scene, last: NDArray[np.int64], lon: Floats, lat: Floats) -> NDArray[np.int64]:
    """Return each particle's first row after it was inside the grid for the last time; its last where it is none."""
    grid = scene.footprint.grid
    x, y = (lon % 360 if grid.wraps else lon), lat
    if not grid.is_longlat:
        x, y = (np.asarray(v, np.float64) for v in grid.transformer.transform(lon, lat))
    x0, x1, y0, y1 = grid.extent
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    first = np.append(0, last[:-1] + 1)
    seen = np.maximum.accumulate(np.where(inside, np.arange(len(lon)), -1))[last]
    return np.where(seen >= first, np.minimum(seen + 1, last), first)
