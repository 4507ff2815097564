"""The jacobian of a scene, ``stilt-jacobian/1``: its footprints stacked into one sparse matrix over hours of UTC.

Row i is observation i of the receptor table; column j is a cell of the footprint grid in one hour of flux, in C order
of ``(flux_time, lat, lon)``. Multiplied with fluxes (umol m-2 s-1) it gives enhancements (ppm) at the receptors. The
file reads with xarray and scipy alone::

    ds = xr.open_dataset("jacobian/<scene>.nc")
    H = scipy.sparse.csr_matrix((ds.data, ds.indices, ds.indptr), shape=ds.attrs["shape"])
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stilt_dagster import __version__
from stilt_dagster.science.batches import Batch, Meter, Report, Shelf, ahead, kept
from stilt_dagster.science.column import operators
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.footprints import (
    FOOT_UNITS,
    TEXT,
    FootprintFile,
    hours_since_1970,
    read_part,
    write_grid,
    write_outcomes,
)
from stilt_dagster.science.particles import Outcome
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.scratch import require_space, writing
from stilt_dagster.science.spec import digest

FORMAT = "stilt-jacobian/1"

#: Entries written at a time, and the size of a chunk of the file.
_BLOCK = 1 << 20
_CHUNK = 1 << 17


def flux_hours(scene: Scene) -> tuple[int, int]:
    """Return the first hour of UTC a scene's receptors can feel, counted from 1970, and how many there are."""
    hours = [hours_since_1970(r.time) for r in scene.receptor_list]
    first = min(hours) + scene.transport.n_hours
    # The hour of release itself is felt by receptors released past the full hour.
    last = max(hours_since_1970(r.time - dt.timedelta(minutes=1)) for r in scene.receptor_list)
    return first, last - first + 1


def jacobian_key(parts: Iterable[FootprintFile], scene: Scene) -> str:
    """Return the hash of what makes a jacobian: its footprint files, in order, and the order of its rows."""
    made_of = [FORMAT, [(p.key, p.particles) for p in parts], [r.id for r in scene.receptor_list]]
    return digest([*made_of, *observed(scene)])


def observed(scene: Scene) -> list[Any]:
    """Return what of a retrieval and a background goes into a scene's jacobian; nothing for other scenes."""
    made_of: list[Any] = [scene.soundings.digests()["observations"]] if scene.has_columns else []
    return made_of if scene.background is None else [*made_of, scene.background.model_dump()]


