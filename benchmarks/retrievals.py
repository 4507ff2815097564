"""Measure reading a whole TROPOMI orbit, and scans of a place where ten thousand granules landed.

    python benchmarks/retrievals.py [--granules 10000] [--all]

Each figure is of a process of its own. ``--all`` registers every granule, too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import yaml
from netCDF4 import Dataset
from stilt.observations.readers import read_tropomi_ch4

from stilt_dagster.operations.ingest.scan import scan
from stilt_dagster.operations.ingest.sources import Source, load_sources
from stilt_dagster.resources.store import Store
from stilt_dagster.retrievals import read_granule
from stilt_dagster.science.scenes.observation_settings import Area
from stilt_dagster_tests.conftest import SCENE
from stilt_dagster_tests.retrievals.granules import tropomi_name, write_tropomi


def alone(what: str, work: Callable[[], object]) -> None:
    """Do *work* in a child process, and print what it took."""

    def measured() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF)
        start, said = time.monotonic(), work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds = time.monotonic() - start
        print(f"{what}: {cpu:.2f} CPU s, {seconds:.2f} s, {after.ru_maxrss / 1024:.0f} MiB at most; {said}", flush=True)

    child = multiprocessing.get_context("fork").Process(target=measured)
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{what} failed")


def orbit(directory: Path) -> None:
    """Measure one orbit, whole and an area of it."""
    path = directory / "orbit.nc"
    alone("writing it", lambda: write_tropomi(path, lat=-89, step=0.04, scanlines=4172, pixels=215, missing=0.6))
    area = Area(xmin=-110, xmax=-108, ymin=40, ymax=42)
    alone("whole orbit", lambda: len(read_granule(path, "tropomi_ch4").soundings))
    alone("whole orbit, pystilt", lambda: len(read_tropomi_ch4(path)))
    alone("2 x 2 degrees of it", lambda: len(read_granule(path, "tropomi_ch4", area=area).soundings))


def prefix(directory: Path, n: int, everything: bool) -> None:
    """Measure scans of many granules."""
    landing = directory / "granules"
    landing.mkdir()
    write_tropomi(directory / "one.nc", scanlines=2, pixels=2)
    for orbit_number in range(n):
        name = tropomi_name(orbit=orbit_number)
        shutil.copyfile(directory / "one.nc", landing / name)
        with Dataset(landing / name, "a") as file:
            file.id = name.removesuffix(".nc")
    store = Store(str(directory / "store"))
    scene = {k: SCENE[k] for k in ("transport", "footprint")} | {"meteorology": {"source": "hrrr"}}
    area = {"xmin": -112.2, "xmax": -111.8, "ymin": 40.3, "ymax": 40.7}
    spec = {"uri": str(landing), "product": "tropomi_ch4", "areas": {"slc": area}, "settle": 0, "scene": scene}
    store.folder("sources").write("tropomi.yaml", yaml.safe_dump(spec))
    [source] = load_sources(store)
    assert isinstance(source, Source), source
    (directory / "home").mkdir()

    def tick(limit: int | None) -> str:
        with dg.DagsterInstance.local_temp(str(directory / "home")) as instance:
            return scan(instance, store, source, max_scenes=limit).summary()

    alone("first tick, 20 scenes", lambda: tick(20))
    if everything:
        alone("all of them", lambda: tick(None))
        alone("nothing new", lambda: tick(20))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--granules", type=int, default=10_000)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        orbit(Path(scratch))
        prefix(Path(scratch), options.granules, options.all)
