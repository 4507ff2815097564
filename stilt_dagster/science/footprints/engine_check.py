"""Holding an engine against hycs_std: the same receptor through both, compared by the footprints that come of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stilt_dagster.science.engine_agreement import ReceptorCheck
from stilt_dagster.science.errors import EngineError, Reason, SimulationFailed
from stilt_dagster.science.footprints.footprints import footprint_of
from stilt_dagster.science.footprints.gridding import Footprint
from stilt_dagster.science.meteorology.description import Meteorology
from stilt_dagster.science.scenes.engines.check import CHECK_RUNS
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.ensembles import Engine, simulate

#: Cells of a footprint that are not zero, ascending, and its sum over layers in each.
Cells = tuple[NDArray[np.int64], NDArray[np.float64]]


def engine_check(scene: Scene, hysplit: Engine) -> EngineCheck | None:
    """Return what holds the engine of a scene against hycs_std; None if hycs_std simulates it."""
    return EngineCheck(scene, hysplit) if scene.transport.engine_check is not None else None


class EngineCheck:
    """Runs hycs_std at receptors that another engine has simulated, with two seeds, and compares footprints.

    Footprints are those the scene asks for, on its grid, weighted as its are, summed over hours. Where a scene has
    ``precision``, the first ensemble is compared, which has as many particles as the runs of hycs_std.

    Parameters
    ----------
    scene : Scene
        The scene.
    hysplit : Engine
        hycs_std, as this machine has it or not.
    """

    def __init__(self, scene: Scene, hysplit: Engine) -> None:
        self._scene, self._hysplit = scene, hysplit

    def stop(self) -> None:
        """End runs of hycs_std under way."""
        self._hysplit.stop()

    def compare(self, receptor: Receptor, table: pa.Table, meteorology: Meteorology) -> ReceptorCheck:
        """Return how particles that were simulated at a receptor compare with hycs_std's.

        Parameters
        ----------
        receptor : Receptor
            The receptor.
        table : pyarrow.Table
            Its particles, as they are stored.
        meteorology : Path or sequence of Path
            What moved them.

        Returns
        -------
        ReceptorCheck
            With a reason in place of figures, where hycs_std is not here or cannot simulate the receptor.

        Raises
        ------
        Interrupted, StoreError
            If the run is told to end, or there is no space.
        """
        first = pc.less_equal(table.column("particle"), self._scene.transport.numpar)
        try:
            version = self._hysplit.version
            tables = [table.filter(first), *self._reference_tables(receptor, meteorology)]
        except EngineError as error:
            return ReceptorCheck(reason=str(error))
        except SimulationFailed as failure:
            return ReceptorCheck(reference=version, reason=f"hycs_std failed, {failure.reason}: {failure}")
        found = [footprint_of(self._scene, receptor, t) for t in tables]
        sums, errors = tuple(f.gridded for f in found), tuple(f.error for f in found)
        if not np.isfinite(errors).all():
            return ReceptorCheck(reference=version, reason="too few particles to tell the noise of a row")
        size = abs(sums[1] + sums[2]) / 2
        engine, one, other = (self._cells(f) for f in found)
        apart = (_distance(engine, one), _distance(engine, other), _distance(one, other))
        distances = tuple(d / size for d in apart) if size > 0 else (0.0, 0.0, 0.0)
        return ReceptorCheck(sums, errors, distances, version)

    def _reference_tables(self, receptor: Receptor, meteorology: Meteorology) -> Iterator[pa.Table]:
        """Yield the particles of each run of hycs_std."""
        for number in range(CHECK_RUNS):
            settings = self._scene.transport.reference(receptor, number)
            outcome, table = simulate(receptor, settings, meteorology, self._hysplit)
            if table is None:
                raise SimulationFailed(Reason(outcome.reason), outcome.message, outcome.log)
            yield table

    def _cells(self, footprint: Footprint) -> Cells:
        nx = self._scene.footprint.grid.nx
        cells = [np.zeros(0, np.int64)]
        values = [np.zeros(0)]
        for layer in footprint.layers:
            row, column = np.nonzero(layer.values)
            cells.append((layer.y + row) * nx + layer.x + column)
            values.append(layer.values[row, column].astype(np.float64))
        return _summed(np.concatenate(cells), np.concatenate(values))


def _summed(cells: NDArray[np.int64], values: NDArray[np.float64]) -> Cells:
    """Return each cell once, with the sum of its values."""
    unique, place = np.unique(cells, return_inverse=True)
    return unique, np.bincount(place, values, minlength=len(unique)).astype(np.float64)


def _distance(one: Cells, other: Cells) -> float:
    """Return the sum over cells of the absolute difference of two footprints."""
    _, difference = _summed(np.concatenate([one[0], other[0]]), np.concatenate([one[1], -other[1]]))
    return float(np.abs(difference).sum())
