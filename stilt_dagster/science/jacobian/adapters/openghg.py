"""For OpenGHG and openghg_inversions: rows as a file of footprints in OpenGHG's PARIS format, and their observations.

OpenGHG 0.19 reads the file with ``standardise_footprint(source_format="paris")``; openghg_inversions 0.7 takes it from
OpenGHG's object store, or as a ``FootprintData``. Its conventions, and what they are here:

``srr`` (``fp``)
    ``(time, latitude, longitude)``, (mol mol-1) / (mol m-2 s-1): the number that ppm / (umol m-2 s-1) has. Summed over
    all hours: OpenGHG multiplies it with the flux at the time of the observation.
``srr_time_resolved``, ``srr_residual`` (``fp_time_resolved``, ``fp_residual``; ``resolution`` is ``H_back``)
    By hours back, as OpenGHG uses it for CO2: hour k is the flux of the k-th full hour of UTC before that of the
    observation, hour 0 that hour itself. What is older than 24 hours is the residual, which OpenGHG multiplies with
    monthly fluxes.
``time``
    Unique and ascending, as OpenGHG asks: observations of one time are a millisecond apart, in the order of the rows.
    In a time resolved file it is the start of the hour, since OpenGHG counts hours back from it.
``particle_locations_n``, ``_e``, ``_s``, ``_w``
    Share of the particles that came in by each cell of the domain's sides, of those that came in by one, as NAME's
    (``particle_locations`` of ACRG's process.py: normalised to 1 over the four); times what the particles of a column
    stand for of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5netcdf
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stilt_dagster.science.jacobian.adapters.operator import (
    AdapterError,
    Operator,
    hours_since_1970,
    require_finished,
    require_grid,
    require_hours,
)
from stilt_dagster.science.scratch import whole, writing

#: Hours back OpenGHG resolves: it keeps those of a day.
MOST_HOURS_BACK = 24

_UNITS = "m2 s mol-1"
_SIDES = ("n", "e", "s", "w")
_MILLISECONDS = "milliseconds since 1970-01-01 00:00:00"


class Curtains(Protocol):
    """By which cells of the domain's sides the air of each observation came in."""

    @property
    def heights(self) -> NDArray[np.float64]:
        """Middles of the bins of height, m."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """What the particles of each observation stand for of it: 1 of a point, less of a column, shape ``(rows,)``."""

    def read(self, rows: slice) -> Mapping[str, NDArray[np.float32]]:
        """Return the share of particles by cell of each side, for some rows.

        ``n`` and ``s`` have shape ``(rows, height, lon)``, ``e`` and ``w`` ``(rows, height, lat)``.
        """


def unique_times(times: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the order of rows by time, and their times in it, each a millisecond after the one before at least.

    Parameters
    ----------
    times : array_like of datetime64, shape (rows,)
        UTC.

    Returns
    -------
    order : ndarray of int, shape (rows,)
        Rows of one time keep their order.
    stamps : ndarray of int64, shape (rows,)
        Milliseconds since 1970, of the rows in that order.
    """
    milliseconds = np.asarray(times, "datetime64[ms]").astype(np.int64)
    order = np.argsort(milliseconds, kind="stable")
    place = np.arange(len(order))
    return order, np.maximum.accumulate(milliseconds[order] - place) + place


def write_footprints(
    operator: Operator, path: Path, *, time_resolved: bool = False, curtains: Curtains | None = None
) -> Path:
    """Write rows as a file of footprints, a row at a time.

    Parameters
    ----------
    operator : Operator
        On a longitude/latitude grid, without failed rows.
    path : Path
        The NetCDF to write, all at once.
    time_resolved : bool
        Write hours back too, for fluxes that change within a day.
    curtains : Curtains, optional
        Where the air came in. Without it, ``particle_locations`` are NaN, and OpenGHG knows no boundary of the rows.

    Returns
    -------
    Path
        *path*.

    Raises
    ------
    AdapterError
        If observations failed, columns are regions or cells of a projected grid, or *time_resolved* asks for hours of
        a matrix that has none.
    """
    require_finished(operator, "OpenGHG")
    require_grid(operator, "OpenGHG", longlat=True)
    times = np.asarray(operator.obs["time"], "datetime64[ms]")
    released, hours = hours_since_1970(times), None
    if time_resolved:
        hours = require_hours(operator, "a time resolved file of OpenGHG")
        times = released.astype("datetime64[h]")
        if len(times) < 2:
            raise AdapterError("OpenGHG tells the step of time resolved footprints from two observations or more")
    order, stamps = unique_times(times)
    place = np.argsort(order)
    with writing(path), whole(path) as part, h5netcdf.File(part, "w") as file:
        _describe(file, operator, order, stamps, curtains)
        oldest = None if hours is None else int(released.max() - hours.min())
        layers = _footprint_variables(file, operator, oldest)
        for rows, block in operator.iter_blocks():
            for k, row in enumerate(range(rows.start, rows.stop)):
                entries = slice(int(block.indptr[k]), int(block.indptr[k + 1]))
                columns, values = block.indices[entries].astype(np.int64), block.data[entries]
                _write_row(layers, int(place[row]), columns, values, None if hours is None else released[row] - hours)
            if curtains is not None:
                _write_curtains(file, place[rows], curtains.read(rows), curtains.weights[rows])
    return path


