"""The near-field correction of ``foot``: R STILT's ``calc_plume_dilution.r``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.particles import Particles

_MOLAR_MASS_OF_AIR = 0.02897  # kg mol-1


# Without turbulence (nturb 1) tlgr is 0: by numpy's rules, and R's, sigma is then NaN.
@kernel(error_model="numpy")
def _dilute(
    particle: NDArray[np.int32],
    seconds: NDArray[np.float64],
    release: NDArray[np.float64],
    dens: NDArray[np.float64],
    samt: NDArray[np.float64],
    sigw: NDArray[np.float64],
    tlgr: NDArray[np.float64],
    mlht: NDArray[np.float64],
    foot: NDArray[np.float64],
    veght: float,
) -> NDArray[np.float64]:
    out = foot.copy()
    depth = 0.0
    for i in range(len(foot)):
        if i == 0 or particle[i] != particle[i - 1]:
            depth = 0.0
        sigma = (
            samt[i]
            * np.sqrt(2.0)
            * sigw[i]
            * np.sqrt(tlgr[i] * seconds[i] + tlgr[i] ** 2 * np.exp(-seconds[i] / tlgr[i]) - 1.0)
        )
        if np.isnan(sigma):
            continue
        depth += sigma
        plume = release[i] + depth
        if plume < (veght * mlht[i] if veght <= 1 else veght):
            out[i] = _MOLAR_MASS_OF_AIR / (plume * dens[i]) * samt[i] * 60.0
    return out


def correct_near_field(particles: Particles, heights: tuple[float, ...], numpar: int, veght: float) -> Particles:
    """Correct ``foot`` for a plume that is still thinner than the layer its fluxes are mixed into.

    R STILT's ``calc_plume_dilution``: a plume of a depth that grows from the release height with the turbulence
    each particle meets, ``sigma = samt sqrt(2) sigw sqrt(tlgr t + tlgr^2 exp(-t / tlgr) - 1)`` summed along its
    track; while the plume is below ``veght`` times the mixing height (below ``veght`` metres where it is over 1, as
    HYSPLIT reads it), ``foot = 0.02897 / (plume dens) samt 60``.

    Parameters
    ----------
    particles : Particles
        Must have the columns :data:`~stilt_dagster.science.scenes.transport_settings.NEAR_FIELD_COLUMNS`.
    heights : tuple of float
        Release height, or the first and last height of a column: a particle then stands for the middle of its slab
        of ``numpar``, in the order of particle numbers (R STILT's ``xhgt``).
    numpar : int
        Number of particles released.
    veght : float
        STILT's ``veght``.

    Returns
    -------
    Particles
        With the printed values in ``foot_no_hnf_dilution``, and ``xhgt`` for a column.
    """
    c = dict(particles.columns)
    number = c["particle"]
    if len(heights) > 1:
        bottom, top = min(heights), max(heights)
        c["xhgt"] = (number - 0.5) * ((top - bottom) / numpar) + bottom
        release = c["xhgt"]
    else:
        release = np.full(len(number), float(heights[0]))
    seconds = np.abs(c["age"] * 60.0)
    dens, samt, sigw, tlgr, mlht, printed = (c[k] for k in ("dens", "samt", "sigw", "tlgr", "mlht", "foot"))
    foot = _dilute(number, seconds, release, dens, samt, sigw, tlgr, mlht, printed, veght)
    c["foot_no_hnf_dilution"], c["foot"] = c["foot"], foot
    decimals = {**particles.decimals, "foot_no_hnf_dilution": particles.decimals.get("foot", -1)}
    decimals.pop("foot", None)
    return Particles(c, decimals)
