"""How well a receptor's row is known from the particles it has, before they are gridded: what ``precision`` asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.footprints.row_error import particles_at_first_end, row_sum_error
from stilt_dagster.science.observations.column_operator import particle_weights, redistributed_weights
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.ensembles import RowEstimator
from stilt_dagster.science.transport.particles import Particles

Floats = NDArray[np.float64]


def row_estimator(scene: Scene) -> RowEstimator | None:
    """Return what tells how well the rows of a scene are known; None if it has no ``precision``."""
    return None if scene.transport.precision is None else lambda receptor: GridSum(scene, receptor)


class GridSum:
    """The sum of a receptor's row, ensemble by ensemble.

    A step counts where it lies within the edges of the footprint's grid, with the particle's weight in the column and
    the decay of the gas. The kernels that spread it over cells are left out, so that neither the grid's resolution nor
    its smoothing decides how many particles there are.

    Parameters
    ----------
    scene : Scene
        The scene.
    receptor : Receptor
        The receptor.
    """

    def __init__(self, scene: Scene, receptor: Receptor) -> None:
        self._grid = scene.footprint.grid
        self._weights = particle_weights(scene, receptor)
        self._lifetime = scene.weighting.lifetime
        self._receptor = receptor
        self._contributions: list[Floats] = []
        self._slabs: list[NDArray[np.int64]] = []
        self._split = 0

    def add(self, particles: Particles) -> None:
        """Add an ensemble, whose particles are numbered from 1."""
        c = particles.columns
        lon, lat = c["lon"], c["lat"]
        start = np.flatnonzero(np.diff(c["particle"], prepend=-1) != 0)
        number = c["particle"][start].astype(np.int64)
        foot = np.where(within(self._grid, lon, lat), c["foot"], 0.0)
        if self._lifetime is not None:
            foot *= np.exp(-np.abs(c["age"]) / (60 * self._lifetime))
        each = np.add.reduceat(foot, start)
        if self._weights is not None:
            each *= redistributed_weights(self._weights, number) * len(number)
        if not self._contributions and self._receptor.slanted:
            self._split = particles_at_first_end(lon[start], lat[start])
        self._contributions.append(each)
        self._slabs.append(number - 1)

    @property
    def relative_error(self) -> float:
        """Standard error of the sum over the sum: 0 of one without influence, NaN if particles are too few to tell."""
        each = np.concatenate(self._contributions)
        slab = np.concatenate(self._slabs) if len(self._receptor.heights) > 1 else None
        error, total = row_sum_error(each, slab, self._split), abs(float(each.mean()))
        return error / total if total > 0 else error


def within(grid: Grid, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
    """Return which positions, degrees, lie within the edges of a grid."""
    x, y = lon % 360 if grid.wraps else lon, lat
    if not grid.is_longlat:
        x, y = (np.asarray(v, np.float64) for v in grid.transformer.transform(lon, lat))
    x0, x1, y0, y1 = grid.extent
    return np.asarray((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
