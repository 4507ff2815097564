"""What the native engine diagnoses where hycs_std's particles are, against what hycs_std prints there.

    python -m benchmarks.native.pointwise --cache DIRECTORY                      all meteorologies, 400 particles each time
    python -m benchmarks.native.pointwise --cache DIRECTORY --meteorologies sigma-flat --detail

hycs_std prints density, temperature and pressure of the place and height it prints; ``sigw``, ``tlgr`` and ``foot`` are
those of the internal layer that height lies in, also when the particle came there within the minute (found on files
that are alike everywhere: values jump at the layers' bounds and at nothing else). So each printed row stands by itself:
native is asked for the same place and minute. Particles start all over a box and at heights from 3 to 3,500 m, evenly in
their logarithm, and are followed for an hour.

An error is ``|native - printed|``, less half a unit of the last printed digit, over the printed value (over at least
10 m for terrain); ``foot`` is compared by unit of ``samt``, which depends on the way and not on the place, where a
particle spent half of its minute or more in the layer.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.native.meteorologies import METEOROLOGIES, Meteorology
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit

Floats = NDArray[np.float64]

#: What is compared; bars are on the first five.
QUANTITIES = ("mlht", "dens", "sigw", "tlgr", "foot", "temz", "pres", "zsfc")

_VARSIWANT = ["time", "indx", "long", "lati", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr", "zsfc", "pres", "temz"]  # fmt: skip


class Diagnoses(Protocol):
    """What can tell of places what hycs_std prints there."""

    def diagnose(
        self, meteorology: Path, times: Floats, lon: Floats, lat: Floats, zagl: Floats, settings: TransportSettings
    ) -> dict[str, Floats]:
        """Return values by name, shape of the places; times are minutes since 1970 UTC."""


def printed(met: Meteorology, time: dt.datetime, n: int, folder: Path) -> dict[str, Floats]:
    """Return what hycs_std prints of particles from *n* places, kept in *folder*.

    Returns
    -------
    dict of str to ndarray
        Shape ``(particle-minutes,)``; ``minute`` is since 1970 UTC, ``slack_<name>`` half a unit of the last digit.
    """
    path = met.path(folder / "meteorology")
    digest = hashlib.sha256(path.read_bytes() + f"{time} {n} {_VARSIWANT}".encode()).hexdigest()[:16]
    kept = folder / "pointwise" / f"{path.stem}-{time:%H%M}-{digest}.npz"
    if not kept.exists():
        found = _simulate(met, path, time, n)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}")
        np.savez_compressed(part, **found)
        part.replace(kept)
    with np.load(kept) as arrays:
        return dict(arrays)


def _simulate(met: Meteorology, path: Path, time: dt.datetime, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    west, south, east, north = met.box
    places = [rng.uniform(west, east, n), rng.uniform(south, north, n)]
    lon, lat = (tuple(np.round(values, 4).tolist()) for values in places)
    heights = tuple(np.round(np.exp(rng.uniform(np.log(3), np.log(3500), n)), 1).tolist())
    settings = TransportSettings(n_hours=-1, numpar=n, varsiwant=_VARSIWANT, hnf_plume=False, seed=1)
    particles = Hysplit().run(Receptor(time, lon, lat, heights), settings, path)
    columns, decimals = particles.columns, particles.decimals
    found = {name: columns[name] for name in ("lon", "lat", "zagl", "samt", *QUANTITIES)}
    found["minute"] = time.timestamp() / 60 + columns["age"]
    slack = {f"slack_{name}": 0.5 * 10.0 ** -decimals[name] if decimals[name] >= 0 else 0.0 for name in QUANTITIES}
    return found | slack


def errors(rows: dict[str, Floats], native: dict[str, Floats], name: str) -> Floats:
    """Return the relative errors of a quantity, see the module."""
    own, theirs, slack = native[name], rows[name], rows[f"slack_{name}"]
    if name == "foot":
        inside = rows["samt"] >= 0.5
        own, theirs, slack = own[inside], (theirs / rows["samt"])[inside], slack / rows["samt"][inside]
    floor = 10.0 if name == "zsfc" else 1e-12
    missed = np.maximum(np.abs(own - theirs) - slack, 0) / np.maximum(np.abs(theirs), floor)
    return np.asarray(np.where(np.isfinite(own), missed, np.inf))


def compare(engine: Diagnoses, name: str, n: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Compare an engine on a meteorology.

    Returns
    -------
    dict of str to dict of str to dict
        By time of day and for ``all`` of them, by quantity: ``median`` and ``p95`` of errors, ``rows``.
    """
    met, settings = METEOROLOGIES[name], TransportSettings(n_hours=-1, numpar=n)
    path, each = met.path(folder / "meteorology"), {}
    for when, time in met.times.items():
        rows = printed(met, time, n, folder)
        native = engine.diagnose(path, rows["minute"], rows["lon"], rows["lat"], rows["zagl"], settings)
        each[when] = {quantity: errors(rows, native, quantity) for quantity in QUANTITIES}
    each["all"] = {q: np.concatenate([some[q] for some in each.values()]) for q in QUANTITIES}
    return {
        when: {
            q: {"median": float(np.median(e)), "p95": float(np.quantile(e, 0.95)), "rows": len(e)}
            for q, e in some.items()
        }
        for when, some in each.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder that keeps meteorology and what hycs_std prints")
    parser.add_argument("--meteorologies", nargs="+", choices=list(METEOROLOGIES), default=list(METEOROLOGIES))
    parser.add_argument("--particles", type=int, default=400, help="particles at each time of day")
    parser.add_argument("--detail", action="store_true", help="each time of day by itself")
    parser.add_argument("--json", type=Path, help="write what was found there")
    options = parser.parse_args()
    from stilt_dagster.science.transport.native.engine import NativeEngine

    engine, found = NativeEngine(), {}
    print("Median and 95th percentile of relative errors, %.\n")
    print(f"| meteorology | {' | '.join(QUANTITIES)} |")
    print("|---" * (len(QUANTITIES) + 1) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.meteorologies:
            found[name] = compare(engine, name, options.particles, options.cache or Path(scratch))
            for when, some in found[name].items():
                if options.detail or when == "all":
                    cells = (f"{100 * some[q]['median']:.2f}, {100 * some[q]['p95']:.2f}" for q in QUANTITIES)
                    print(f"| {name if when == 'all' else f'{name}, {when}'} | {' | '.join(cells)} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
