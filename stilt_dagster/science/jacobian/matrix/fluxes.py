"""Fluxes on a map as vectors of a matrix, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError, counted
from stilt_dagster.science.jacobian.cells import Cells, Floats, GridCells, as_numbers, require_map

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: Units of fluxes, and other ways to write them.
FLUX_UNITS = "umol m-2 s-1"
_SAME_UNITS = {"umol m-2 s-1", "umol/m2/s", "umol m^-2 s^-1", "umol/m^2/s", "umol m**-2 s**-1", "micromol m-2 s-1"}

#: Kinds of values on an axis of a flux and of a matrix that can be the same: numbers, times, names of regions.
_COMPARABLE = {("f", "f"), ("i", "f"), ("u", "f"), ("M", "M"), ("O", "O"), ("U", "O")}


def flux_vector(flux: xr.DataArray, times: pd.DatetimeIndex, cells: Cells) -> Floats:
    """Return fluxes on a map as a vector, shape (time steps * cells,), C order of (flux_time, cells).

    Parameters
    ----------
    flux : xarray.DataArray
        On ``flux_time`` and the axes of the cells, in any order, and more of each than is needed; umol m-2 s-1. Without
        ``flux_time`` it is the same at all times.
    times : pandas.DatetimeIndex
        Starts of time steps.
    cells : GridCells or Regions
        Cells of a step.

    Raises
    ------
    JacobianError
        If it has other dimensions, times, cells or units, or values that are not finite.
    """
    dims = ("flux_time", *cells.dims)
    require_map(flux, "fluxes", dims)
    units = (
        str(flux.attrs.get("units", FLUX_UNITS))
        .strip()
        .replace("\N{MICRO SIGN}", "u")
        .replace("\N{GREEK SMALL LETTER MU}", "u")
    )
    if units not in _SAME_UNITS:
        raise JacobianError(f"the flux is in {units!r}, and a jacobian takes {FLUX_UNITS}: convert it")
    if "flux_time" not in flux.dims:
        flux = flux.expand_dims(flux_time=times)
    if set(flux.dims) != set(dims):
        raise JacobianError(f"the flux has dimensions {flux.dims}, and needs {dims}")
    flux = flux.transpose(*dims)
    for dim in dims:
        if dim not in flux.coords:
            raise JacobianError(f"the flux has no coordinate {dim}: which values are where is not known")
        axis = flux[dim].to_numpy()
        wanted = times.to_numpy() if dim == "flux_time" else np.asarray(cells.coordinates[dim])
        if (axis.dtype.kind, wanted.dtype.kind) not in _COMPARABLE:
            raise JacobianError(
                f"the flux has values of {axis.dtype} on its {dim}, and this matrix {wanted.dtype}: convert them"
            )
        flux = flux.isel({dim: _places(axis, wanted, dim)})
    if flux.dtype.kind not in "iufb":
        raise JacobianError(f"the flux holds no numbers but {flux.dtype}: convert it")
    x: Floats = flux.to_numpy().astype(np.float64).ravel()
    if not np.isfinite(x).all():
        raise JacobianError(
            f"{np.count_nonzero(~np.isfinite(x))} of {counted(len(x), 'value')} of the flux are not finite: fill them"
        )
    return x


def _places(axis: NDArray, wanted: NDArray, dim: str) -> NDArray[np.int64]:
    """Return where on an axis the wanted values are."""
    order = np.argsort(axis, kind="stable")
    near = np.searchsorted(axis[order], wanted)
    if wanted.dtype.kind == "f":
        tolerance = 1e-3 * float(np.min(np.diff(wanted))) if len(wanted) > 1 else 1e-6
        near = np.clip(near, 1, max(len(axis) - 1, 1))
        left, right = axis[order][near - 1], axis[order][np.minimum(near, len(axis) - 1)]
        near = np.where(np.abs(wanted - left) <= np.abs(right - wanted), near - 1, near)
        near = np.clip(near, 0, len(axis) - 1)
        missing = np.abs(axis[order][near] - wanted) > tolerance
    else:
        near = np.clip(near, 0, len(axis) - 1)
        missing = axis[order][near] != wanted
    if missing.any():
        raise JacobianError(
            f"the flux has no {dim} {wanted[missing][0]}, nor {np.count_nonzero(missing) - 1} others of this matrix: "
            "put it on the matrix's time steps and cells"
        )
    return order[near]


def flux_array(x: Any, times: pd.DatetimeIndex, bounds: NDArray, cells: Cells) -> xr.DataArray:
    """Return a vector of fluxes on a map, with coordinates."""
    import xarray as xr

    x = as_numbers(x, "a vector of fluxes")
    if x.shape != (len(times) * cells.size,):
        raise JacobianError(f"a vector of fluxes has shape ({len(times) * cells.size},), this one {x.shape}")
    coordinates = {
        "flux_time": times,
        "flux_time_end": ("flux_time", bounds[:, 1]),
        **cells.coordinates,
        "cell_area": (cells.dims, cells.area, {"units": "m2"}),
    }
    out = xr.DataArray(x.reshape(len(times), *cells.shape), coordinates, ("flux_time", *cells.dims), name="flux")
    out.attrs["units"] = FLUX_UNITS
    if isinstance(cells, GridCells) and cells.is_longlat:
        out["lat"].attrs["units"], out["lon"].attrs["units"] = "degrees_north", "degrees_east"
    return out
