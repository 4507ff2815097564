"""What the check of an engine against hycs_std says, and how often it is wrong, on real HRRR.

    python -m benchmarks.engine_check --hrrr DIRECTORY                     hycs_std itself, with a third seed
    python -m benchmarks.engine_check --hrrr DIRECTORY --engine native     the native engine

Receptors run through the engine and twice through hycs_std. Scenes of a few of them each are drawn, and judged.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stilt_dagster.science.engine_agreement import MAX_BIAS, MAX_DISTANCE_RATIO, Agreement
from stilt_dagster.science.footprints.engine_check import EngineCheck
from stilt_dagster.science.meteorology.description import Meteorology
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.ensembles import Engine, engine_for, simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particles import Particles

#: Receptors of a scene that is drawn, and how many scenes are.
_SIZES, _SCENES = (3, 6, 12, 24), 4000


class ThirdSeed(Hysplit):
    """hycs_std with another seed than those of the check."""

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology) -> Particles:
        """Simulate as hycs_std does."""
        return super().run(receptor, settings.reference(receptor, 7), meteorology)


def main() -> None:
    """Run the receptors, and print what the check says of scenes of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hrrr", type=Path, required=True, help="directory with 20190530_00-05_hrrr")
    parser.add_argument("--engine", choices=["hysplit", "native"], default="hysplit")
    parser.add_argument("--receptors", type=int, default=80)
    parser.add_argument("--numpar", type=int, default=100)
    parser.add_argument("--n-hours", type=int, default=-3)
    args = parser.parse_args()
    scene = _scene(args.hrrr, args.receptors, args.numpar, args.n_hours)
    engine: Engine = ThirdSeed() if args.engine == "hysplit" else engine_for(scene.transport, Hysplit())
    check, meteorology = EngineCheck(scene, Hysplit()), args.hrrr / "20190530_00-05_hrrr"

    def compared(receptor: Receptor) -> Outcome:
        outcome, table = simulate(receptor, scene.transport, meteorology, engine)
        if table is not None:
            outcome.check = check.compare(receptor, table, meteorology)
        return outcome

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(compared, scene.receptor_list))
    print(Agreement.of(outcomes).to_dict())
    each = [Agreement.of([o]) for o in outcomes if o.check is not None and not o.check.reason]
    rng = np.random.default_rng(0)
    print("receptors  differs  beyond plain bounds  error of bias  error of ratio")
    for size in _SIZES:
        drawn = [Agreement.sum(each[k] for k in rng.choice(len(each), size, replace=False)) for _ in range(_SCENES)]
        differs = np.mean([a.verdict == "differs" for a in drawn])
        plain = np.mean([abs(a.bias) > MAX_BIAS or a.distance_ratio > MAX_DISTANCE_RATIO for a in drawn])
        errors = np.median([[a.bias_error, a.distance_ratio_error] for a in drawn], axis=0)
        print(f"{size:9d}  {differs:7.2%}  {plain:19.0%}  {errors[0]:13.2%}  {errors[1]:14.2f}")


def _scene(hrrr: Path, receptors: int, numpar: int, n_hours: int) -> Scene:
    """Return points at 5 m and columns of 2 km, one after the other, at random places around Salt Lake City."""
    rng = np.random.default_rng(5)
    places = [(rng.uniform(-112.1, -111.8), rng.uniform(40.45, 40.85)) for _ in range(receptors)]
    points = [
        {"longitude": round(lon, 4), "latitude": round(lat, 4), "height": 5 if k % 2 else [0, 2000]}
        for k, (lon, lat) in enumerate(places)
    ]
    transport = {"n_hours": n_hours, "numpar": numpar, "engine": "native", "experimental": True, "engine_check": 1}
    spec = {
        "name": "check",
        "time": "2019-05-30T05:00:00Z",
        "receptors": {"points": points},
        "transport": transport,
        "footprint": {"xmin": -113, "xmax": -111, "xres": 0.01, "ymin": 40, "ymax": 41.5, "yres": 0.01},
        "meteorology": {"directory": str(hrrr), "pattern": "%Y%m%d_%H-*_hrrr"},
    }
    return make_scene(spec, "benchmark")


if __name__ == "__main__":
    main()
