"""The Monte-Carlo error of a row: how far its sum would differ with other random numbers.

A row's sum is the mean over ``n`` particles of what each contributes, ``Y_i``. HYSPLIT moves particles independently of
each other, so that ``var(mean) = sum_i var(Y_i) / n^2``; what differs is how ``var(Y_i)`` is seen in a single run.

At a point all particles start alike, and their variance is that of the sample. A column's do not: HYSPLIT releases
particle ``i`` at a random height within the ``i``-th of ``n`` slabs, so most of the differences between particles are
those between heights, which every run has alike. They are taken out by differences of neighbours in height.

A scene with ``precision`` asks before particles are gridded whether a receptor has enough: :class:`GridSum`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.observations.column_operator import particle_weights, redistributed_weights
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.ensembles import RowEstimator
from stilt_dagster.science.transport.particles import Particles

Floats = NDArray[np.float64]


def row_sum_error(contributions: Floats, slab: NDArray[np.int64] | None = None, split: int = 0) -> float:
    """Return the standard error of the mean of particles' contributions.

    Parameters
    ----------
    contributions : ndarray
        What each particle contributes, shape ``(n,)``, in the order of particle numbers.
    slab : ndarray of int, optional
        Of a column: in which slab of height each particle was released, counted from 0; None for a point.
    split : int
        Of a slanted column: how many of the first particles were released at its first end, see
        :func:`particles_at_first_end`.

    Returns
    -------
    float
        In the units of *contributions*; NaN if they are too few to tell: 1, or 1 at an end of a slanted column.

    Notes
    -----
    Where slabs have several particles each, of several ensembles, ``var(Y_i)`` is the variance within the slab.
    """
    n = len(contributions)
    if n < 2:
        return float("nan")
    if slab is None:
        return float(np.sqrt(contributions.var(ddof=1) / n))
    if np.bincount(slab).max() > 1:
        total = _within_slabs(contributions, slab)
    else:
        total = sum(_along_height(part) for part in np.split(contributions, [split] if 0 < split < n else []))
    return float(np.sqrt(total)) / n


def _along_height(contributions: Floats) -> float:
    """Return the sum of ``var(Y_i)`` over particles sorted by height, one a slab.

    Pseudo-residuals of Gasser, Sroka and Jennen-Steinmetz (1986, doi:10.1093/biomet/73.3.625), of equal distances:
    ``e_i = (Y_{i-1} - 2 Y_i + Y_{i+1}) / sqrt(6)``, in which a mean that is linear in height cancels. The square of
    each is made of the variances of three slabs, by shares of 1/6, 4/6 and 1/6. Variances differ with height, so a
    slab's is the mean, by these shares, of the squares it is in: at the ends there is one.
    """
    n = len(contributions)
    if n < 3:
        return float((contributions[0] - contributions[1]) ** 2) if n == 2 else float("nan")
    shares = np.array([1.0, 4.0, 1.0]) / 6
    squares = np.convolve(contributions, [1.0, -2.0, 1.0], "valid") ** 2 / 6
    return float((np.convolve(squares, shares) / np.convolve(np.ones(n - 2), shares)).sum())


def _within_slabs(contributions: Floats, slab: NDArray[np.int64]) -> float:
    """Return the sum of ``var(Y_i)`` from slabs with several particles; the others count as their mean."""
    count = np.bincount(slab)
    mean = np.bincount(slab, contributions) / np.maximum(count, 1)
    squares = np.bincount(slab, (contributions - mean[slab]) ** 2)
    several = count > 1
    total = float((squares[several] / (count[several] - 1) * count[several]).sum())
    return total * len(contributions) / float(count[several].sum())


def particles_at_first_end(lon: Floats, lat: Floats) -> int:
    """Return how many particles of a slanted column were released at its first end.

    hycs_std releases the first half of them at one end of the line and the others at the other, so that their first
    positions jump once.

    Parameters
    ----------
    lon, lat : ndarray
        First position of each particle, degrees, shape ``(n,)``.
    """
    if len(lon) < 2:
        return 0
    east = (np.diff(lon) + 180) % 360 - 180
    return int(np.argmax(np.hypot(east, np.diff(lat)))) + 1


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
        self._at_ends = scene.transport.starts_at_ends(receptor)
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
        if not self._contributions and self._at_ends:
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
