"""For the Integrated Methane Inversion (IMI): a granule's observations and its part of the jacobian, a pickle each.

IMI (Varon et al. 2022, doi:10.5194/gmd-15-5787-2022) keeps ``data_converted/<granule>_GCtoSatellite.pkl``, a dict that
its ``jacobian.py`` writes and its ``invert.py`` reads:

``obs_GC``
    float32 ``(n, 5)``: observed and simulated column, ppb; longitude, latitude; observations it stands for.
``K``
    float32 ``(n, elements)``: mol mol-1 per unit of an element's factor, which scales its prior flux.

IMI's state is factors of the prior over the whole period, one for each element of ``StateVector.nc``, 1 before the
inversion. So an element is entries times prior flux, summed over its cells and all hours, and the simulated column is
what the prior flux of all cells, the background and the retrieval's prior make.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from stilt_dagster.science.errors import JacobianError, counted
from stilt_dagster.science.jacobian.adapters.operator import Operator, require_finished, require_grid
from stilt_dagster.science.jacobian.cells import GridCells, as_numbers
from stilt_dagster.science.scratch import whole, writing

#: What of each unit IMI's files hold: mol mol-1 and ppb in a ppm.
_MOL_MOL, _PPB = 1e-6, 1e3

#: What a scene's name may be; a file of another can say anything.
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def element_map(labels: ArrayLike, prior: NDArray[np.float64]) -> scipy.sparse.csr_matrix:
    """Return the matrix that turns factors of elements into fluxes.

    ``H @ element_map`` are columns of IMI's ``K``, ppm per unit factor.

    Parameters
    ----------
    labels : array_like, shape (ny, nx)
        The element of each cell, from 1; cells of 0 or NaN are in none.
    prior : ndarray, shape (columns,)
        Prior flux, umol m-2 s-1, in the C order of ``(flux_time, y, x)``.

    Raises
    ------
    JacobianError
        If labels are not the whole numbers from 1 to how many elements there are.
    """
    values = np.nan_to_num(np.asarray(labels, np.float64).ravel(), nan=0.0)
    elements = np.unique(values[values != 0])
    if not len(elements) or not np.array_equal(elements, np.arange(1, len(elements) + 1)):
        raise JacobianError(
            "elements of the state vector must be numbered from 1 without gaps, 0 or NaN where there is none"
        )
    within = np.tile(values > 0, len(prior) // len(values))
    column = np.flatnonzero(within)
    element = np.tile(values, len(prior) // len(values))[within].astype(np.int64) - 1
    return scipy.sparse.csr_matrix((prior[within], (column, element)), shape=(len(prior), len(elements)))


def write_granules(
    operator: Operator,
    directory: Path,
    *,
    prior: NDArray[np.float64],
    state_vector: Any,
    background: ArrayLike | None = None,
) -> dict[str, Path]:
    """Write each scene's rows as IMI's file of a granule.

    Parameters
    ----------
    operator : Operator
        Of a retrieval, on a grid, without failed rows.
    directory : Path
        IMI's ``data_converted``; it is made.
    prior : ndarray, shape (columns,)
        Prior flux, umol m-2 s-1, as ``H.flux_vector`` returns it. Elements of a flux of 0 have no influence.
    state_vector : array_like or xarray.DataArray, shape (ny, nx)
        ``StateVector`` of IMI's ``StateVector.nc``, on the matrix's grid; a DataArray is checked to be on it.
    background : array_like, shape (rows,), optional
        What the observations would be without fluxes on the grid, ppm; by default ``background`` of ``obs``.

    Returns
    -------
    dict of str to Path
        The file of each scene.

    Raises
    ------
    JacobianError
        If observations failed or have no value or background, or prior and state vector are not on the grid.
    """
    require_finished(operator, "IMI")
    labels = _labels(require_grid(operator, "IMI"), state_vector)
    prior = as_numbers(prior, "the prior")
    if prior.shape != (operator.shape[1],):
        raise JacobianError(
            f"the prior has shape {prior.shape}, and the matrix {operator.shape[1]} columns: use H.flux_vector"
        )
    if not np.isfinite(prior).all():
        raise JacobianError("the prior has values that are not finite")
    factors = element_map(labels, prior)
    obs = operator.obs
    scenes = [str(scene) for scene in obs["scene"].unique()]
    if wrong := next((s for s in scenes if not _FILE_NAME.fullmatch(s)), None):
        raise JacobianError(f"scene {wrong!r} cannot be part of a file's name: open the jacobian of another file")
    known = _known_part(operator, background)
    table = np.empty((operator.shape[0], 5), np.float32)
    sensitivity = np.empty((operator.shape[0], factors.shape[1]), np.float32)
    for place, block in operator.iter_blocks():
        sensitivity[place] = (block @ factors).toarray() * _MOL_MOL
        table[place, 1] = (block @ prior + known[place]) * _PPB
    table[:, 0] = obs["value"].to_numpy(np.float64) * _PPB
    table[:, 2], table[:, 3] = obs["longitude"], obs["latitude"]
    table[:, 4] = obs.get("n_pixels", 1)
    paths = {}
    with writing(directory):
        for scene in scenes:
            rows = np.flatnonzero(obs["scene"].to_numpy() == scene)
            paths[scene] = path = directory / f"{scene}_GCtoSatellite.pkl"
            with whole(path) as part:
                part.write_bytes(pickle.dumps({"obs_GC": table[rows], "K": sensitivity[rows]}, protocol=4))
    return paths


def _known_part(operator: Operator, background: ArrayLike | None) -> NDArray[np.float64]:
    """Return what observations hold beside fluxes of the grid, ppm: background and the retrieval's prior."""
    obs = operator.obs
    if "value" not in obs:
        raise JacobianError("observations have no retrieved value, and IMI's files hold it: use scenes of a retrieval")
    if background is None:
        if "background" not in obs:
            raise JacobianError(
                "observations have no background: give background=, ppm, or set `background` in the scenes"
            )
        background = obs["background"]
    given = as_numbers(background, "background")
    if given.shape not in ((), (len(obs),)):
        raise JacobianError(f"background has shape {given.shape}, and there are {counted(len(obs), 'observation')}")
    known: NDArray[np.float64] = given + obs["prior_term"].to_numpy(np.float64)
    for what, values in (("background and prior term", known), ("value", obs["value"].to_numpy(np.float64))):
        if not np.isfinite(values).all():
            first = obs.index[np.flatnonzero(~np.isfinite(values))[0]]
            raise JacobianError(f"{what} of observation {first} is not known: leave it out with H.select(rows=...)")
    return known


def _labels(cells: GridCells, state_vector: Any) -> NDArray[np.float64]:
    """Return the element of each cell, once it is known to be of the matrix's grid."""
    if not isinstance(state_vector, Mapping) and hasattr(state_vector, "dims"):
        missing = [n for n in cells.names if n not in state_vector.dims]
        if missing or state_vector.ndim != 2:
            raise JacobianError(
                f"the state vector has dimensions {state_vector.dims}, and the grid {tuple(cells.names)}"
            )
        state_vector = state_vector.transpose(*cells.names)
        for name, ours in zip(cells.names, (cells.y, cells.x), strict=True):
            theirs = np.asarray(state_vector[name], np.float64)
            if theirs.shape != ours.shape or not np.allclose(theirs, ours, rtol=0, atol=1e-4):
                raise JacobianError(
                    f"the state vector has other {name} than the matrix: use H.coarsen(grid=...) with its edges"
                )
    labels = as_numbers(state_vector, "the state vector")
    if labels.shape != tuple(cells.shape):
        raise JacobianError(f"the state vector has shape {labels.shape}, and the grid {tuple(cells.shape)}")
    return labels
