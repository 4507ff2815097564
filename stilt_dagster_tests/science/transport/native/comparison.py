"""Measures of how far an engine is from hycs_std, which tests and benchmarks share.

hycs_std prints density, temperature and pressure at the height it prints; ``sigw``, ``tlgr`` and ``foot`` are those of
the internal layer that height lies in, also when the particle came there within the minute (found in weather that is
the same everywhere: values jump at the bounds of layers and change with nothing else). So each printed row stands by
itself, and an engine can be asked for the same place and minute. ``mlht`` alone is that of half a minute before the end
of the step, in its middle (by then where it changes it is right to 0.01 %, at the end to 0.2 to 0.5 %): an engine is
asked for what hycs_std prints.

All are of the column below the particle before the minute's turbulence moved it sideways, which is not printed: some
50 m, of no weight but where terrain is steep (terrain interpolated to the printed place is right to 0.03 m without
turbulence, and to 0.5 m with it, on slopes of 1 to 10).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.footprints.gridding import calculate_footprint
from stilt_dagster.science.meteorology.arl import Box
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particles import Particles

Floats = NDArray[np.float64]

#: What is compared place by place; bars are on the first five.
QUANTITIES = ("mlht", "dens", "sigw", "tlgr", "foot", "temz", "pres", "zsfc")

_VARSIWANT = ["time", "indx", "long", "lati", "zagl", "samt", *QUANTITIES]


def printed(meteorology: Path, box: Box, time: dt.datetime, n: int) -> dict[str, Any]:
    """Return what hycs_std prints in an hour of particles from *n* places.

    Places are anywhere in a box, and at heights from 3 to 3,500 m, evenly in their logarithm.

    Returns
    -------
    dict of str to ndarray
        Shape ``(particle-minutes,)``; ``minute`` is since 1970 UTC, ``slack_<name>`` half a unit of the last digit.
    """
    rng = np.random.default_rng(1)
    west, south, east, north = box
    places = [rng.uniform(west, east, n), rng.uniform(south, north, n)]
    lon, lat = (tuple(np.round(values, 4).tolist()) for values in places)
    heights = tuple(np.round(np.exp(rng.uniform(np.log(3), np.log(3500), n)), 1).tolist())
    settings = TransportSettings(n_hours=-1, numpar=n, varsiwant=_VARSIWANT, hnf_plume=False, seed=1)
    particles = Hysplit().run(Receptor(time, lon, lat, heights), settings, meteorology)
    columns, decimals = particles.columns, particles.decimals
    rows = {name: columns[name] for name in ("lon", "lat", "zagl", "samt", *QUANTITIES)}
    rows["minute"] = time.timestamp() / 60 + columns["age"]
    slack = {f"slack_{q}": np.array(0.5 * 10.0 ** -decimals[q] if decimals[q] >= 0 else 0.0) for q in QUANTITIES}
    return rows | slack


def relative_errors(rows: dict[str, Floats], native: dict[str, Floats], name: str) -> Floats:
    """Return by how much an engine's values differ from those printed, less half a unit of the last printed digit.

    They are shares of the printed value, of at least 10 m for terrain. ``foot`` is compared by unit of ``samt``, which
    depends on the way and not on the place, where a particle spent half of its minute or more in the layer.
    """
    own, theirs, slack = native[name], rows[name], rows[f"slack_{name}"]
    if name == "foot":
        inside = rows["samt"] >= 0.5
        samt = rows["samt"][inside]
        own, theirs, slack = own[inside], theirs[inside] / samt, slack / samt
    missed = np.maximum(np.abs(own - theirs) - slack, 0) / np.maximum(np.abs(theirs), 10.0 if name == "zsfc" else 1e-12)
    return np.asarray(np.where(np.isfinite(own), missed, np.inf))


def footprint_field(particles: Particles, grid: Grid) -> tuple[Floats, float]:
    """Return a time-integrated footprint, shape ``(ny * nx,)``, and the influence of all particles, on it or not."""
    columns = (particles.columns[name] for name in ("particle", "age", "lon", "lat", "foot"))
    footprint = calculate_footprint(*columns, grid, time_integrate=True)
    return footprint.dense(grid, 1)[0].ravel().astype(np.float64), footprint.total


def distance(a: Floats, b: Floats) -> float:
    """Return the L1 distance of two footprints, as a share of their mean sum."""
    return float(np.abs(a - b).sum() / (0.5 * (a + b).sum()))


def compare_footprints(native: Floats, hysplit: Floats, splits: int = 200) -> dict[str, float]:
    """Compare the footprints of a receptor from many seeds of each engine.

    Parameters
    ----------
    native, hysplit : ndarray
        Shape ``(seeds, cells)``.
    splits : int
        How often seeds are halved at random.

    Returns
    -------
    dict of str to float
        ``l1``: mean distance of native's mean over half of the seeds from hycs_std's over half; ``l1_hysplit``: of
        hycs_std's two halves; ``ratio`` of these, whose noise is the same, so that it is 1 of engines that cannot be
        told apart. ``l1_all``: distance of the means over all seeds; ``ratio_all``: that over what noise makes of it,
        ``l1_hysplit / sqrt(2)``: a difference does not fall with the number of seeds, so that this tells sooner.
    """
    rng, half = np.random.default_rng(1), min(len(native), len(hysplit)) // 2
    within, between = [], []
    for _ in range(splits):
        mine, theirs = rng.permutation(len(native)), rng.permutation(len(hysplit))
        first = hysplit[theirs[:half]].mean(axis=0)
        within.append(distance(first, hysplit[theirs[half : 2 * half]].mean(axis=0)))
        between.append(distance(native[mine[:half]].mean(axis=0), first))
    own, other, everything = np.mean(within), np.mean(between), distance(native.mean(axis=0), hysplit.mean(axis=0))
    return {
        "l1": float(other),
        "l1_hysplit": float(own),
        "ratio": float(other / own),
        "l1_all": everything,
        "ratio_all": float(everything / (own / np.sqrt(2))),
    }


def compare_sums(native: Floats, hysplit: Floats) -> tuple[float, float]:
    """Return by what share the mean of native's row sums differs from hycs_std's, and its standard error."""
    error = np.hypot(*(s.std(ddof=1) / np.sqrt(len(s)) for s in (native, hysplit)))
    return float(native.mean() / hysplit.mean() - 1), float(error / hysplit.mean())
