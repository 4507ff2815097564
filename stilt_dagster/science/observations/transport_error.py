"""Transport error: how much an observation's signal varies because the winds that bring it are not known exactly.

Each receptor is simulated twice, without and with a random error of winds (STILT's ``siguverr`` and its scales of
correlation). With errors, particles meet more of the fluxes' variety, and their signals spread more. What is added to
their variance is the variance of the signal by errors of transport: Lin and Gerbig 2005 (doi:10.1029/2004GL021127),
for columns as in X-STILT, Wu et al. 2018 (doi:10.5194/gmd-11-4843-2018). docs/explanation/transport-error.md has the
equations, and what of them is otherwise here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.observations.column_operator import particle_weights
from stilt_dagster.science.observations.flux_field import FluxField
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.part_pool import prefetch
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.particle_tables import positions
from stilt_dagster.science.transport.trajectories import read_part, removing_damaged

Floats = NDArray[np.float64]

#: Height of a column's levels, X-STILT's, m; and particles of one at least: a variance of fewer is mostly chance.
_LEVEL, _PARTICLES_OF_A_LEVEL = 100.0, 10

#: Parts read and worked on at a time: each holds the particles of some receptors, twice.
_THREADS = 2

_COLUMNS = ("particle", "age", "lon", "lat", "foot")


def added_variance(own: Floats, perturbed: Floats) -> float:
    """Return what errors add to the variance of particles' signals: Lin and Gerbig 2005, X-STILT's ``cal.trans.err.r``.

    ``var(s_perturbed) - var(s)``, with n - 1; it may be negative by chance.

    Parameters
    ----------
    own, perturbed : ndarray
        Signals of the particles without and with errors, ppm; of the two runs there may be different numbers.

    Returns
    -------
    float
        ppm2; NaN of fewer than two particles in a run.
    """
    if min(len(own), len(perturbed)) < 2:
        return float("nan")
    return float(np.var(perturbed, ddof=1) - np.var(own, ddof=1))


def column_error(added: Floats, weights: Floats, heights: Floats, length: float) -> float:
    """Return the transport error of a column of levels; a point is a column of one.

    ``sqrt(sum_n sum_m w_n w_m sd_n sd_m exp(-|h_n - h_m| / L))`` with ``sd_n = sqrt(max(added_n, 0))``: X-STILT's
    ``cal.var.cov.r``, and the last step of its ``cal.trans.err.r``, by which a level where chance has the variance fall
    counts nothing.

    Parameters
    ----------
    added : ndarray, shape (levels,)
        What errors add to the variance of each level's signals, ppm2; NaN counts as nothing.
    weights : ndarray, shape (levels,)
        What each level counts in the column.
    heights : ndarray, shape (levels,)
        Middle of each, m.
    length : float
        Height over which errors of levels are alike, m.

    Returns
    -------
    float
        ppm.
    """
    weighted = weights * np.sqrt(np.maximum(np.nan_to_num(added), 0.0))
    alike = np.exp(-np.abs(heights[:, None] - heights[None, :]) / length)
    return float(np.sqrt(max(float(weighted @ alike @ weighted), 0.0)))


def sample_transport_error(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    folder_of: Callable[[str], IndexedFolder],
    field: FluxField,
) -> pa.Table:
    """Estimate the transport error of each observation of a scene, from particles of both runs, a part at a time.

    Parameters
    ----------
    scene : Scene
        The scene, whose transport has errors of winds or mixing.
    shards : mapping of str to sequence of Batch
        Every batch of the scene.
    folder_of : callable
        The store's folder of a shard's trajectories.
    field : FluxField
        The fluxes whose signal it is the error of.

    Returns
    -------
    pyarrow.Table
        A row a receptor, in the scene's order: ``receptor``; ``transport_error``, one standard deviation, ppm;
        ``transport_error_covered``, the share of the influence that lies inside the field. NaN for receptors that
        failed.

    Raises
    ------
    IncompleteError
        Naming the shard whose trajectories are missing or were made with other inputs.
    """

    def sample(batch: Batch) -> dict[str, tuple[float, float]] | None:
        part = read_part(folder_of(batch.shard), batch, whole=True)
        if part is None:
            return None
        receptors = dict(zip(batch.receptors.ids, batch.receptors, strict=True))
        with closing(part), removing_damaged(folder_of(batch.shard), batch):
            return {
                name: _error_of(scene, receptors[name], own, perturbed, field)
                for name, own, perturbed in part.runs(_COLUMNS)
                if perturbed is not None
            }

    found: dict[str, tuple[float, float]] = {}
    for batch, errors in prefetch(sample, (b for members in shards.values() for b in members), _THREADS):
        if errors is None:
            raise IncompleteError(
                f"trajectories of shard {batch.shard} are missing or were made with other inputs "
                f"({batch.name}.parquet): materialize trajectories first"
            )
        found.update(errors)
    ids = scene.receptor_ids
    values = np.array([found.get(i, (np.nan, np.nan)) for i in ids]).reshape(len(ids), 2)
    return pa.table(
        {
            "receptor": pa.array(ids, pa.string()),
            "transport_error": values[:, 0],
            "transport_error_covered": values[:, 1],
        }
    )


def _error_of(
    scene: Scene, receptor: Receptor, own: pa.Table, perturbed: pa.Table, field: FluxField
) -> tuple[float, float]:
    """Return the transport error of one observation, ppm, and the share of its influence inside the field."""
    assert scene.transport_error is not None
    numbers, signals, covered = _signals(scene, receptor, own, field)
    others, with_errors, _ = _signals(scene, receptor, perturbed, field)
    numpar = scene.transport.numpar
    n_levels = levels_of(receptor, numpar)
    level, level_of_other = (levels_of_particles(n, numpar, n_levels) for n in (numbers, others))
    added = [added_variance(signals[level == k], with_errors[level_of_other == k]) for k in range(n_levels)]
    bottom, top = min(receptor.heights), max(receptor.heights)
    error = column_error(
        np.array(added),
        _level_weights(scene, receptor, n_levels),
        bottom + (np.arange(n_levels) + 0.5) * (top - bottom) / n_levels,
        scene.transport_error.vertical_correlation,
    )
    return error, covered


def levels_of(receptor: Receptor, numpar: int) -> int:
    """Return into how many levels of height a receptor's particles are divided: a point is one."""
    depth = max(receptor.heights) - min(receptor.heights)
    return max(1, min(round(depth / _LEVEL), numpar // _PARTICLES_OF_A_LEVEL))


def levels_of_particles(numbers: NDArray[np.integer], numpar: int, n_levels: int) -> NDArray[np.int64]:
    """Return the level of each particle by its number, from 1: numbers of an ensemble rise with height."""
    return np.asarray((numbers.astype(np.int64) - 1) % numpar * n_levels // numpar)


def _level_weights(scene: Scene, receptor: Receptor, n_levels: int) -> Floats:
    """Return what each level counts in the column: the sum of its particles' weights, see ``column_operator``."""
    numpar = scene.transport.numpar
    weights = particle_weights(scene, receptor)
    weights = np.full(numpar, 1 / numpar) if weights is None else weights
    level = levels_of_particles(np.arange(1, numpar + 1), numpar, n_levels)
    return np.asarray(np.bincount(level, weights, n_levels), np.float64)


def _signals(
    scene: Scene, receptor: Receptor, table: pa.Table, field: FluxField
) -> tuple[NDArray[np.int32], Floats, float]:
    """Return particles' numbers, what each picks up of the field (ppm), and the share of influence inside it."""
    particle, age, lon, lat, foot = positions(table)
    first = np.r_[True, np.diff(particle) != 0]
    if scene.weighting.lifetime is not None:
        foot = foot * np.exp(-np.abs(age) / 60 / scene.weighting.lifetime)
    minute = receptor.time.timestamp() / 60 + np.asarray(age, np.float64)
    signals, covered = field.pick_up(np.cumsum(first) - 1, minute, lon, lat, foot)
    return particle[first], signals, covered
