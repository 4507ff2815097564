"""Where particles start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.native.random_numbers import RandomState, begin_particle, next_uniform

#: What hycs_std multiplies a number of particles with before it rounds it up, in single precision. Fitted to how many
#: it starts: 9 of 9 and 16 of 16, but 11 of 10 and 38 of 37.
_ROUNDING = 1 + 5.23e-8


def started(numpar: int) -> int:
    """Return how many particles hycs_std takes *numpar* for where it spreads them."""
    return int(np.ceil(np.float32(numpar * _ROUNDING)))


def start_positions(
    receptor: Receptor, settings: TransportSettings, random: RandomState
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where the particles of a receptor start, as hycs_std does it.

    A column's are each in a slab of their own, at a random height in it, the lowest first. Of several places each has
    as many as another, but for the last.

    Parameters
    ----------
    receptor : Receptor
        The receptor.
    settings : TransportSettings
        Of these ``numpar`` and ``slanted`` count.
    random : RandomState
        The receptor's.

    Returns
    -------
    tuple of ndarray
        Longitude and latitude (degrees) and height (m, as the receptor's heights), shape ``(numpar,)``.
    """
    n = int(settings.numpar)
    lons, lats, heights = receptor.longitudes, receptor.latitudes, receptor.heights
    if len(heights) == 1:
        return np.full(n, lons[0]), np.full(n, lats[0]), np.full(n, heights[0])
    if not receptor.slanted:
        slab = (heights[1] - heights[0]) / started(n)
        part = _uniforms(random.words, n)
        return np.full(n, lons[0]), np.full(n, lats[0]), heights[0] + (np.arange(n) + part) * slab
    places = settings.places_along
    if places > 2:
        lons, lats, heights = receptor.along(places)
    each = started(max(n // len(lons), 1)) if places == 2 else settings.particles_a_place
    place = np.minimum(np.arange(n) // each, len(lons) - 1)
    return np.asarray(lons)[place], np.asarray(lats)[place], np.asarray(heights)[place]


@kernel()
def _uniforms(words: NDArray[np.uint64], n: int) -> NDArray[np.float64]:
    """Return the first random number of each particle."""
    drawn = np.empty(n)
    for particle in range(n):
        begin_particle(words, particle)
        drawn[particle] = next_uniform(words)
    return drawn
