"""The file of a jacobian, ``stilt-jacobian/1``.

NetCDF-4 that reads with xarray and scipy alone::

    ds = xr.open_dataset("jacobian/<scene>.nc")
    H = scipy.sparse.csr_matrix((ds.data, ds.indices, ds.indptr), shape=ds.attrs["shape"])

Row i is observation i of the receptor table; column j is a cell of the footprint grid in one hour of flux, in C order
of ``(flux_time, lat, lon)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stilt_dagster import __version__
from stilt_dagster.science.engine_agreement import Agreement
from stilt_dagster.science.files.format_numbers import JACOBIAN_FORMAT
from stilt_dagster.science.footprints.footprint_files import FOOT_UNITS, TEXT, write_grid, write_outcomes
from stilt_dagster.science.jacobian.row_spool import RowSpool
from stilt_dagster.science.observations.column_operator import operators
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.validation import digest


def write_matrix(
    file: h5netcdf.File,
    scene: Scene,
    outcomes: Sequence[Outcome],
    indptr: NDArray[np.int64],
    row_sum: NDArray[np.float64],
    spool: RowSpool,
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
    ids[:] = np.array(receptors.ids, dtype=object)
    ids.attrs["long_name"] = "receptor id"
    variable("time", ("obs",), "f8", receptors.minutes, standard_name="time", units="minutes since 1970-01-01 00:00:00")
    variable(
        "longitude",
        ("obs",),
        "f8",
        receptors.longitude[:, 0],
        standard_name="longitude",
        units="degrees_east",
    )
    variable("latitude", ("obs",), "f8", receptors.latitude[:, 0], standard_name="latitude", units="degrees_north")
    write_outcomes(file, "obs", outcomes)
    variable("row_sum", ("obs",), "f8", row_sum, long_name="sum of the row", units=FOOT_UNITS)
    variable("indptr", ("obs_bound",), "i8", indptr, long_name="where each row begins and the last ends")
    indices, data = create_entries(file, spool.kind)
    for block, columns, values in spool.blocks(indptr):
        indices[block] = columns
        data[block] = values
    file.attrs.update(
        {
            "Conventions": "CF-1.9",  # the first with 64-bit integers
            "format": JACOBIAN_FORMAT,
            "source": scene.transport.model,
            "history": f"stacked from footprints by stilt_dagster {__version__}",
            "title": f"STILT jacobian of {scene.id}",
            "sparse_format": "csr",
            "shape": np.array([len(receptors), len(bounds) * settings.grid.ny * settings.grid.nx], "i8"),
            "column_order": f"flux_time {y} {x}",
            "scene": scene.id,
            "settings_hash": digest(scene.model_dump(mode="json")),
        }
    )


def write_agreement(file: h5netcdf.File, agreement: Agreement) -> None:
    """Write how the engine that simulated compares with hycs_std, at the receptors where it was held against it."""
    file.attrs["engine_verdict"] = agreement.verdict
    file.attrs["engine_compared"] = np.int64(agreement.compared)
    if agreement.reference:
        file.attrs["engine_reference"] = agreement.reference
    for name, value in agreement.summary.items():
        file.attrs[f"engine_{name}"] = np.float64(value)


def create_file(path: Path) -> h5netcdf.File:
    """Return a new file whose large variables begin at full pages, so that they can be used as they lie there."""
    return h5netcdf.File(path, "w", alignment_threshold=1 << 16, alignment_interval=1 << 12)


def create_entries(file: h5netcdf.File, kind: Any) -> tuple[h5netcdf.Variable, h5netcdf.Variable]:
    """Create the variables of entries, columns of a *kind* of integers, and values; their dimension is there.

    Not compressed, and in one piece: what multiplies them maps them, at the speed of memory.
    """
    indices = file.create_variable("indices", ("nnz",), kind)
    indices.attrs["long_name"] = "column, (flux_time * ny + iy) * nx + ix, ascending in a row"
    data = file.create_variable("data", ("nnz",), "f4")
    data.attrs.update({"long_name": "influence of a flux on an observation", "units": FOOT_UNITS})
    return indices, data


def write_soundings(file: h5netcdf.File, scene: Scene) -> None:
    """Write what a retrieval says of each observation, and what its prior adds."""
    soundings, kernel = scene.soundings, scene.weighting.averaging_kernel
    prior = [
        operator.prior_term(bottom, top, kernel=kernel)
        for operator, (bottom, top) in zip(operators(soundings), scene.receptor_list.height.tolist(), strict=True)
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
        ("top", ("obs",), scene.receptor_list.height[:, 1], "top of the column of particles", "m"),
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


def write_background_columns(file: h5netcdf.File, background: pa.Table, ids: Sequence[str]) -> None:
    """Write what observations would be without fluxes on the grid, as far as the scene's background says."""
    places = {receptor: k for k, receptor in enumerate(background.column("receptor").to_pylist())}
    order = [places[receptor] for receptor in ids]
    for name, long_name, units in (
        ("background", "where particles end, weighted as the row is", "ppm"),
        ("background_sd", "standard deviation over particles", "ppm"),
        ("background_sampled", "share of particles that ended inside the field", "1"),
        ("hbc_weight", "what the particles stand for: background is hbc_weight * sum(hbc * boundary)", "1"),
        ("hbc_inside", "share of the particles' weight that never left the grid's box", "1"),
    ):
        if name in background.column_names:
            variable = file.create_variable(name, ("obs",), "f8", data=background.column(name).to_numpy()[order])
            variable.attrs.update({"long_name": long_name, "units": units})


def write_transport_error(file: h5netcdf.File, errors: pa.Table) -> None:
    """Write the errors of transport, whose rows are those of the matrix."""
    for name, long_name, units in (
        ("transport_error", "one standard deviation of the signal of the scene's fluxes by errors of transport", "ppm"),
        ("transport_error_covered", "share of the influence that lies inside these fluxes' field", "1"),
    ):
        variable = file.create_variable(name, ("obs",), "f8", data=errors.column(name).to_numpy())
        variable.attrs.update({"long_name": long_name, "units": units})
