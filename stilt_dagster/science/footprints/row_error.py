"""The Monte-Carlo error of a row: how far its sum would differ with other random numbers.

A row's sum is the mean over ``n`` particles of what each contributes, ``Y_i``. HYSPLIT moves particles independently of
each other, so that ``var(mean) = sum_i var(Y_i) / n^2``; what differs is how ``var(Y_i)`` is seen in a single run.

At a point all particles start alike, and their variance is that of the sample. A column's do not: HYSPLIT releases
particle ``i`` at a random height within the ``i``-th of ``n`` slabs, so most of the differences between particles are
those between heights, which every run has alike. They are taken out by differences of neighbours in height.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