def build_jacobian(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    shelf_of: Callable[[str], Shelf],
    path: Path,
    attributes: Mapping[str, str],
    background: pd.DataFrame | None = None,
) -> Report:
    """Stack a scene's footprints, in memory that does not grow with the scene.

    Each part is read once. Entries go through scratch files beside *path*, 8 bytes each, from the order of the batches
    to that of the rows.

    Parameters
    ----------
    scene : Scene
        The scene.
    shards : mapping of str to sequence of Batch
        Every batch of the scene.
    shelf_of : callable
        The store's folder of a shard's footprints.
    path : Path
        A file of this machine, complete only once this returns.
    attributes : mapping of str to str
        Written with it: versions of the engines, digest of the meteorology.
    background : DataFrame, optional
        The scene's, as :func:`stilt_dagster.science.background.sample_background` makes it.

    Returns
    -------
    Report
        Of all receptors.

    Raises
    ------
    IncompleteError
        Naming the shard whose footprints are missing or were made with other inputs.
    """
    meter, report = Meter(), Report()
    settings = scene.footprint
    first_hour, n_hours = flux_hours(scene)
    if settings.time_integrate:
        first_column_hour, n_layers = 0, 1
    else:
        first_column_hour, n_layers = first_hour, n_hours
    ny, nx = settings.grid.ny, settings.grid.nx
    ids = [r.id for r in scene.receptor_list]
    outcomes: dict[str, Outcome] = {}
    seen: list[FootprintFile] = []
    with (
        writing(path),
        tempfile.TemporaryDirectory(dir=path.parent, prefix="rows-") as scratch,
        closing(_Spool(Path(scratch), n_layers * ny * nx)) as spool,
    ):
        row_sum = np.zeros(len(ids))
        place = {receptor: k for k, receptor in enumerate(ids)}
        for part in _parts(scene, shards, shelf_of):
            seen.append(part)
            shift = 0 if settings.time_integrate else (part.first_hour - first_column_hour) * ny * nx
            for k, outcome in enumerate(part.outcomes):
                if outcome.receptor in outcomes:
                    raise IncompleteError(
                        f"receptor {outcome.receptor} has two footprints: materialize footprints again"
                    )
                outcomes[outcome.receptor] = outcome
                columns, values = part.rows(int(part.indptr[k]), int(part.indptr[k + 1]))
                row = place[outcome.receptor]
                spool.add(row, columns + shift, values)
                row_sum[row] = values.sum(dtype=np.float64)
        if missing := [i for i in ids if i not in outcomes]:
            raise IncompleteError(
                f"receptor {missing[0]} has no footprint: materialize trajectories and footprints first"
            )
        ordered = [outcomes[i] for i in ids]
        indptr = spool.close_rows(len(ids))
        require_space(path, spool.n_bytes + 8 * ny * nx + 500 * len(ids) + (1 << 20))
        with h5netcdf.File(path, "w") as file:
            _write(file, scene, ordered, indptr, row_sum, spool, (first_hour, n_hours))
            if scene.has_columns:
                _write_soundings(file, scene)
            if background is not None:
                _write_background(file, background, ids)
            file.attrs["stilt_key"] = jacobian_key(seen, scene)
            for name, value in attributes.items():
                file.attrs[name] = value
    report.add_part(ordered, path.stat().st_size, int(indptr[-1]))
    report.made = len(ids)
    meter.into(report)
    return report


def _parts(
    scene: Scene, shards: Mapping[str, Sequence[Batch]], shelf_of: Callable[[str], Shelf]
) -> Iterator[FootprintFile]:
    """Open the footprint files of a scene, one after the other, the next ones being fetched meanwhile."""
    shelf_of = kept(shelf_of, shards)

    def read(batch: Batch) -> FootprintFile | None:
        return read_part(shelf_of(batch.shard), batch, scene, whole=True)

    for batch, part in ahead(read, (b for members in shards.values() for b in members)):
        if part is None:
            raise IncompleteError(
                f"footprints of shard {batch.shard} are missing or were made with other inputs ({batch.name}.nc): "
                "materialize trajectories and footprints first"
            )
        yield part
        part.close()


class _Spool:
    """Entries on disk: added row by row as parts come, read in the order of the matrix."""

    def __init__(self, directory: Path, n_columns: int) -> None:
        self.kind: Any = np.dtype(np.int32 if n_columns < 2**31 else np.int64)
        self.size = 0
        self._paths = (directory / "indices", directory / "data")
        self._files = [path.open("wb") for path in self._paths]
        self._rows: dict[int, tuple[int, int]] = {}

    def add(self, row: int, columns: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add a row's entries."""
        self._rows[row] = (self.size, len(columns))
        self._files[0].write(columns.astype(self.kind).data)
        self._files[1].write(np.ascontiguousarray(values, np.float32).data)
        self.size += len(columns)

    @property
    def n_bytes(self) -> int:
        """Size of all entries."""
        return self.size * (int(self.kind.itemsize) + 4)

    def close_rows(self, n_rows: int) -> NDArray[np.int64]:
        """End adding; return where each row of the matrix begins, and the last ends."""
        self.close()
        counts = [self._rows[row][1] for row in range(n_rows)]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def blocks(self, indptr: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.float32]]]:
        """Yield places in the matrix, and their entries, a block at a time."""
        if not self.size:  # nothing can be mapped
            return
        kinds = (self.kind, np.dtype(np.float32))
        maps = [np.memmap(path, kind, "r") for path, kind in zip(self._paths, kinds, strict=True)]
        for start in range(0, self.size, _BLOCK):
            stop = min(start + _BLOCK, self.size)
            block = [np.empty(stop - start, kind) for kind in kinds]
            row = int(np.searchsorted(indptr, start, side="right")) - 1
            while row < len(indptr) - 1 and (first := int(indptr[row])) < stop:
                a, b = max(first, start), min(int(indptr[row + 1]), stop)
                at = self._rows[row][0] + a - first
                for out, entries in zip(block, maps, strict=True):
                    out[a - start : b - start] = entries[at : at + b - a]
                row += 1
            yield slice(start, stop), block[0], block[1]


