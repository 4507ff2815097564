"""Particles that leave the meteorology: how far beyond its edge they would have gone on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.particles import Particles

#: Minutes before it left over which a particle's speed is taken.
_LAST_MINUTES = 180

#: Which of the escaped particles' distances is taken, percent: the farthest few would ask for a margin no one needs.
_HELD = 95


def escaped_reach(particles: Particles, n_hours: int) -> float:
    """Estimate how far beyond the meteorology's edge a receptor's escaped particles would have gone on, degrees.

    A particle ends at the edge. From there it would have gone at its mean speed over its last three hours (over its
    life, if that was shorter) for the hours it had left: ``(x_last - x_then) / (t_last - t_then) * t_left``, the larger
    of longitude and latitude, since a margin is as wide on each side. Of all escaped particles it is the 95th
    percentile. Winds beyond the edge may be others: it is an estimate, and no bound.

    Parameters
    ----------
    particles : Particles
        A receptor's particles.
    n_hours : int
        Hours of the run, negative.

    Returns
    -------
    float
        Degrees; 0 if none escaped, or none was there long enough to have a speed.
    """
    minutes = np.abs(particles.columns["age"]).astype(np.float64)
    number = np.cumsum(np.diff(particles.columns["particle"], prepend=particles.columns["particle"][:1]) != 0)
    last = np.flatnonzero(np.append(np.diff(number) != 0, True))
    last = last[particles.ended_early(n_hours)]
    # Rows are in the order of particle and time: one sorted key finds each particle's row three hours before its last.
    span = float(minutes.max()) + 1
    then = np.searchsorted(number * span + minutes, number[last] * span + np.maximum(minutes[last] - _LAST_MINUTES, 0))
    elapsed = minutes[last] - minutes[then]
    last, then, elapsed = last[elapsed > 0], then[elapsed > 0], elapsed[elapsed > 0]
    if not len(last):
        return 0.0
    left = abs(n_hours) * 60 - minutes[last]
    lon, lat = (np.asarray(particles.columns[name], np.float64) for name in ("lon", "lat"))
    east = (lon[last] - lon[then] + 180) % 360 - 180
    gone: NDArray[np.float64] = np.maximum(np.abs(east), np.abs(lat[last] - lat[then])) / elapsed * left
    return min(float(np.percentile(gone, _HELD)), 180.0)