def _describe(
    file: h5netcdf.File,
    operator: Operator,
    order: NDArray[np.intp],
    stamps: NDArray[np.int64],
    curtains: Curtains | None,
) -> None:
    """Write axes, where observations are, and the variables of the boundary."""
    cells = operator.cells
    heights = np.arange(500.0, 20_000.0, 1000.0) if curtains is None else np.asarray(curtains.heights, np.float64)
    sizes = {"time": len(stamps), "latitude": len(cells.y), "longitude": len(cells.x), "height": len(heights)}
    file.dimensions.update(sizes)
    time = file.create_variable("time", ("time",), "i8", data=stamps)
    time.attrs.update({"units": _MILLISECONDS, "calendar": "proleptic_gregorian", "standard_name": "time"})
    for name, values, units in (
        ("latitude", cells.y, "degrees_north"),
        ("longitude", cells.x, "degrees_east"),
        ("height", heights, "m"),
    ):
        axis = file.create_variable(name, (name,), "f8", data=np.asarray(values, np.float64))
        axis.attrs.update({"standard_name": name, "units": units})
    for name, column, units in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
        release = file.create_variable(
            f"release_{name}", ("time",), "f8", data=operator.obs[column].to_numpy(np.float64)[order]
        )
        release.attrs.update({"long_name": f"{column} of the observation", "units": units})
    for side in _SIDES:
        along = "longitude" if side in "ns" else "latitude"
        variable = file.create_variable(
            f"particle_locations_{side}",
            ("time", along, "height"),
            "f4",
            fillvalue=np.float32(np.nan),
            chunks=(1, sizes[along], sizes["height"]),
            compression="gzip",
            compression_opts=1,
        )
        variable.attrs.update({"long_name": "share of particles that came in by the cell of this side", "units": "1"})
    file.attrs.update(
        {
            "Conventions": "CF-1.9",
            "title": "STILT footprints",
            "source": "HYSPLIT-STILT",
            "transport_model": "STILT",
            "history": "written by stilt_dagster from jacobians, in OpenGHG's PARIS format",
        }
    )


def _footprint_variables(file: h5netcdf.File, operator: Operator, oldest: int | None) -> dict[str, Any]:
    """Make the variables rows go to."""
    ny, nx = operator.cells.shape
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    dims = ("time", "latitude", "longitude")
    found = {"srr": file.create_variable("srr", dims, "f4", chunks=(1, ny, nx), **options)}
    if oldest is not None:
        hours = int(np.clip(oldest + 1, 2, MOST_HOURS_BACK))
        file.dimensions["resolution"] = hours
        resolution = file.create_variable("resolution", ("resolution",), "i8", data=np.arange(hours))
        resolution.attrs.update(
            {"units": "hours", "dtype": "timedelta64[ns]", "long_name": "full hours of UTC before that of the time"}
        )
        found["srr_residual"] = file.create_variable("srr_residual", dims, "f4", chunks=(1, ny, nx), **options)
        found["srr_time_resolved"] = file.create_variable(
            "srr_time_resolved", (*dims, "resolution"), "f4", chunks=(1, ny, nx, hours), **options
        )
    for name, variable in found.items():
        variable.attrs.update({"units": _UNITS, "long_name": "source receptor relationship" + _WHAT[name]})
    return found


