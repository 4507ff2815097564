"""A jacobian as a matrix and its observations, for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.hdf5_checks import find_hostile_part
from stilt_dagster.science.versions import JACOBIAN_FORMAT

if TYPE_CHECKING:
    import scipy.sparse
    import xarray as xr


@dataclass(frozen=True)
class Jacobian:
    """A scene's jacobian.

    Attributes
    ----------
    matrix : scipy.sparse.csr_matrix
        Observations by cells of flux, ppm (umol m-2 s-1)-1; columns in the order of ``(flux_time, lat, lon)``.
    dataset : xarray.Dataset
        The file: ids, times and outcomes of observations; hours, grid and cell areas of columns.
    """

    matrix: scipy.sparse.csr_matrix
    dataset: xr.Dataset


def open_jacobian(path: Path | str) -> Jacobian:
    """Open the jacobian of a scene, its matrix in memory.

    Parameters
    ----------
    path : path
        The file, ``<store>/jacobian/<scene>.nc``.

    Returns
    -------
    Jacobian

    Raises
    ------
    IncompleteError
        If there is no such file, or it is no ``stilt-jacobian/1``.
    """
    import scipy.sparse
    import xarray as xr

    where = Path(path)
    if not where.is_file():
        raise IncompleteError(f"{where} does not exist: run the scene first, or name its jacobian")
    try:
        if hostile := find_hostile_part(where):
            raise IncompleteError(f"{where} is not read: {hostile}")
        ds = xr.open_dataset(where)
    except (OSError, RuntimeError, ValueError) as error:
        raise IncompleteError(f"{where} is not a jacobian: {error}") from error
    if ds.attrs.get("format") != JACOBIAN_FORMAT:
        raise IncompleteError(f"{where} is not a {JACOBIAN_FORMAT}")
    arrays = (ds["data"].to_numpy(), ds["indices"].to_numpy(), ds["indptr"].to_numpy())
    return Jacobian(scipy.sparse.csr_matrix(arrays, shape=tuple(ds.attrs["shape"])), ds)