def _write(
    file: h5netcdf.File,
    scene: Scene,
    outcomes: Sequence[Outcome],
    indptr: NDArray[np.int64],
    row_sum: NDArray[np.float64],
    spool: _Spool,
    hours: tuple[int, int],
) -> None:
    """Write the file, entries a block at a time."""
    settings, receptors = scene.footprint, scene.receptor_list
    first_hour, n_hours = hours
    file.dimensions.update({"obs": len(receptors), "obs_bound": len(receptors) + 1, "nnz": spool.size or None})
    bounds = np.array([[first_hour, first_hour + n_hours]], "f8")
    if not settings.time_integrate:
        bounds = first_hour + np.column_stack([np.arange(n_hours), np.arange(1, n_hours + 1)]).astype("f8")
    file.dimensions["flux_time"] = len(bounds)
    y, x = write_grid(file, settings)

    def variable(name: str, dims: tuple[str, ...], kind: str, values: Any, **attrs: Any) -> None:
        file.create_variable(name, dims, kind, data=np.asarray(values, kind)).attrs.update(attrs)

    since = "hours since 1970-01-01 00:00:00"
    variable(
        "flux_time",
        ("flux_time",),
        "f8",
        bounds[:, 0],
        standard_name="time",
        units=since,
        bounds="flux_time_bnds",
        long_name="start of the hour of flux, UTC",
        axis="T",
    )
    variable("flux_time_bnds", ("flux_time", "bnds"), "f8", bounds)
    variable("cell_area", (y, x), "f8", settings.grid.cell_area, standard_name="cell_area", units="m2")
    ids = file.create_variable("obs_id", ("obs",), TEXT)
    ids[:] = np.array([r.id for r in receptors], dtype=object)
    ids.attrs["long_name"] = "receptor id"
    minutes = [r.time.timestamp() / 60 for r in receptors]
    variable("time", ("obs",), "f8", minutes, standard_name="time", units="minutes since 1970-01-01 00:00:00")
    variable(
        "longitude",
        ("obs",),
        "f8",
        [r.longitudes[0] for r in receptors],
        standard_name="longitude",
        units="degrees_east",
    )
    variable(
        "latitude", ("obs",), "f8", [r.latitudes[0] for r in receptors], standard_name="latitude", units="degrees_north"
    )
    write_outcomes(file, "obs", outcomes)
    variable("row_sum", ("obs",), "f8", row_sum, long_name="sum of the row", units=FOOT_UNITS)
    variable("indptr", ("obs_bound",), "i8", indptr, long_name="where each row begins and the last ends")
    options: dict[str, Any] = {
        "chunks": (min(_CHUNK, max(spool.size, 1)),),
        "compression": "gzip",
        "compression_opts": 1,
        "shuffle": True,
    }
    indices = file.create_variable("indices", ("nnz",), spool.kind, **options)
    indices.attrs["long_name"] = "column, (flux_time * ny + iy) * nx + ix, ascending in a row"
    data = file.create_variable("data", ("nnz",), "f4", **options)
    data.attrs.update({"long_name": "influence of a flux on an observation", "units": FOOT_UNITS})
    for block, columns, values in spool.blocks(indptr):
        indices[block] = columns
        data[block] = values
    file.attrs.update(
        {
            "Conventions": "CF-1.9",  # the first with 64-bit integers
            "format": FORMAT,
            "source": "HYSPLIT-STILT",
            "history": f"stacked from footprints by stilt_dagster {__version__}",
            "title": f"STILT jacobian of {scene.id}",
            "sparse_format": "csr",
            "shape": np.array([len(receptors), len(bounds) * settings.grid.ny * settings.grid.nx], "i8"),
            "column_order": f"flux_time {y} {x}",
            "scene": scene.id,
            "settings_hash": digest(scene.model_dump(mode="json")),
        }
    )


