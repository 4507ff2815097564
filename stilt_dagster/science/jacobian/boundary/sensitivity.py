"""What the boundary adds to the rows of a matrix, as columns of a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.boundary.joining import Bins, bins_of, require_one_boundary
from stilt_dagster.science.jacobian.reading import JacobianFile
from stilt_dagster.science.observations.boundary import SIDES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Rows(Protocol):
    """Rows of a file in a matrix."""

    @property
    def file(self) -> JacobianFile:
        """The file."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which of its rows."""

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each of them is in the matrix."""


def boundary_sensitivity(obs: pd.DataFrame, pieces: Sequence[Rows]) -> xr.DataArray:
    """Return what 1 ppm of each side and height of the boundary adds to each observation, ppm ppm-1.

    ``hbc_weight * hbc``: its product with mole fractions of ``(side, boundary_height)`` is the background.

    Parameters
    ----------
    obs : pandas.DataFrame
        Observations of a matrix, by ``obs_id``.
    pieces : sequence of Rows
        The rows of files it has.

    Returns
    -------
    xarray.DataArray
        ``(obs_id, side, boundary_height)``; NaN of observations that failed.

    Raises
    ------
    JacobianError
        If a scene keeps no boundary, its file is damaged, or two have other bins of height.
    """
    import xarray as xr

    if not pieces:
        raise JacobianError("the matrix has no observations, and so no boundary")
    names = [piece.file.name for piece in pieces]
    bins: list[Bins | None] = []
    parts: list[NDArray[np.float32]] = []
    for piece in pieces:
        some, part = _read(piece)
        bins.append(some)
        parts.append(part)
    require_one_boundary(bins, names)
    made = np.full((len(obs), *parts[0].shape[1:]), np.nan)
    for piece, part in zip(pieces, parts, strict=True):
        made[piece.places] = part
    made *= obs["hbc_weight"].to_numpy(np.float64)[:, None, None]
    edges = np.array(bins[0][1]) if bins[0] is not None else np.zeros(0)
    middles = (edges[:-1] + edges[1:]) / 2
    coords = {"obs_id": obs.index.to_numpy(), "side": list(SIDES), "boundary_height": middles}
    return xr.DataArray(made, coords, tuple(coords), "boundary", {"units": "ppm ppm-1"})


def _read(piece: Rows) -> tuple[Bins, NDArray[np.float32]]:
    """Return the bins of height of a file, and some of its rows of ``hbc``."""
    name = piece.file.name
    with piece.file.opened() as source, h5netcdf.File(source, "r") as file:
        try:
            bins = bins_of(file)
            if bins is None:
                raise JacobianError(f"{name} has no boundary: give its scene background.boundary")
            part = np.asarray(file.variables["hbc"][:], np.float32)[piece.rows]
        except (KeyError, IndexError, OSError, ValueError) as error:
            raise JacobianError(f"{name} is damaged: its boundary cannot be read ({error})") from error
    if part.shape[1:] != (len(SIDES), len(bins[1]) - 1):
        raise JacobianError(f"{name} is damaged: its hbc has the shape {part.shape}")
    return bins, part
