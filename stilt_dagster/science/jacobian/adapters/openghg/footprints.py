"""Footprints, a NetCDF in OpenGHG's PARIS format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.openghg.axes import unique_times, write_axis
from stilt_dagster.science.jacobian.adapters.openghg.boundary import NAME_HEIGHTS, SIDES, Curtains, write_curtains
from stilt_dagster.science.jacobian.adapters.operator import (
    Operator,
    hours_since_1970,
    require_finished,
    require_grid,
    require_hours,
)
from stilt_dagster.science.jacobian.cells import GridCells
from stilt_dagster.science.scratch import whole, writing

if TYPE_CHECKING:
    import pandas as pd

#: Hours back that are resolved: OpenGHG reads those of a day.
HOURS_BACK = 24

#: Rows whose boundary is read at a time: of a large grid each takes megabytes.
_CURTAINS = 64

_UNITS = "m2 s mol-1"
_WHAT = {"srr": ", all hours", "srr_residual": ", older than the hours back", "srr_time_resolved": ", by hours back"}


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
    JacobianError
        If observations failed, columns are regions or cells of a projected grid, or *time_resolved* asks for what the
        matrix has not, or OpenGHG cannot use.
    """
    require_finished(operator, "OpenGHG")
    cells = require_grid(operator, "OpenGHG", longlat=True)
    times = np.asarray(operator.obs["time"], "datetime64[ms]")
    released, hours = hours_since_1970(times), None
    if time_resolved:
        hours = require_hours(operator, "a time resolved file of OpenGHG")
        times = released.astype("datetime64[h]")
        _require_resolvable(times)
    order, stamps = unique_times(times)
    place = np.argsort(order)
    with writing(path), whole(path) as part, h5netcdf.File(part, "w") as file:
        _describe(file, operator.obs.iloc[order], cells, stamps, curtains)
        layers = _footprint_variables(file, cells, time_resolved=time_resolved)
        for rows, block in operator.iter_blocks():
            for k, row in enumerate(range(rows.start, rows.stop)):
                entries = slice(int(block.indptr[k]), int(block.indptr[k + 1]))
                columns, values = block.indices[entries].astype(np.int64), block.data[entries]
                _write_row(layers, int(place[row]), columns, values, None if hours is None else released[row] - hours)
            for start in range(rows.start, rows.stop, _CURTAINS):
                some = slice(start, min(start + _CURTAINS, rows.stop))
                if curtains is not None:
                    write_curtains(file, place[some], curtains.read(some), curtains.weights[some])
    return path


def _require_resolvable(times: NDArray[np.datetime64]) -> None:
    """Make sure that OpenGHG can multiply time resolved footprints with fluxes (0.19, analyse/_modelled_obs.py).

    Raises
    ------
    JacobianError
        If there is one observation, or the first is not of the first day of a month: monthly fluxes are taken from
        months that begin in the file's times or a day before, and what has none becomes 0 without a word.
    """
    if len(times) < 2:
        raise JacobianError("OpenGHG tells the step of time resolved footprints from two observations or more")
    first = times.min()
    if first - first.astype("datetime64[M]") > np.timedelta64(HOURS_BACK, "h"):
        raise JacobianError(
            f"the first observation is of {first.astype('datetime64[D]')}, and OpenGHG makes 0 of time resolved "
            "footprints in files that do not begin on the first day of a month: take those from one on"
        )


def _describe(
    file: h5netcdf.File,
    obs: pd.DataFrame,
    cells: GridCells,
    stamps: NDArray[np.int64],
    curtains: Curtains | None,
) -> None:
    """Write axes, where observations are, and the variables of the boundary."""
    write_axis(file, obs, stamps)
    heights = NAME_HEIGHTS if curtains is None else np.asarray(curtains.heights, np.float64)
    sizes = {"latitude": len(cells.y), "longitude": len(cells.x), "height": len(heights)}
    file.dimensions.update(sizes)
    for name, values, units in (
        ("latitude", cells.y, "degrees_north"),
        ("longitude", cells.x, "degrees_east"),
        ("height", heights, "m"),
    ):
        axis = file.create_variable(name, (name,), "f8", data=np.asarray(values, np.float64))
        axis.attrs.update({"standard_name": name, "units": units})
    for side in SIDES:
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
            "source": "STILT",  # by whichever engine, of scenes that may differ in it
            "transport_model": "STILT",
            "history": "written by stilt_dagster from jacobians, in OpenGHG's PARIS format",
        }
    )


def _footprint_variables(file: h5netcdf.File, cells: GridCells, *, time_resolved: bool) -> dict[str, Any]:
    """Make the variables rows go to."""
    ny, nx = cells.shape
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    dims = ("time", "latitude", "longitude")
    found = {"srr": file.create_variable("srr", dims, "f4", chunks=(1, ny, nx), **options)}
    if time_resolved:
        file.dimensions["resolution"] = HOURS_BACK
        resolution = file.create_variable("resolution", ("resolution",), "i8", data=np.arange(HOURS_BACK))
        resolution.attrs.update(
            {"units": "hours", "dtype": "timedelta64[ns]", "long_name": "full hours of UTC before that of the time"}
        )
        found["srr_residual"] = file.create_variable("srr_residual", dims, "f4", chunks=(1, ny, nx), **options)
        found["srr_time_resolved"] = file.create_variable(
            "srr_time_resolved", (*dims, "resolution"), "f4", chunks=(1, ny, nx, HOURS_BACK), **options
        )
    for name, variable in found.items():
        variable.attrs.update({"units": _UNITS, "long_name": "source receptor relationship" + _WHAT[name]})
    return found


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
    hour = back[step]
    if len(hour) and hour.min() < 0:
        raise JacobianError("an observation feels fluxes of hours after it: the jacobian is damaged, make it again")
    recent = hour < HOURS_BACK
    bins = np.bincount(cell[recent] * HOURS_BACK + hour[recent], values[recent], ny * nx * HOURS_BACK)
    resolved[place] = bins.reshape(ny, nx, HOURS_BACK)
    variables["srr_residual"][place] = np.bincount(cell[~recent], values[~recent], ny * nx).reshape(ny, nx)
