"""Measure how much of a transport error is chance: a point and a column on HRRR, over seeds, by several treatments.

    python benchmarks/transport_error.py DIRECTORY [--seeds 12] [--numpar 1000]

DIRECTORY holds HRRR files of 2019-05-30, 00 to 11 UTC, named as NOAA's archive does. Signals are of a flux of 20 umol
m-2 s-1 in the middle of a city of 15 km. An error of winds of 0.01 m/s is next to none: what it adds is chance.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stilt_dagster.science.observations.flux_field import FluxField
from stilt_dagster.science.observations.transport_error import (
    added_variance,
    column_error,
    levels_of,
    levels_of_particles,
)
from stilt_dagster.science.scenes.receptors import Receptor, make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit

TIME = dt.datetime(2019, 5, 30, 4, tzinfo=dt.UTC)
RECEPTORS = {
    "point, 35 m": make_receptor(TIME, -111.9, 40.75, 35),
    "column, 2 km": make_receptor(TIME, -111.9, 40.75, [0, 2000]),
}
WINDS = (0.01, 1.0, 2.0)
LENGTH = 356.0


def city() -> FluxField:
    """Return the fluxes."""
    lat, lon = np.arange(40.0, 41.5, 0.01), np.arange(-113.0, -111.0, 0.01)
    north, east = (lat[:-1] + 0.005 - 40.7) * 111, (lon[:-1] + 0.005 + 111.9) * 84
    values = 20 * np.exp(-(north[:, None] ** 2 + east**2) / 2 / 15**2)
    return FluxField(values[None], np.array([-np.inf, np.inf]), lat, lon)


def regressed(own: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Return what X-STILT's ``scale.dvar.r`` makes of levels: a line through those to which errors add something."""
    up = added > 0
    if up.sum() < 3:
        return added
    perturbed = own[up] + added[up]
    slope, offset = np.polyfit(own[up], perturbed, 1, w=1 / np.sqrt(perturbed))
    return slope * own + offset - own


def treatments(receptor: Receptor, numpar: int, own: np.ndarray, perturbed: np.ndarray) -> dict[str, float]:
    """Return the error by levels of 100 m, by X-STILT's regression over them, and by levels of 500 m, ppm."""
    found = {}
    for name, n in (("levels", levels_of(receptor, numpar)), ("500 m", 1 if len(receptor.heights) == 1 else 4)):
        level = np.tile(levels_of_particles(np.arange(1, numpar + 1), numpar, n), len(own) // numpar)
        variance = np.array([np.var(own[level == k], ddof=1) for k in range(n)])
        added = np.array([added_variance(own[level == k], perturbed[level == k]) for k in range(n)])
        shape = (np.full(n, 1 / n), 2000 * (np.arange(n) + 0.5) / n, LENGTH)
        found[name] = column_error(added, *shape)
        if name == "levels":
            found["regression"] = column_error(regressed(variance, added), *shape)
    return found


def main() -> None:
    """Run all seeds, and print what they have in common."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--numpar", type=int, default=1000)
    options = parser.parse_args()
    field, numpar, sampling = city(), options.numpar, []
    with tempfile.TemporaryDirectory() as scratch:
        met = Path(scratch) / "met"
        met.write_bytes(b"".join(p.read_bytes() for p in sorted(options.directory.glob("20190530_*_hrrr"))))
        engine = Hysplit(scratch=Path(scratch))

        def signals(job: tuple[str, float, int]) -> np.ndarray:
            name, sigma, seed = job
            errors = {"siguverr": sigma, "tluverr": 120.0, "zcoruverr": 600.0, "horcoruverr": 40.0} if sigma else {}
            seed = seed if not sigma else 10_000 + seed
            settings = TransportSettings(n_hours=-3, numpar=numpar, seed=seed, **errors)
            p = engine.run(RECEPTORS[name], settings, met).columns
            start = time.thread_time()
            minute = TIME.timestamp() / 60 + p["age"].astype(float)
            found = field.pick_up(p["particle"].astype(np.int64) - 1, minute, p["lon"], p["lat"], p["foot"])[0]
            sampling.append((time.thread_time() - start) / len(p["age"]))
            return np.pad(found, (0, numpar - len(found)))

        jobs = [(name, sigma, seed) for name in RECEPTORS for seed in range(options.seeds) for sigma in (0, *WINDS)]
        with ThreadPoolExecutor(2) as pool:
            runs = dict(zip(jobs, pool.map(signals, jobs), strict=True))
    for name, receptor in RECEPTORS.items():
        own = [runs[name, 0, s] for s in range(options.seeds)]
        print(f"{name}: signal {np.mean(own):.2f} ppm, standard deviation over particles {np.std(own):.2f} ppm")
        for sigma in WINDS:
            perturbed = [runs[name, sigma, s] for s in range(options.seeds)]
            each = [treatments(receptor, numpar, *pair) for pair in zip(own, perturbed, strict=True)]
            pooled = treatments(receptor, numpar, np.concatenate(own), np.concatenate(perturbed))
            shown = ", ".join(
                f"{t}: {np.mean([e[t] for e in each]):.2f} +- {np.std([e[t] for e in each]):.2f} (all {pooled[t]:.2f})"
                for t in pooled
            )
            print(f"  siguverr {sigma}: {shown}")
    print(f"sampling: {np.median(sampling) * 1e9:.0f} ns a particle-minute")


if __name__ == "__main__":
    main()
