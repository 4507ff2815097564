"""Monte-Carlo errors of rows, and what a precision saves; prints the tables of docs/explanation/uncertainty.md.

    python -m benchmarks.row_error spread --hrrr DIRECTORY   receptors, 24 seeds each, 100 and 1000 particles
    python -m benchmarks.row_error spread --numpar 100 --cases demo-col2k   a quick look
    python -m benchmarks.row_error precision                 a scene with near and far receptors
    python -m benchmarks.row_error cost                      what the estimate adds to the gridding

Simulations run on real HYSPLIT; ``--particles DIRECTORY`` keeps them, so that what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.footprints.gridding import calculate_footprint
from stilt_dagster.science.footprints.row_error import particles_at_first_end, row_estimator, row_sum_error, within
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.loading import parse_scene
from stilt_dagster.science.scenes.receptors import Receptor, make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.effort import thread_cpu
from stilt_dagster.science.transport.ensembles import run_ensembles
from stilt_dagster.science.transport.hysplit import Hysplit

Floats = NDArray[np.float64]

_HRRR_GRID = Grid(-112.8, -111.2, 0.01, 40.2, 41.3, 0.01)
_MADE_GRID = Grid(-114.0, -111.0, 0.02, 39.5, 41.5, 0.02)
_WEATHERS = {
    "demo": Weather(speed=4.0, direction=200, veer=4.0, shear=True, hill=600),
    "plain": Weather(speed=5.0, direction=270.0),
}
_BOX = (-114.6, 38.8, -110.4, 42.4)


@dataclass(frozen=True)
class Case:
    """A receptor, the meteorology it is in, and how long it is followed."""

    meteorology: str
    time: str
    longitude: float | list[float]
    latitude: float | list[float]
    height: float | list[float]
    n_hours: int

    @property
    def receptor(self) -> Receptor:
        """The receptor."""
        return make_receptor(dt.datetime.fromisoformat(self.time), self.longitude, self.latitude, self.height)

    @property
    def grid(self) -> Grid:
        """The grid its row is on."""
        return _MADE_GRID if self.meteorology in _WEATHERS else _HRRR_GRID


CASES = {
    "hrrr-point": Case("20190530_00-05_hrrr", "2019-05-30T03:20", -111.85, 40.77, 35.0, -3),
    "hrrr-point-night": Case("20190530_06-11_hrrr", "2019-05-30T10:00", -112.05, 40.70, 5.0, -3),
    "demo-point": Case("demo", "2023-07-15T20:12", -112.2, 40.4, 10.0, -4),
    "plain-point-up": Case("plain", "2023-07-15T16:00", -112.2, 40.4, 200.0, -3),
    "hrrr-col1k-09": Case("20190530_06-11_hrrr", "2019-05-30T09:30", -112.2, 40.9, [0, 1000], -3),
    "hrrr-col2k": Case("20190530_00-05_hrrr", "2019-05-30T03:20", -111.95, 40.75, [0, 2000], -3),
    "hrrr-col3k-05": Case("20190530_00-05_hrrr", "2019-05-30T05:00", -112.4, 40.5, [0, 3000], -3),
    "hrrr-col4k-night": Case("20190530_06-11_hrrr", "2019-05-30T10:00", -112.05, 40.70, [0, 4000], -3),
    "demo-col1k-dawn": Case("demo", "2023-07-15T15:45", -112.3, 40.9, [0, 1000], -3),
    "demo-col2k": Case("demo", "2023-07-15T20:12", -112.2, 40.4, [0, 2000], -4),
    "demo-col4k": Case("demo", "2023-07-15T18:30", -112.5, 40.6, [0, 4000], -4),
    "hrrr-slant": Case("20190530_00-05_hrrr", "2019-05-30T04:00", [-111.85, -111.80], [40.70, 40.76], [0, 3000], -3),
    "plain-slant": Case("plain", "2023-07-15T20:12", [-112.2, -112.25], [40.4, 40.45], [0, 3000], -4),
}


def made_meteorology(directory: Path, name: str) -> Path:
    """Return a file of generated meteorology, twelve hours from noon."""
    [path] = make_meteorology(directory / name, "2023-07-15T12:00", 12, _BOX, _WEATHERS[name], hours_per_file=24)
    return path


def simulations(
    name: str, numpar: int, seeds: int, hrrr: Path | None, keep: Path, scratch: Path
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield the particles of a case with each seed, from *keep* where they are there."""
    case = CASES[name]
    made = case.meteorology in _WEATHERS
    meteorology = made_meteorology(keep, case.meteorology) if made else (hrrr or Path()) / case.meteorology
    engine = Hysplit(scratch=scratch)

    def run(seed: int) -> dict[str, NDArray[np.generic]]:
        path = keep / f"{name}-{numpar}-{seed}.npz"
        if not path.exists():
            settings = TransportSettings(n_hours=case.n_hours, numpar=numpar, seed=seed)
            columns = engine.run(case.receptor, settings, meteorology).columns
            np.savez(path, **{k: columns[k] for k in ("particle", "age", "lon", "lat", "foot")})
        return dict(np.load(path))

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(run, range(1, seeds + 1))