_WHAT = {"srr": ", all hours", "srr_residual": ", older than the hours back", "srr_time_resolved": ", by hours back"}


def _write_row(
    variables: Mapping[str, Any],
    place: int,
    columns: NDArray[np.int64],
    values: NDArray[Any],
    back: NDArray[np.int64] | None,
) -> None:
    """Write the entries of a row where it goes; *back* are the hours back of the steps of flux."""
    whole_sum = variables["srr"]
    _, ny, nx = whole_sum.shape
    step, cell = np.divmod(columns, ny * nx)
    whole_sum[place] = np.bincount(cell, values, ny * nx).reshape(ny, nx)
    if back is None:
        return
    resolved = variables["srr_time_resolved"]
    hours = resolved.shape[-1]
    hour = back[step]
    recent = hour < hours
    resolved[place] = np.bincount(cell[recent] * hours + hour[recent], values[recent], ny * nx * hours).reshape(
        ny, nx, hours
    )
    variables["srr_residual"][place] = np.bincount(cell[~recent], values[~recent], ny * nx).reshape(ny, nx)


def side_shares(
    shares: Mapping[str, NDArray[np.float32]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return shares by side that sum to what the particles stand for, over the four sides of each row.

    Those that came in by no side, from above or from within, are taken to have come in as the others did. NaN where no
    particle came in by a side.

    Parameters
    ----------
    shares : dict of str to ndarray
        Shares of particles by side, shape ``(rows, height, along)``.
    weights : ndarray, shape (rows,)
        What the particles of each row stand for.
    """
    sums = np.sum([shares[side].sum(axis=(1, 2), dtype=np.float64) for side in _SIDES], axis=0)
    factor = np.full(len(sums), np.nan)
    np.divide(weights, sums, out=factor, where=sums > 0)
    return {side: shares[side] * factor[:, None, None] for side in _SIDES}


def _write_curtains(
    file: h5netcdf.File,
    places: NDArray[np.intp],
    shares: Mapping[str, NDArray[np.float32]],
    weights: NDArray[np.float64],
) -> None:
    """Write by which cells the air of some rows came in."""
    for side, values in side_shares(shares, weights).items():
        variable = file.variables[f"particle_locations_{side}"]
        for place, share in zip(places.tolist(), values, strict=True):
            variable[place] = share.T.astype(np.float32)


def write_observations(operator: Operator, path: Path) -> Path:
    """Write observations at the times of the footprints, as openghg_inversions' xarray input names them.

    ``mf`` is the retrieved value less what the retrieval's prior adds, which is what flux and background make.

    Parameters
    ----------
    operator : Operator
        Of a retrieval, without failed rows.
    path : Path
        The NetCDF to write, all at once.

    Returns
    -------
    Path
        *path*.

    Raises
    ------
    AdapterError
        If observations failed or have no value.
    """
    require_finished(operator, "OpenGHG")
    obs = operator.obs
    if "value" not in obs:
        raise AdapterError("observations have no retrieved value: use scenes of a retrieval")
    order, stamps = unique_times(obs["time"])
    error = obs["uncertainty"].to_numpy(np.float64)
    rows = {
        "mf": (
            (obs["value"] - obs["prior_term"]).to_numpy(np.float64),
            "observed, less what the retrieval's prior adds",
        ),
        "mf_error": (error, "one standard deviation"),
        "mf_repeatability": (error, "one standard deviation of the retrieval"),
        "mf_variability": (np.zeros(len(obs)), "no spread within an observation is known"),
    }
    with writing(path), whole(path) as part, h5netcdf.File(part, "w") as file:
        file.dimensions["time"] = len(order)
        time = file.create_variable("time", ("time",), "i8", data=stamps)
        time.attrs.update({"units": _MILLISECONDS, "calendar": "proleptic_gregorian", "standard_name": "time"})
        for name, (values, long_name) in rows.items():
            variable = file.create_variable(name, ("time",), "f8", data=values[order] * 1e-6)
            variable.attrs.update({"long_name": long_name, "units": "mol/mol"})
        for name, column, units in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
            release = file.create_variable(f"release_{name}", ("time",), "f8", data=obs[column].to_numpy()[order])
            release.attrs.update({"long_name": f"{column} of the observation", "units": units})
        file.attrs.update({"Conventions": "CF-1.9", "title": "observations of the footprints beside it"})
    return path