def _write_soundings(file: h5netcdf.File, scene: Scene) -> None:
    """Write what a retrieval says of each observation, and what its prior adds."""
    soundings, kernel = scene.soundings, scene.weighting.averaging_kernel
    prior = [
        operator.prior_term(*receptor.heights, kernel=kernel)
        for operator, receptor in zip(operators(soundings), scene.receptor_list, strict=True)
    ]
    levels = soundings.averaging_kernel.shape[1]
    file.dimensions["level"] = levels
    edges = "level_bound" if soundings.has_layers else "level"
    if soundings.has_layers:
        file.dimensions["level_bound"] = levels + 1
    rows: tuple[tuple[str, tuple[str, ...], Any, str, str], ...] = (
        ("value", ("obs",), soundings.value, "retrieved column-average dry-air mole fraction", "ppm"),
        ("uncertainty", ("obs",), soundings.uncertainty, "one standard deviation of value", "ppm"),
        ("quality", ("obs",), soundings.quality, "from 0, not to be used, to 1", "1"),
        ("prior_term", ("obs",), prior, "what the prior adds: value is H flux + background + prior_term", "ppm"),
        ("top", ("obs",), [r.heights[-1] for r in scene.receptor_list], "top of the column of particles", "m"),
        ("surface_pressure", ("obs",), soundings.surface_pressure, "surface pressure of the retrieval", "hPa"),
        ("pressure", ("obs", edges), soundings.pressure, "levels of the retrieval, or edges of its layers", "hPa"),
        ("averaging_kernel", ("obs", "level"), soundings.averaging_kernel, "averaging kernel, surface first", "1"),
        ("pressure_weight", ("obs", "level"), soundings.pressure_weight, "share of the dry column", "1"),
        ("prior", ("obs", "level"), soundings.prior, "prior profile", "ppm"),
    )
    for name, dims, values, long_name, units in rows:
        variable = file.create_variable(name, dims, "f8" if len(dims) == 1 else "f4", data=np.asarray(values))
        variable.attrs.update({"long_name": long_name, "units": units})
    names = file.create_variable("sounding", ("obs",), TEXT)
    names[:] = soundings.sounding
    names.attrs["long_name"] = "sounding id, of the product"
    if soundings.n_pixels is not None:
        n_pixels = file.create_variable("n_pixels", ("obs",), "i4", data=soundings.n_pixels)
        n_pixels.attrs.update({"long_name": "pixels that went into the observation", "units": "1"})
    retrieval = scene.receptors.retrieval
    assert retrieval is not None
    file.attrs["retrieval"] = f"{retrieval.product} {retrieval.uri}"


def _write_background(file: h5netcdf.File, background: pd.DataFrame, ids: Sequence[str]) -> None:
    """Write what observations would be without fluxes on the grid."""
    ordered = background.set_index("receptor").loc[list(ids)]
    for name, long_name, units in (
        ("background", "where particles end, weighted as the row is", "ppm"),
        ("background_sd", "standard deviation over particles", "ppm"),
        ("background_sampled", "share of particles that ended inside the field", "1"),
    ):
        variable = file.create_variable(name, ("obs",), "f8", data=ordered[name].to_numpy(float))
        variable.attrs.update({"long_name": long_name, "units": units})


def column_sums(file: h5netcdf.File) -> NDArray[np.float64]:
    """Return the sum of a jacobian over observations and hours, shape ``(lat, lon)``, read a block at a time."""
    ny, nx = file.variables["cell_area"].shape
    indices, data = file.variables["indices"], file.variables["data"]
    out = np.zeros(ny * nx)
    for start in range(0, len(data), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(data)))
        out += np.bincount(indices[block] % (ny * nx), weights=data[block], minlength=ny * nx)
    return out.reshape(ny, nx)
