"""Footprint files: CF NetCDF-4, a receptor a row, and beside it the same influence by hours of UTC.

``foot(receptor, hour, lat, lon)`` is what STILT's users know: layers counted back from the release. The group
``utc`` holds each receptor's influence again as a sparse row over hours of UTC, binned by each particle's own time,
which is what the jacobian is stacked from: layers of a release at 12:15 cannot be shifted into hours of flux.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
from numpy.typing import NDArray

from stilt_dagster import __version__
from stilt_dagster.science.files.format_numbers import FOOTPRINTS_FORMAT, require_format
from stilt_dagster.science.footprints.gridding import Footprint, sparse_row
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.settings import FootprintSettings
from stilt_dagster.science.scratch import Source, size_of
from stilt_dagster.science.transport.effort import Effort

FOOT_UNITS = "ppm (umol m-2 s-1)-1"

STATUS = ("ok", "empty", "failed")

#: Type of variables that hold text.
TEXT = h5py.string_dtype()

_CELLS_PER_CHUNK = 128
_ROW_CHUNK = 1 << 16


def write_grid(file: h5netcdf.File, settings: FootprintSettings) -> tuple[str, str]:
    """Write the axes of a grid, with bounds, and return the names of its dimensions."""
    grid = settings.grid
    names = ("lat", "lon") if grid.is_longlat else ("y", "x")
    file.dimensions["bnds"] = 2
    axes = ((names[0], grid.y, grid.y_edges), (names[1], grid.x, grid.x_edges))
    for name, centres, edges in axes:
        file.dimensions[name] = len(centres)
        axis = file.create_variable(name, (name,), "f8", data=centres)
        bounds = file.create_variable(f"{name}_bnds", (name, "bnds"), "f8")
        bounds[:] = np.column_stack([edges[:-1], edges[1:]])
        kind = {"lat": ("latitude", "degrees_north"), "lon": ("longitude", "degrees_east")}.get(name)
        standard, units = kind or (f"projection_{name}_coordinate", "m")
        axis.attrs.update({"standard_name": standard, "units": units, "bounds": f"{name}_bnds"})
        axis.attrs["axis"] = "Y" if name in ("lat", "y") else "X"
    mapping = file.create_variable("crs", (), "i4", data=np.int32(0))
    if grid.is_longlat:
        mapping.attrs.update({"grid_mapping_name": "latitude_longitude", "earth_radius": 6371007.2})
    else:
        from pyproj import CRS

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cf = CRS.from_user_input(settings.projection).to_cf()
        mapping.attrs.update({k: v for k, v in cf.items() if isinstance(v, (str, int, float))})
    return names


def write_receptors(f: h5netcdf.File, receptors: Receptors, settings: FootprintSettings, ids: str = "receptor") -> None:
    """Write the coordinates of receptors and layers, the receptors' ids under a name of their own."""
    names = f.create_variable(ids, ("receptor",), TEXT)
    names[:] = np.array(receptors.ids, dtype=object)
    names.attrs["long_name"] = "receptor id"
    columns = (
        (
            "receptor_time",
            "i4",
            receptors.minutes,
            {"standard_name": "time", "units": "minutes since 1970-01-01 00:00:00"},
        ),
        ("receptor_longitude", "f8", receptors.longitude[:, 0], {"units": "degrees_east"}),
        ("receptor_latitude", "f8", receptors.latitude[:, 0], {"units": "degrees_north"}),
    )
    for name, kind, values, attrs in columns:
        variable = f.create_variable(name, ("receptor",), kind, data=np.array(values, kind))
        variable.attrs.update({**attrs, "long_name": name.replace("_", " ")})
    hours = f.create_variable("hour", ("hour",), "i4", data=-1 - np.arange(f.dimensions["hour"].size, dtype="i4"))
    hours.attrs["long_name"] = (
        "all hours of the run" if settings.time_integrate else "hour before release: -1 is the last hour before it"
    )
    hours.attrs["units"] = "h"


