"""Mean footprints and row sums of the native engine against those of hycs_std, over many seeds.

    python -m benchmarks.native.footprints --cache DIRECTORY                   13 receptors, 30 seeds of 1,000 particles
    python -m benchmarks.native.footprints --cache DIRECTORY --seeds 6 --cases hrrr-valley-35m --detail
    python -m benchmarks.native.footprints --cache DIRECTORY --what rows       row sums of 200 receptors
    python -m benchmarks.native.footprints --cache DIRECTORY --engine "other seeds"    hycs_std in native's place
    python -m benchmarks.native.footprints --cache DIRECTORY --engine hysplit  only fills the cache

**L1 ratio.** The distance of two mean footprints is ``D(a, b) = sum |a - b| / (0.5 sum (a + b))`` over cells. The seeds
of each engine are halved at random, 200 times; the ratio is the mean of D(half of native's, half of hycs_std's) over
the mean of D(half of hycs_std's, its other half). All means are over as many runs, so that their noise is the same,
and 1 means that an engine cannot be told from hycs_std with other seeds. ``ratio, all`` is the distance of the means
over all seeds of each, over that of the halves divided by sqrt(2): noise of independent runs falls so, a difference
does not, which makes it the sharper of the two; it is 1 too for equal engines, but for cells few particles come to.

**Bias.** ``sum n / sum h - 1`` over receptors' row sums, with its standard error, that of a ratio of sums: a mean of
each receptor's own ratio is made of those that feel next to nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.native.meteorologies import METEOROLOGIES
from benchmarks.native.runs import MINUTES, Case, Run, runs
from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.scenes.receptors import make_receptor
from stilt_dagster_tests.science.transport.native.comparison import compare_footprints, compare_sums

Floats = NDArray[np.float64]

#: Where, and when by the meteorology's own names.
_PLACES: dict[str, tuple[str, str, Any, Any, Any]] = {
    "hrrr-valley-35m": ("hrrr", "evening", -111.9, 40.75, 35),
    "hrrr-valley-5m-night": ("hrrr", "night", -112.05, 40.7, 5),
    "hrrr-ridge-10m-night": ("hrrr", "night", -111.6, 40.62, 10),
    "hrrr-column-2km": ("hrrr", "evening", -111.9, 40.75, [0, 2000]),
    "hrrr-column-4km-night": ("hrrr", "night", -112.05, 40.7, [0, 4000]),
    "hrrr-slant-3km": ("hrrr", "evening", [-111.85, -111.8], [40.7, 40.76], [0, 3000]),
    "sigma-flat-10m-day": ("sigma-flat", "day", -112.2, 40.5, 10),
    "sigma-mountains-20m-night": ("sigma-mountains", "night", -112.0, 40.6, 20),
    "sigma-mountains-column-2km-morning": ("sigma-mountains", "morning", -112.4, 40.3, [0, 2000]),
    "gdas-flat-column-3km-day": ("gdas-flat", "day", -112.1, 40.7, [0, 3000]),
    "gdas-mountains-5m-night": ("gdas-mountains", "night", -112.3, 40.9, 5),
    "pressure-mountains-100m-morning": ("pressure-mountains", "morning", -111.9, 40.4, 100),
    "hybrid-mountains-100m-morning": ("hybrid-mountains", "morning", -111.9, 40.4, 100),
}


def footprint_cases(numpar: int) -> dict[str, Case]:
    """Return the receptors, four hours back."""
    return {
        name: Case(met, make_receptor(METEOROLOGIES[met].times[when], *place), -4, numpar)
        for name, (met, when, *place) in _PLACES.items()
        if met in METEOROLOGIES
    }


def row_cases(n: int, numpar: int) -> list[Case]:
    """Return *n* receptors all over the meteorologies, by day and night, points, columns and slanted ones; 3 h back."""
    rng, cases = np.random.default_rng(1), []
    names = [name for name in METEOROLOGIES for _ in range(6 if name == "hrrr" else 1)]  # half of them real
    for k in range(n):
        name = names[k % len(names)]
        met = METEOROLOGIES[name]
        west, south, east, north = met.box
        lon, lat = round(rng.uniform(west, east), 4), round(rng.uniform(south, north), 4)
        late = {when: time for when, time in met.times.items() if name != "hrrr" or when != "day"}
        time = late[rng.choice(list(late))] - dt.timedelta(minutes=int(rng.integers(0, 60)))
        kind, height = (
            rng.choice(["point", "column", "slant"], p=[0.6, 0.2, 0.2]),
            round(float(rng.exponential(60)) + 2),
        )
        top = int(rng.choice([1000, 2000, 3000]))
        place: tuple[Any, Any, Any] = {
            "point": (lon, lat, height),
            "column": (lon, lat, [0, top]),
            "slant": ([lon, lon + 0.04], [lat, lat + 0.03], [0, top]),
        }[str(kind)]
        if name == "hrrr" and time.hour < 3:
            time = time.replace(hour=3)  # the file begins at 0 UTC
        cases.append(Case(name, make_receptor(time, *place), -3, numpar))
    return cases


def fields(of: list[Run], n_cells: int) -> Floats:
    """Return the footprints of runs, shape ``(runs, cells)``."""
    out = np.zeros((len(of), n_cells))
    for row, run in zip(out, of, strict=True):
        row[run.cells] = run.values
    return out


def compare(native: list[Run], hysplit: list[Run], n_cells: int) -> dict[str, float]:
    """Return the distances and row sums of one receptor, see the module."""
    found = compare_footprints(fields(native, n_cells), fields(hysplit, n_cells))
    sums = [np.array([run.row_sum for run in of]) for of in (native, hysplit)]
    difference, error = compare_sums(*sums)
    means = {"row_sum": float(sums[0].mean()), "row_sum_hysplit": float(sums[1].mean())}
    return found | means | {"difference": difference, "difference_error": error}


def detail(native: list[Run], hysplit: list[Run]) -> None:
    """Print what particles do, by spans of time: hycs_std's mean, native's less that, and its standard error."""
    spans = [(0, 1), (1, 5), (5, 15), (15, 60), (60, 120), (120, 240)]
    length = hysplit[0].minutes.shape[1]
    print(f"{'':10}" + "".join(f"{f'{a}-{b} min':>30}" for a, b in spans if b <= length))
    for k, name in enumerate(MINUTES):
        row = f"{name:10}"
        for a, b in spans:
            if b > length:
                continue
            n, h = (np.array([run.minutes[k, a:b].mean() for run in of]) for of in (native, hysplit))
            error = np.hypot(n.std(ddof=1) / np.sqrt(len(n)), h.std(ddof=1) / np.sqrt(len(h)))
            row += f"{f'{h.mean():.5g} {n.mean() - h.mean():+.2g} +- {error:.1g}':>30}"
        print(row)


def rows(engine: str, n: int, numpar: int, folder: Path, threads: int) -> dict[str, Any]:
    """Compare row sums, print and return their bias."""
    sums: dict[str, list[tuple[float, float]]] = {}
    for case in row_cases(n, numpar):
        try:
            one, other = (next(runs(case, which, [1], folder, threads)).row_sum for which in (engine, "hysplit"))
        except MeteorologyError:
            continue  # not of native's; pointwise says which
        if one + other > 0:
            sums.setdefault(case.meteorology, []).append((one, other))
    print("| meteorology | receptors | bias of row sums | standard error |")
    print("|---|---|---|---|")
    found = {}
    for name, some in {"all": list(chain(*sums.values())), **sums}.items():
        own, theirs = np.array(some).T
        bias = float(own.sum() / theirs.sum() - 1)
        error = float(np.sqrt(np.sum((own - (1 + bias) * theirs) ** 2)) / theirs.sum())
        found[name] = {"receptors": len(some), "bias": bias, "error": error}
        print(f"| {name} | {len(some)} | {bias:+.2%} | {error:.2%} |")
    return found


def footprints(names: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare mean footprints, print and return what was found."""
    cases, seeds, found = footprint_cases(options.numpar), range(1, options.seeds + 1), {}
    print("| receptor | L1 | hycs_std's own | ratio | ratio, all | row sum | hycs_std's | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        case, grid = cases[name], METEOROLOGIES[cases[name].meteorology].grid
        try:
            native, hysplit = (
                list(runs(case, which, seeds, folder, options.threads)) for which in (options.engine, "hysplit")
            )
        except MeteorologyError as error:
            print(f"| {name} | refused: {error} |")
            continue
        f = found[name] = compare(native, hysplit, grid.ny * grid.nx)
        print(
            f"| {name} | {f['l1']:.4f} | {f['l1_hysplit']:.4f} | {f['ratio']:.3f} | {f['ratio_all']:.3f} "
            f"| {f['row_sum']:.5g} | {f['row_sum_hysplit']:.5g} "
            f"| {f['difference']:+.2%} +- {f['difference_error']:.2%} |",
            flush=True,
        )
        if options.detail:
            detail(native, hysplit)
    for key in ("ratio", "ratio_all"):
        values = [f[key] for f in found.values()]
        print(f"{key}: mean {np.mean(values):.3f}, largest {max(values):.3f}")
    return found


def main() -> None:
    """Compare, or fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder of meteorology and of hycs_std's runs; a new one is slow")
    parser.add_argument("--engine", choices=["native", "other seeds", "hysplit"], default="native")
    parser.add_argument("--what", choices=["footprints", "rows"], default="footprints")
    parser.add_argument("--cases", nargs="+", choices=list(footprint_cases(1)), default=list(footprint_cases(1)))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--numpar", type=int, help="1000 a footprint, 200 a row by default")
    parser.add_argument("--receptors", type=int, default=200, help="rows")
    parser.add_argument("--detail", action="store_true", help="what particles do, minute by minute")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write what was found there")
    options = parser.parse_args()
    options.numpar = options.numpar or (1000 if options.what == "footprints" else 200)
    if len(options.cases) < 1 or options.seeds < 4:
        sys.exit("at least 4 seeds are needed: two in each half")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.cache or Path(scratch)
        if options.engine == "hysplit":
            some = (
                [footprint_cases(options.numpar)[name] for name in options.cases]
                if options.what == "footprints"
                else row_cases(options.receptors, options.numpar)
            )
            seeds = range(1, options.seeds + 1) if options.what == "footprints" else [1]
            for case in some:
                list(runs(case, "hysplit", seeds, folder, options.threads))
            return
        if options.what == "rows":
            found = rows(options.engine, options.receptors, options.numpar, folder, options.threads)
        else:
            found = footprints(options.cases, options, folder)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
