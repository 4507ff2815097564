"""Real files and real HYSPLIT at the hours where a scene's meteorology lies in two files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.meteorology.archive import MeteorologyFile
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.transport.ensembles import simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster_tests.conftest import SCENE, deep_merge


class RecordingArchive(FileArchive):
    """An archive that keeps the names of the files it was asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.fetched: list[str] = []

    def open(self, locations: Sequence[str]) -> MeteorologyFile | None:
        self.fetched.append(locations[0].rsplit("/", 1)[-1])
        return super().open(locations)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """29 February 15:00 to 1 March 06:00: as GFS's day files, as a file a step, and as steps that interlace."""
    root = tmp_path_factory.mktemp("archives")
    bbox = (-113.6, 39.4, -110.6, 41.6)
    hourly = make_meteorology(root / "hourly", "2024-02-29T15:00", 16, bbox, Weather(3.0), spacing_km=6.0)
    step_of = {t: header for header in map(arl.read_header, hourly) for t in header.times}

    def write(path: Path, steps: Sequence[pd.Timestamp]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arl.join([(step_of[t], [t]) for t in steps], path, arl.Selection(None, len(step_of[steps[0]].levels)))

    coarse = [t for t in step_of if t.hour % 3 == 0]
    for day in ("20240229", "20240301"):
        write(root / f"gfs0p25/{day[:4]}/{day[4:6]}/{day}_gfs0p25", [t for t in coarse if f"{t:%Y%m%d}" == day])
    for time in coarse:
        if time.hour % 6 == 0:
            write(root / f"steps/gfs_{time:%Y%m%d_%H}.arl", [time])
    write(root / "interlaced/20240229_a", coarse)
    write(root / "interlaced/20240229_b", [t for t in step_of if t not in coarse])
    return root


def build(
    archives: Path, tmp_path: Path, time: str, meteorology: dict[str, Any], run: bool = False
) -> tuple[Description, list[str]]:
    """Build the aggregate of a release that looks back an hour, and run a receptor with it if asked to."""
    changes = {
        "time": f"{time}Z",
        "transport": {"n_hours": -1, "numpar": 5},
        "footprint": {"xmin": -112.4, "xmax": -111.8, "ymin": 40.3, "ymax": 40.6},
        "meteorology": meteorology,
    }
    scene = make_scene(deep_merge({k: v for k, v in SCENE.items() if k != "meteorology"}, changes), "test")
    archive, path = RecordingArchive(archives), tmp_path / "aggregate.arl"
    made = build_aggregate(scene, archive, path)
    assert [f"{t:%Y-%m-%dT%H:%MZ}" for t in arl.read_header(path).times] == made.times
    if run:
        outcome, _ = simulate(scene.receptor_list[0], scene.transport, path, Hysplit(scratch=tmp_path))
        assert (outcome.status, outcome.hours_covered) == ("ok", 1.0)
    return made, archive.fetched


@pytest.mark.parametrize(
    ("time", "steps", "days"),
    [
        ("2024-02-29T21:00", ["29T18", "29T21"], ["0229"]),
        ("2024-02-29T21:01", ["29T18", "29T21", "01T00"], ["0229", "0301"]),
        ("2024-02-29T22:00", ["29T21", "01T00"], ["0229", "0301"]),
        ("2024-02-29T23:00", ["29T21", "01T00"], ["0229", "0301"]),
        ("2024-02-29T23:59", ["29T21", "01T00"], ["0229", "0301"]),
        ("2024-03-01T00:00", ["29T21", "01T00"], ["0229", "0301"]),
        ("2024-03-01T00:59", ["29T21", "01T00", "01T03"], ["0229", "0301"]),
        ("2024-03-01T01:00", ["01T00", "01T03"], ["0301"]),
    ],
)
def test_three_hourly_day_files_around_midnight(
    time: str, steps: list[str], days: list[str], archives: Path, tmp_path: Path
) -> None:
    made, fetched = build(archives, tmp_path, time, {"source": "gfs0p25"}, run=True)
    assert [t[8:13] for t in made.times] == steps
    assert fetched == [s["name"] for s in made.sources] == [f"2024{day}_gfs0p25" for day in days]


@pytest.mark.parametrize("time", ["2024-02-29T22:00", "2024-02-29T19:01", "2024-03-01T00:00"])
def test_six_hourly_files_of_a_step_each(time: str, archives: Path, tmp_path: Path) -> None:
    where = {"directory": str(archives / "steps"), "pattern": "gfs_%Y%m%d_%H.arl"}
    made, fetched = build(archives, tmp_path, time, where, run=True)
    assert [t[8:13] for t in made.times] == ["29T18", "01T00"]
    assert fetched == ["gfs_20240229_18.arl", "gfs_20240301_00.arl"]


@pytest.mark.parametrize("crop", [True, False])
def test_files_whose_steps_interlace_are_joined_in_the_order_of_time(
    crop: bool, archives: Path, tmp_path: Path
) -> None:
    where = {"directory": str(archives / "interlaced"), "pattern": "%Y%m%d_*", "crop": crop}
    made, _ = build(archives, tmp_path, "2024-02-29T22:30", where, run=True)
    assert [t[8:13] for t in made.times] == ["29T21", "29T22", "29T23"]
    assert [s["name"][-1] for s in made.sources] == ["a", "b"]


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("order", ["repeated", "backward", "uneven"])
def test_a_file_may_have_its_steps_in_any_order(order: str, crop: bool, archives: Path, tmp_path: Path) -> None:
    """HYSPLIT stops at such a file; the aggregate has each step once, in the order of time."""
    whole = archives / "hourly" / "20240229_18-23_hrrr"
    raw = whole.read_bytes()
    steps = [raw[k * len(raw) // 6 : (k + 1) * len(raw) // 6] for k in range(6)]
    chosen = {"repeated": [0, 1, 2, 2, 3, 4, 5], "backward": [0, 1, 2, 5, 4, 3], "uneven": [0, 2, 3, 4, 5]}[order]
    (tmp_path / "met").mkdir()
    (tmp_path / "met" / whole.name).write_bytes(b"".join(steps[k] for k in chosen))
    where = {"directory": str(tmp_path / "met"), "pattern": "%Y%m%d_%H-*_hrrr", "crop": crop}
    made, _ = build(archives, tmp_path, "2024-02-29T22:30", where, run=True)
    assert [t[8:13] for t in made.times] == ["29T21", "29T22", "29T23"]


def test_a_next_file_that_is_missing_is_named(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(MeteorologyError) as caught:
        build(archives, tmp_path, "2024-03-01T06:30", {"source": "gfs0p25"})
    assert "no meteorology at 2024-03-01 06:30 UTC" in str(caught.value)
    assert "gfs0p25/2024/03/20240302_gfs0p25 of source gfs0p25, is missing: add it" in str(caught.value)
