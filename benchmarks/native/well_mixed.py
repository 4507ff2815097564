"""Whether particles that are spread evenly over air stay so: the well-mixed criterion (Thomson 1987), of each engine.

    python -m benchmarks.native.well_mixed --engines native hysplit
    python -m benchmarks.native.well_mixed --engines native --numpar 20000

Weather that is the same everywhere and at all times, and a column of particles evenly over height, twice as deep as
the mixed layer, or all inside of it. What particles are well mixed with is air, whose density falls with height: after
some hours their number in a bin over the density there must be the same in all bins of the mixed layer. Printed are,
over the last quarter of the time, the largest deviation of a bin from the mean, the standard error of a bin (from
particles in twenty groups), and the share of particles inside the mixed layer, then and at the start.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.native.runs import make_engine
from stilt_dagster.science.scenes.receptors import make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster_tests.science.transport.native.weather import START, Weather

#: A convective and a stable mixed layer: wind, solar hour, height of the column over that of the mixed layer.
_CASES = {
    "convective": (Weather("sigma", wind=1.0, steady=13.0, hours=26), 1.0),
    "convective, twice as deep": (Weather("sigma", wind=1.0, steady=13.0, hours=26), 2.0),
    "morning": (Weather("sigma", wind=2.0, steady=7.0, hours=26), 1.0),
    "night, twice as deep": (Weather("sigma", wind=1.5, steady=1.0, hours=26), 2.0),
}

_BINS, _GROUPS = 10, 20


@dataclass(frozen=True)
class Mixed:
    """How well particles are mixed.

    Attributes
    ----------
    profile, error : ndarray
        Number over density in bins of the mixed layer, lowest first, their mean 1; standard errors.
    mixing_height : float
        Depth of the mixed layer, m.
    inside, expected : float
        Share of particles in the mixed layer at the end, and what it is if the layer neither loses nor gains air.
    """

    profile: NDArray[np.float64]
    error: NDArray[np.float64]
    mixing_height: float
    inside: float
    expected: float

    @property
    def deviation(self) -> float:
        """The largest of a bin from the mean of all, 1."""
        return float(np.abs(self.profile - 1).max())


def measure(particles: Particles, n_hours: int) -> Mixed:
    """Return how well particles of a column are mixed in the last quarter of their time."""
    p = particles.columns
    age = np.abs(p["age"])
    late = age > 0.75 * abs(n_hours) * 60
    height = float(np.median(p["mlht"][late]))
    z, group = p["zagl"][late] / height, p["particle"][late] % _GROUPS
    where = np.minimum((z * _BINS).astype(np.int64), _BINS)
    counts = np.zeros((_GROUPS, _BINS + 1))
    np.add.at(counts, (group, where), 1)
    dens = np.array([p["dens"][late][where == k].mean() if (where == k).any() else np.nan for k in range(_BINS)])

    def profile(of: NDArray[np.float64]) -> NDArray[np.float64]:
        found = of[..., :_BINS] / dens
        return np.asarray(found / found.mean(axis=-1, keepdims=True))

    total = counts.sum(axis=0)
    first = p["zagl"][age == 1]
    return Mixed(
        profile(total),
        profile(counts).std(axis=0, ddof=1) / np.sqrt(_GROUPS),
        height,
        float(total[:_BINS].sum() / total.sum()),
        float(np.mean(first <= height)),
    )


def run(engine: str, name: str, numpar: int, n_hours: int, folder: Path) -> Mixed:
    """Simulate a case and return how well it is mixed."""
    weather, deep = _CASES[name]
    met = weather.write(folder / f"steady-{weather.steady:g}-{weather.wind:g}.arl")
    time = (START + np.timedelta64(abs(n_hours), "h")).tz_localize("UTC").to_pydatetime()
    simulates = make_engine(engine)
    settings = TransportSettings(n_hours=-1, numpar=10, seed=1, hnf_plume=False)
    lon, lat = -112.0, 40.7
    height = float(np.median(simulates.run(make_receptor(time, lon, lat, 10), settings, met).columns["mlht"]))
    column = make_receptor(time, lon, lat, [0, round(deep * height, 1)])
    settings = TransportSettings(n_hours=-abs(n_hours), numpar=numpar, seed=1, hnf_plume=False)
    return measure(simulates.run(column, settings, met), n_hours)


def main() -> None:
    """Print how well each engine mixes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=["native", "hysplit"], default=["native", "hysplit"])
    parser.add_argument("--cases", nargs="+", choices=list(_CASES), default=list(_CASES))
    parser.add_argument("--numpar", type=int, default=2000)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--profiles", action="store_true", help="each bin, lowest first")
    parser.add_argument("--json", type=Path, help="write what was found there")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    print("| engine | case | mixed layer, m | largest deviation | error of a bin | inside, of which at the start |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.cases:
            for engine in options.engines:
                m = run(engine, name, options.numpar, options.hours, Path(scratch))
                found[f"{engine}, {name}"] = {
                    "profile": m.profile.tolist(),
                    "error": m.error.tolist(),
                    "inside": m.inside,
                }
                print(
                    f"| {engine} | {name} | {m.mixing_height:.0f} | {m.deviation:.1%} | {m.error.mean():.1%} "
                    f"| {m.inside:.1%}, {m.expected:.1%} |",
                    flush=True,
                )
                if options.profiles:
                    print("   " + " ".join(f"{v:.3f}" for v in m.profile))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