def spread(names: list[str], numpar: list[int], seeds: int, hrrr: Path | None, keep: Path, scratch: Path) -> None:
    """Print what estimates say against what seeds do."""
    print(
        "| receptor | particles | row sum | spread over seeds | plain | differences | `row_sum_error` | each particle |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        case = CASES[name]
        column = len(case.receptor.heights) > 1
        for n in numpar:
            rows, errors = [], []
            for p in simulations(name, n, seeds, hrrr, keep, scratch):
                start = np.flatnonzero(np.diff(p["particle"], prepend=-1) != 0)
                each = np.add.reduceat(np.where(within(case.grid, p["lon"], p["lat"]), p["foot"], 0.0), start)
                slab = p["particle"][start].astype(np.int64) - 1
                split = particles_at_first_end(p["lon"][start], p["lat"][start]) if case.receptor.slanted else 0
                full = np.full(n, np.nan)
                full[slab] = each
                rows.append(full)
                plain, differences = row_sum_error(each), np.sqrt(np.mean(np.diff(each) ** 2) / 2 / len(each))
                errors.append((plain, differences, row_sum_error(each, slab, split) if column else plain))
            runs = np.array(rows)
            sums = np.nanmean(runs, axis=1)
            found = sums.std(ddof=1)
            each_particle = np.sqrt(np.nanvar(runs, axis=0, ddof=1).sum()) / n
            ratios = [*(np.sqrt(np.mean(np.square(errors), axis=0)) / found), each_particle / found]
            print(
                f"| {name} | {n} | {sums.mean():.4g} | {found:.2g} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |"
            )


_SCENE = """
name: near-and-far
time: 2023-07-15T21:00:00Z
receptors: {{points: [{points}]}}
transport: {{n_hours: -8, numpar: 100, precision: 0.1, max_numpar: 4000}}
footprint: {{xmin: -112.6, xmax: -112.2, xres: 0.01, ymin: 40.3, ymax: 40.7, yres: 0.01}}
meteorology: {{directory: /met, pattern: "%Y%m%d_hrrr"}}
"""


def precision(keep: Path, scratch: Path) -> None:
    """Print how many particles a precision of 10 % takes of receptors in a city and downwind of it."""
    kilometres = [0, 10, 20, 40, 60, 80, 100, 120]
    places = ", ".join(f"{{longitude: {-112.3 + km / 84.6:.4f}, latitude: 40.5, height: 5}}" for km in kilometres)
    scene = parse_scene(_SCENE.format(points=places), "near-and-far", Path())
    estimator = row_estimator(scene)
    assert estimator is not None
    meteorology, engine = made_meteorology(keep, "plain"), Hysplit(scratch=scratch)
    print("| km east | particles | relative error | CPU, s |")
    print("|---|---|---|---|")
    taken, cpu = [], []
    for km, receptor in zip(kilometres, scene.receptor_list, strict=True):
        before, estimate = thread_cpu(), estimator(receptor)
        done = run_ensembles(receptor, scene.transport, meteorology, engine, estimate)
        cpu.append(thread_cpu() - before)
        taken.append(done.n_particles)
        print(f"| {km} | {taken[-1]} | {estimate.relative_error:.3f} | {cpu[-1]:.1f} |")
    alike = max(taken) * len(taken)
    print(
        f"\n{sum(taken)} particles, {sum(cpu):.0f} CPU s; with {max(taken)} for each {alike}: {alike / sum(taken):.1f}x"
    )


def cost(keep: Path, scratch: Path) -> None:
    """Print the CPU of an estimate beside that of its simulation and gridding: a column of 1000 particles, 4 h."""
    case, n = CASES["demo-col2k"], 1000
    before = thread_cpu()
    engine, meteorology = Hysplit(scratch=scratch), made_meteorology(keep, case.meteorology)
    p = engine.run(case.receptor, TransportSettings(n_hours=case.n_hours, numpar=n), meteorology).columns
    simulated = thread_cpu() - before
    columns = [p[k] for k in ("particle", "age", "lon", "lat", "foot")]
    calculate_footprint(*columns, case.grid, slabs=n)  # compiles
    before = time.thread_time()
    for _ in range(10):
        calculate_footprint(*columns, case.grid, slabs=n)
    gridded = (time.thread_time() - before) / 10
    contributions, slab = np.random.default_rng(1).random(n), np.arange(n)
    before = time.thread_time()
    for _ in range(1000):
        row_sum_error(contributions, slab)
    estimated = (time.thread_time() - before) / 1000
    print(f"simulation {simulated:.2f} s, gridding {gridded:.3f} s, of it the estimate {estimated * 1e3:.3f} ms")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["spread", "precision", "cost"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--numpar", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--hrrr", type=Path, help="directory of 20190530_00-05_hrrr and 20190530_06-11_hrrr")
    parser.add_argument("--particles", type=Path, help="directory that keeps simulations")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        keep = options.particles or Path(scratch) / "particles"
        keep.mkdir(parents=True, exist_ok=True)
        if options.what == "spread":
            names = [n for n in options.cases if options.hrrr or CASES[n].meteorology in _WEATHERS]
            spread(names, options.numpar, options.seeds, options.hrrr, keep, Path(scratch))
        else:
            {"precision": precision, "cost": cost}[options.what](keep, Path(scratch))


if __name__ == "__main__":
    main()
