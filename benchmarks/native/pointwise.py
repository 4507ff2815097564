"""What the native engine diagnoses where hycs_std's particles are, against what hycs_std prints there.

    python -m benchmarks.native.pointwise --cache DIRECTORY      all meteorologies, 400 particles each time
    python -m benchmarks.native.pointwise --cache DIRECTORY --meteorologies sigma-flat --detail

What native is asked for are the places and minutes hycs_std prints, see
:mod:`stilt_dagster_tests.science.transport.native.comparison`: an hour of particles that start all over a box at 3 to
3,500 m. An error is ``|native - printed|``, less half a unit of the last printed digit, over the printed value.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.native.meteorologies import METEOROLOGIES, Meteorology
from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster_tests.science.transport.native.comparison import QUANTITIES, printed, relative_errors
from stilt_dagster_tests.science.transport.native.diagnosis import diagnose

Floats = NDArray[np.float64]


def rows_of(met: Meteorology, time: dt.datetime, n: int, folder: Path) -> dict[str, Floats]:
    """Return what hycs_std prints of particles from *n* places, kept in *folder*."""
    path = met.path(folder / "meteorology")
    digest = hashlib.sha256(path.read_bytes() + f"{met.box} {time} {n} {QUANTITIES}".encode()).hexdigest()[:16]
    kept = folder / "pointwise" / f"{path.stem}-{time:%H%M}-{digest}.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}")
        np.savez_compressed(part, **printed(path, met.box, time, n))
        part.replace(kept)
    with np.load(kept) as arrays:
        return dict(arrays)


def compare(name: str, n: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Compare on a meteorology.

    Returns
    -------
    dict of str to dict of str to dict
        By time of day and for ``all`` of them, by quantity: ``median`` and ``p95`` of errors, ``rows``.
    """
    met, settings = METEOROLOGIES[name], TransportSettings(n_hours=-1, numpar=n)
    path, each = met.path(folder / "meteorology"), {}
    for when, time in met.times.items():
        rows = rows_of(met, time, n, folder)
        native = diagnose(path, rows["minute"], rows["lon"], rows["lat"], rows["zagl"], settings)
        each[when] = {quantity: relative_errors(rows, native, quantity) for quantity in QUANTITIES}
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
    found = {}
    print("Median and 95th percentile of relative errors, %.\n")
    print(f"| meteorology | {' | '.join(QUANTITIES)} |")
    print("|---" * (len(QUANTITIES) + 1) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.meteorologies:
            try:
                found[name] = compare(name, options.particles, options.cache or Path(scratch))
            except MeteorologyError as error:
                print(f"| {name} | refused: {error} |")
                continue
            for when, some in found[name].items():
                if options.detail or when == "all":
                    cells = (f"{100 * some[q]['median']:.2f}, {100 * some[q]['p95']:.2f}" for q in QUANTITIES)
                    print(f"| {name if when == 'all' else f'{name}, {when}'} | {' | '.join(cells)} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
