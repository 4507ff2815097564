"""Runs of an engine as what is compared of them: a footprint, and what particles do minute by minute.

hycs_std's are kept in a folder, so that a change of the native engine is compared within a minute.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.native.meteorologies import METEOROLOGIES
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.ensembles import Engine
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster_tests.science.transport.native.comparison import footprint_field

#: What is kept of each minute, mean or standard deviation over the particles that are still there.
MINUTES = ("foot", "zagl", "zagl_std", "lon", "lon_std", "lat", "lat_std", "mlht", "sigw", "tlgr", "alive")

#: Added to the seeds of hycs_std where it stands in for another engine: it is not compared with itself.
OTHER_SEEDS = 1_000_000


@dataclass(frozen=True)
class Case:
    """A receptor in a meteorology.

    Attributes
    ----------
    meteorology : str
        Its name in :data:`~benchmarks.native.meteorologies.METEOROLOGIES`.
    receptor : Receptor
        Where and when.
    n_hours : int
        How far back, negative.
    numpar : int
        Particles of a run.
    """

    meteorology: str
    receptor: Receptor
    n_hours: int
    numpar: int


@dataclass(frozen=True)
class Run:
    """What is compared of a run.

    Attributes
    ----------
    cells, values : ndarray
        The time-integrated footprint's cells that are not zero, ``y * nx + x``, and their influence.
    row_sum : float
        Influence of all particles, on the grid or not, divided by their number.
    minutes : ndarray
        Shape ``(len(MINUTES), minutes)``, the newest first.
    """

    cells: NDArray[np.int64]
    values: NDArray[np.float32]
    row_sum: float
    minutes: NDArray[np.float64]


def make_engine(name: str) -> Engine:
    """Return an engine by its name, as settings have it."""
    if name == "hysplit":
        return Hysplit()
    from stilt_dagster.science.transport.native.engine import NativeEngine

    engine: Engine = NativeEngine()
    return engine


def runs(case: Case, engine: str, seeds: Sequence[int], folder: Path, threads: int = 2) -> Iterator[Run]:
    """Yield the runs of a case with each seed.

    Parameters
    ----------
    case : Case
        The receptor.
    engine : {"hysplit", "native", "other seeds"}
        What simulates; the last is hycs_std in the place of native, which must be found indistinguishable.
    seeds : sequence of int
        Seeds, one a run.
    folder : Path
        Where meteorology is, and runs of hycs_std are kept.
    threads : int
        Simulations at a time.
    """
    meteorology = METEOROLOGIES[case.meteorology]
    met = meteorology.path(folder / "meteorology")
    simulates = make_engine("native" if engine == "native" else "hysplit")
    shift = OTHER_SEEDS if engine == "other seeds" else 0

    def run(seed: int) -> Run:
        settings = TransportSettings(n_hours=case.n_hours, numpar=case.numpar, seed=seed + shift)
        path = folder / "hysplit" / f"{_key(case, settings, met)}.npz"
        if engine != "native" and path.exists():
            with np.load(path) as kept:
                return Run(kept["cells"], kept["values"], float(kept["row_sum"]), kept["minutes"])
        done = _digest(case, simulates.run(case.receptor, settings, met))
        if engine != "native":
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}")
            np.savez_compressed(part, **vars(done))
            part.replace(path)
        return done

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(run, seeds)


def _key(case: Case, settings: TransportSettings, met: Path) -> str:
    """Return the name of a run: its receptor, and a hash of all that makes it."""
    made_of: dict[str, Any] = {
        "settings": settings.identity,
        "meteorology": hashlib.sha256(met.read_bytes()).hexdigest(),
        "grid": repr(METEOROLOGIES[case.meteorology].grid),
        "minutes": MINUTES,
    }
    text = json.dumps(made_of, sort_keys=True)
    return f"{case.meteorology}-{case.receptor.id}-{settings.seed}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _digest(case: Case, particles: Particles) -> Run:
    """Return what is compared of some particles."""
    p = particles.columns
    field, total = footprint_field(particles, METEOROLOGIES[case.meteorology].grid)
    cells = np.flatnonzero(field)
    n = abs(case.n_hours) * 60
    minute = np.rint(np.abs(p["age"])).astype(np.int64) - 1
    alive = np.maximum(np.bincount(minute, minlength=n)[:n], 1)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(minute, weights=values, minlength=n)[:n] / alive)

    found = {name: mean(p[name]) for name in ("zagl", "lon", "lat", "mlht", "sigw", "tlgr")}
    for name in ("zagl", "lon", "lat"):
        found[f"{name}_std"] = np.sqrt(mean((p[name] - found[name][np.minimum(minute, n - 1)]) ** 2))
    found["foot"] = mean(p["foot"]) * alive / case.numpar
    found["alive"] = alive / case.numpar
    return Run(cells, field[cells].astype(np.float32), total, np.stack([found[name] for name in MINUTES]))