def create_foot(
    f: h5netcdf.File, dims: tuple[str, str], grid: Grid, fillvalue: np.float32 | None = None
) -> h5netcdf.Variable:
    """Make the variable ``foot``, whose dimensions are there; with a fill value for what is not known."""
    foot = f.create_variable(
        "foot",
        ("receptor", "hour", *dims),
        "f4",
        chunks=(1, 1, min(grid.ny, _CELLS_PER_CHUNK), min(grid.nx, _CELLS_PER_CHUNK)),
        fillvalue=fillvalue,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    foot.attrs.update(
        {
            "long_name": "surface influence: change of the mole fraction at the receptor with surface flux",
            "units": FOOT_UNITS,
            "cell_methods": "hour: sum",
            "grid_mapping": "crs",
            "coordinates": "receptor_time receptor_longitude receptor_latitude status",
        }
    )
    return foot


class FootprintWriter:
    """Write the footprints of a batch to one file, a receptor at a time.

    Parameters
    ----------
    path : Path
        A local file, complete only once :meth:`close` returned.
    key : str
        Hash of what makes the file: its batch and the settings.
    particles : str
        Hash of the outcomes of the simulations it was made from.
    receptors : Receptors
        All of the batch, in order.
    settings : FootprintSettings
        The scene's footprint.
    n_hours : int
        Length of the runs.
    model : str
        What the file names as the source of its numbers.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        particles: str,
        receptors: Receptors,
        settings: FootprintSettings,
        n_hours: int,
        model: str = "HYSPLIT-STILT",
    ) -> None:
        self._path = path
        self.key, self.particles = key, particles
        # In memory until it is whole, a few MB: HDF5 crashes the process when it meets a full disk.
        self._image = io.BytesIO()
        self._file = f = h5netcdf.File(self._image, "w")
        self._places = {receptor: i for i, receptor in enumerate(receptors.ids)}
        self._hours = receptors.minutes // 60
        self._grid = grid = settings.grid
        self._n_layers = 1 if settings.time_integrate else abs(n_hours)
        self.outcomes: list[Outcome] = []
        self.entries = 0
        self._indptr = [0]
        # Columns count hours from the earliest any receptor of the batch can reach.
        self._first_hour = int(self._hours.min()) + (0 if settings.time_integrate else n_hours)
        f.dimensions["receptor"] = len(receptors)
        f.dimensions["hour"] = self._n_layers
        self._dims = write_grid(f, settings)
        write_receptors(f, receptors, settings)
        # No fill value: cells never written read as the zeros they are, and take no space.
        self._foot = create_foot(f, self._dims, grid)
        rows = f.create_group("utc")
        rows.attrs["description"] = (
            "Each receptor's influence by hours of UTC: row i holds foot[indptr[i]:indptr[i+1]] at column = "
            "(utc hour - first_hour) * ny * nx + iy * nx + ix"
        )
        rows.attrs["first_hour"] = np.int64(self._first_hour)
        rows.dimensions["nnz"] = None
        rows.dimensions["row_bound"] = len(receptors) + 1
        options: dict[str, Any] = {
            "chunks": (_ROW_CHUNK,),
            "compression": "gzip",
            "compression_opts": 1,
            "shuffle": True,
        }
        self._data = rows.create_variable("foot", ("nnz",), "f4", **options)
        self._data.attrs["units"] = FOOT_UNITS
        self._column = rows.create_variable("column", ("nnz",), "i8", **options)
        self._rows = rows
        f.attrs.update(
            {
                "Conventions": "CF-1.8",
                "format": FOOTPRINTS_FORMAT,
                "title": "STILT footprints",
                "source": model,
                "history": f"gridded from particles by stilt_dagster {__version__}",
                "stilt_key": key,
                "stilt_particles": particles,
            }
        )

    def add(self, outcome: Outcome, footprint: Footprint | None) -> None:
        """Write the next receptor: its outcome, and its footprint unless it failed."""
        i = self._places[outcome.receptor]
        self.outcomes.append(outcome)
        if footprint is not None:
            for layer in footprint.layers:
                rows, columns = layer.values.shape
                self._foot[i, -1 - layer.hour, layer.y : layer.y + rows, layer.x : layer.x + columns] = layer.values
            self._add_row(footprint, int(self._hours[i]) - self._first_hour)
        self._indptr.append(self.entries)

    def _add_row(self, footprint: Footprint, release_hour: int) -> None:
        columns, values = sparse_row(footprint, self._grid.ny, self._grid.nx, release_hour)
        if len(columns):
            self._rows.resize_dimension("nnz", self.entries + len(columns))
            self._column[self.entries :] = columns
            self._data[self.entries :] = values
            self.entries += len(columns)

    def close(self, effort: Effort | None = None) -> None:
        """Write the outcomes and finish; *effort* is what making the file took."""
        f = self._file
        if effort is not None:
            f.attrs["stilt_effort"] = json.dumps(asdict(effort))
        indptr = self._rows.create_variable("indptr", ("row_bound",), "i8")
        indptr[:] = np.array(self._indptr, "i8")
        write_outcomes(f, "receptor", self.outcomes)
        f.close()
        self._path.write_bytes(self._image.getbuffer())

    def abort(self) -> None:
        """Close without finishing."""
        self._file.close()


def write_outcomes(file: h5netcdf.File, dim: str, outcomes: Sequence[Outcome]) -> None:
    """Write how each receptor ended, along a dimension."""
    status = file.create_variable(
        "status", (dim,), "i1", data=np.array([STATUS.index(o.status) for o in outcomes], "i1")
    )
    status.attrs.update(
        {"long_name": "outcome", "flag_values": np.arange(3, dtype="i1"), "flag_meanings": " ".join(STATUS)}
    )
    for name, kind, long_name, units in (
        ("n_particles", "i4", "particles that moved", "1"),
        ("hours_covered", "f4", "time back to which particles were followed", "h"),
        ("escaped_fraction", "f4", "share of particles that left the meteorology", "1"),
        ("outside_fraction", "f4", "share of the influence that lies outside the grid", "1"),
        ("foot_sum", "f8", "sum of the footprint over hours before release and cells", FOOT_UNITS),
        ("row_sum_error", "f4", "Monte-Carlo standard error of the sum", FOOT_UNITS),
        ("imbalance", "f4", "share of the influence that is neither on the grid nor outside it", "1"),
    ):
        # None becomes NaN: of failed receptors, and where earlier versions did not keep it.
        variable = file.create_variable(name, (dim,), kind, data=np.array([getattr(o, name) for o in outcomes], kind))
        variable.attrs.update({"long_name": long_name, "units": units})
    for name, long_name in (("reason", "why it failed"), ("message", "what was wrong")):
        text = file.create_variable(name, (dim,), TEXT)
        text[:] = np.array([getattr(o, name) for o in outcomes], dtype=object)
        text.attrs["long_name"] = long_name


def read_outcomes(file: h5netcdf.File | h5py.File, ids: Sequence[str]) -> list[Outcome]:
    """Read what :func:`write_outcomes` wrote."""
    status = file["status"][:]
    columns = {
        name: file[name][:].tolist()
        for name in ("n_particles", "hours_covered", "escaped_fraction", "outside_fraction", "reason", "message")
    }
    for name in ("foot_sum", "row_sum_error", "imbalance"):
        known = file[name][:].tolist() if name in file else [np.nan] * len(ids)
        columns[name] = [None if np.isnan(value) else value for value in known]
    columns["reason"] = [_text(v) for v in columns["reason"]]
    columns["message"] = [_text(v) for v in columns["message"]]
    return [
        Outcome(ids[i], STATUS[status[i]], **{name: values[i] for name, values in columns.items()})
        for i in range(len(ids))
    ]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class FootprintFile:
    """A part file: its key, its outcomes, and its receptors' influence by hours of UTC.

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
        self.size = size_of(source)
        try:
            # Plain HDF5: h5netcdf looks through all dimensions first, which takes ten times as long.
            self._file = h5py.File(source, "r")
            require_format(self._file.attrs.get("format"), FOOTPRINTS_FORMAT, source)
            self.key = _text(self._file.attrs["stilt_key"])
            self.particles = _text(self._file.attrs["stilt_particles"])
            ids = [_text(v) for v in self._file["receptor"][:]]
            self.outcomes = read_outcomes(self._file, ids)
            rows = self._file["utc"]
            self.indptr: NDArray[np.int64] = rows["indptr"][:]
            self.entries = int(self.indptr[-1])
            self.effort = Effort.from_dict(json.loads(_text(self._file.attrs.get("stilt_effort", "null"))))
            self.first_hour = int(np.ravel(rows.attrs["first_hour"])[0])
        except (OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ValueError(f"{source} is not a complete footprint file: {error}") from error

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return columns and influence of entries *start* to *stop*."""
        rows = self._file["utc"]
        return rows["column"][start:stop], rows["foot"][start:stop]

    def foot(self, k: int) -> NDArray[np.float32]:
        """Return the footprint of the k-th receptor, shape ``(hour, lat, lon)``."""
        return np.asarray(self._file["foot"][k])

    def layers(self, k: int) -> Iterator[NDArray[np.float32]]:
        """Yield the layers of the k-th receptor's footprint, each of shape ``(lat, lon)``, the last hour first."""
        for hour in range(self._file["foot"].shape[1]):
            yield np.asarray(self._file["foot"][k, hour])

    def integrated(self) -> NDArray[np.float64]:
        """Return the sum over receptors and layers, shape ``(lat, lon)``, read a receptor at a time."""
        _, _, ny, nx = self._file["foot"].shape
        out = np.zeros(ny * nx)
        for start, stop in zip(self.indptr[:-1], self.indptr[1:], strict=True):
            columns, values = self.rows(start, stop)
            np.add.at(out, columns % (ny * nx), values)
        return out.reshape(ny, nx)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
