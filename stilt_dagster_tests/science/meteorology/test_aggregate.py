"""Meteorology for a scene: which hours, whole or not, and how much of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import arlmet
import numpy as np
import pandas as pd
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.meteorology.aggregate import Description, build_aggregate
from stilt_dagster.science.meteorology.arl.joining import index_cells
from stilt_dagster.science.meteorology.extent.needs import scene_box
from stilt_dagster.science.meteorology.time_steps import select_steps
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.ensembles import simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster_tests.conftest import SCENE, deep_merge


def scene_on(directory: Path, **changes: Any) -> Scene:
    data = deep_merge(SCENE, {"meteorology": {"directory": str(directory)}})
    return make_scene(deep_merge(data, changes), "test")


def build(scene: Scene, tmp_path: Path, root: str = "", **options: Any) -> tuple[Path, Description]:
    path = tmp_path / "aggregate.arl"
    return path, build_aggregate(scene, FileArchive(root), path, **options)


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days on a small grid, in files of six hours."""
    directory = tmp_path_factory.mktemp("two_days")
    make_meteorology(directory, "2023-07-14T00:00", 49, (-113.6, 39.4, -110.6, 41.6), Weather(3.0), spacing_km=6.0)
    return directory


@pytest.mark.parametrize("hour", range(24))
def test_every_start_hour_finds_its_meteorology_and_runs(hour: int, two_days: Path, tmp_path: Path) -> None:
    minute = 20 * (hour % 3)
    time = pd.Timestamp(f"2023-07-15T{hour:02d}:{minute:02d}")
    footprint = {"xmin": -112.4, "xmax": -111.8, "ymin": 40.3, "ymax": 40.6}
    scene = scene_on(two_days, time=f"{time}Z", transport={"n_hours": -1, "numpar": 2}, footprint=footprint)
    path, made = build(scene, tmp_path)
    first, last = (time - pd.Timedelta("1h")).floor("h"), time.ceil("h")
    assert made.times == [f"{t:%Y-%m-%dT%H:%MZ}" for t in pd.date_range(first, last, freq="h")]
    outcome, _ = simulate(scene.receptor_list[0], scene.transport, path, Hysplit(scratch=tmp_path))
    assert (outcome.status, outcome.hours_covered) == ("ok", 1.0)


def test_the_aggregate_says_what_it_is_made_of(meteorology: Path, tmp_path: Path) -> None:
    path, made = build(scene_on(meteorology), tmp_path)
    header = arl.read_header(path)
    assert made.model == header.source == "HRRR"
    assert [s["name"] for s in made.sources] == ["20230715_06-11_hrrr"]
    assert all(len(s["sha256"]) == 64 for s in made.sources)
    assert (made.nx, made.ny) == (header.grid.nx, header.grid.ny)
    assert made.extent[0] < -113.0 < -111.6 < made.extent[2]
    assert not arlmet.File(path).check()


def test_a_crop_keeps_values_and_an_uncropped_join_keeps_bytes(meteorology: Path, tmp_path: Path) -> None:
    source = arlmet.File(meteorology / "20230715_06-11_hrrr")
    whole, _ = build(scene_on(meteorology, meteorology={"crop": False}), tmp_path)
    with arlmet.File(whole) as joined:
        assert joined.times == [
            t for t in source.times if pd.Timestamp("2023-07-15T07") <= t <= pd.Timestamp("2023-07-15T10")
        ]
        raw = whole.read_bytes()
        assert raw in (meteorology / "20230715_06-11_hrrr").read_bytes()
    cropped, _ = build(scene_on(meteorology), tmp_path)
    points = pd.DataFrame({"lon": [-112.0, -113.0, -111.6], "lat": [40.5, 40.0, 41.0], "z": [900.0] * 3})
    with arlmet.File(cropped) as file:
        for name, tolerance in (("UWND", 0.03), ("TEMP", 0.05)):
            a = file.sample_points(points, name, time="2023-07-15 08:00")[name]
            b = source.sample_points(points, name, time="2023-07-15 08:00")[name]
            np.testing.assert_allclose(a, b, atol=tolerance)


def test_levels_can_be_left_out(meteorology: Path, tmp_path: Path) -> None:
    _, made = build(scene_on(meteorology, meteorology={"n_levels": 12}), tmp_path)
    assert len(made.levels) == 12
    assert made.levels[0] == 1.0


def test_a_crop_and_its_levels_give_the_particles_of_whole_files(tmp_path: Path) -> None:
    """To the digit, day and night, as long as none leaves; of places the last digit, as grids begin elsewhere."""
    calm = Weather(speed=0.7, direction=270.0)
    make_meteorology(tmp_path / "met", "2023-07-15T00:00", 23, (-113.6, 39.4, -110.6, 41.6), calm, spacing_km=6.0)
    footprint = {"xmin": -112.4, "xmax": -111.8, "ymin": 40.3, "ymax": 40.6}
    made, particles = {}, {}
    for name, met in {"crop": {}, "levels": {"n_levels": "all"}, "whole": {"crop": False}}.items():
        changes = {"time": "2023-07-15T22:00Z", "transport": {"n_hours": -20, "numpar": 40}, "footprint": footprint}
        scene = scene_on(tmp_path / "met", meteorology=met, **changes)
        path, made[name] = build(scene, tmp_path)
        outcome, particles[name] = simulate(scene.receptor_list[0], scene.transport, path, Hysplit(scratch=tmp_path))
        assert (outcome.status, outcome.escaped_fraction) == ("ok", 0.0)
    assert len(made["crop"].levels) < len(made["levels"].levels)
    assert made["crop"].kept["records_packed_anew"] == 0
    tables = {name: table.to_pandas() for name, table in particles.items()}
    for name in ("levels", "whole"):
        for column in ("particle", "age", "zagl", "mlht", "sigw", "tlgr"):
            assert (tables["crop"][column] == tables[name][column]).all(), (name, column)
        for column, tolerance in (("lon", 2e-4), ("lat", 2e-4), ("foot", 1e-6)):
            np.testing.assert_allclose(tables["crop"][column], tables[name][column], rtol=0, atol=tolerance)


def test_the_crop_covers_the_projected_perimeter_of_the_box(tmp_path: Path) -> None:
    """Far from the cone's meridian parallels are steep curves: every corner must still be on the crop."""
    make_meteorology(tmp_path / "wide", "2023-07-15T07:00", 4, (-126.0, 30.0, -108.0, 50.0), Weather(), spacing_km=27.0)
    corners = [{"longitude": lon, "latitude": lat} for lon in (-124.0, -110.0) for lat in (32.0, 48.0)]
    box = {"xmin": -124.0, "xmax": -110.0, "xres": 0.5, "ymin": 32.0, "ymax": 48.0, "yres": 0.5}
    scene = scene_on(tmp_path / "wide", receptors={"grid": None, "points": corners}, footprint=box)
    path, made = build(scene, tmp_path)
    assert not made.outside
    header = arl.read_header(path)
    lon = np.r_[np.linspace(-124, -110, 50), np.linspace(-124, -110, 50), np.full(50, -124.0), np.full(50, -110.0)]
    lat = np.r_[np.full(50, 32.0), np.full(50, 48.0), np.linspace(32, 48, 50), np.linspace(32, 48, 50)]
    assert header.contains(lon, lat).all()
    engine = Hysplit(scratch=tmp_path)
    for receptor in scene.receptor_list:
        assert simulate(receptor, scene.transport, path, engine)[0].status == "ok"


def test_the_box_may_cross_the_antimeridian() -> None:
    footprint = {"xmin": 179.0, "xmax": -179.0, "xres": 0.1}
    points = [{"longitude": -179.5, "latitude": 40.5}, {"longitude": 178.0, "latitude": 40.5}]
    scene = scene_on(Path("/m"), receptors={"grid": None, "points": points}, footprint=footprint)
    assert scene_box(scene.receptor_list, scene.footprint.grid) == pytest.approx((178.0, 40.0, -179.0, 41.0))


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(meteorology: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(meteorology, tmp_path / "broken"))


def refused(scene: Scene, tmp_path: Path, kind: type[Exception] = MeteorologyError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        build(scene, tmp_path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_files_and_hours_are_named(broken: Path, tmp_path: Path) -> None:
    early = scene_on(broken, time="2023-07-15T07:00:00Z")
    assert "no meteorology at 2023-07-15 05:00 UTC" in refused(early, tmp_path)
    assert "20230715_06-11_hrrr (2023-07-15 06:00 to 2023-07-15 11:00)" in refused(early, tmp_path)
    assert "matches" in refused(scene_on(broken, time="2022-07-15T07:00:00Z"), tmp_path)
    assert "does not exist" in refused(scene_on(broken / "none"), tmp_path)
    source = scene_on(broken, meteorology={"directory": None, "pattern": None, "source": "hrrr"})
    (tmp_path / "empty").mkdir()
    message = refused(source, tmp_path, root=str(tmp_path / "empty"))
    assert "hrrr/2023/07/20230715_06-11_hrrr of source hrrr is missing" in message


@pytest.mark.parametrize("layout", ["hrrr/2023/07", "hrrr", "."])
def test_a_source_is_found_below_stilt_met(layout: str, meteorology: Path, tmp_path: Path) -> None:
    shutil.copytree(meteorology, tmp_path / "met" / layout, dirs_exist_ok=True)
    scene = scene_on(meteorology, meteorology={"directory": None, "pattern": None, "source": "hrrr"})
    _, made = build(scene, tmp_path, root=str(tmp_path / "met"))
    assert len(made.times) == 4


def test_a_name_is_not_believed(broken: Path, tmp_path: Path) -> None:
    """The file says other hours than its name does."""
    shutil.copy(broken / "20230715_12-17_hrrr", broken / "20230715_06-11_hrrr")
    assert "no meteorology at 2023-07-15 07:20 UTC" in refused(scene_on(broken), tmp_path)


def test_a_gap_in_time_is_named(meteorology: Path, tmp_path: Path) -> None:
    header = arl.read_header(meteorology / "20230715_06-11_hrrr")
    gappy = replace(header, steps=tuple(step for step in header.steps if step.time.hour != 9))
    window = Window(pd.Timestamp("2023-07-15T06:20"), pd.Timestamp("2023-07-15T10:40"))
    with pytest.raises(MeteorologyError, match="nothing at 2023-07-15 09:00 UTC, between 2023-07-15 08:00 in a"):
        select_steps({"a": gappy}, window)


def test_coarse_time_steps_are_bracketed(meteorology: Path) -> None:
    header = arl.read_header(meteorology / "20230715_06-11_hrrr")
    times = [pd.Timestamp("2023-07-15") + pd.Timedelta(hours=3 * k) for k in range(9)]
    coarse = replace(header, steps=tuple(replace(header.steps[0], time=time) for time in times))
    ((_, steps),) = select_steps(
        {"a": coarse}, Window(pd.Timestamp("2023-07-15T07:20"), pd.Timestamp("2023-07-15T13:00"))
    )
    assert [t.hour for t in steps] == [6, 9, 12, 15]


def test_truncated_and_flipped_files_are_damaged(broken: Path, tmp_path: Path) -> None:
    path = broken / "20230715_06-11_hrrr"
    whole = path.read_bytes()
    length = arlmet.File(path).record_length
    # A record that the scene needs (the third time step), flipped in its data, its header, and the index record.
    with arlmet.File(path) as file:
        third = next(p for t, p, _ in file._steps if t == file.times[2])
    cases = {
        "truncated": whole[: len(whole) // 2 + 7],
        "empty": b"",
        "data": flip(whole, third + 5 * length + 50 + 777),
        "header": flip(whole, third + 5 * length + 14),
        "index": flip(whole, third + 53),
        "noise": np.random.default_rng(1).bytes(5000),
    }
    for name, content in cases.items():
        path.write_bytes(content)
        message = refused(scene_on(broken), tmp_path)
        assert "20230715_06-11_hrrr" in message, name
        assert "damaged" in message or "not an ARL" in message or "empty" in message, name


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :]


def test_receptors_outside_are_named_before_anything_is_paid_for(meteorology: Path, tmp_path: Path) -> None:
    points = [{"longitude": -112.0, "latitude": 40.4 + k / 100} for k in range(9)] + [
        {"longitude": -90, "latitude": 40}
    ]
    outside = scene_on(meteorology, receptors={"grid": None, "points": points})
    assert "receptor 202307150920_-90_40_1 lies outside the meteorology 20230715_06-11_hrrr" in refused(
        outside, tmp_path
    )
    tolerant = scene_on(meteorology, receptors={"grid": None, "points": points}, max_failed_fraction=0.1)
    _, made = build(tolerant, tmp_path)
    assert made.outside == ["202307150920_-90_40_1"]


def test_a_crop_too_small_for_an_arl_file_is_refused_or_grown(meteorology: Path, tmp_path: Path) -> None:
    tiny = {"xmin": -112.1, "xmax": -112.0, "ymin": 40.4, "ymax": 40.5}
    assert "too small for an ARL file" in refused(
        scene_on(meteorology, footprint=tiny, meteorology={"margin": 0.1}), tmp_path
    )
    path, made = build(scene_on(meteorology, footprint=tiny), tmp_path)
    assert not arlmet.File(path).check()
    assert len(made.levels) > 10


def test_the_fewest_cells_that_hold_the_index_run(meteorology: Path, tmp_path: Path) -> None:
    """Of one cell fewer hycs_std would take the first field for the rest of the index."""
    header = arl.read_header(meteorology / "20230715_06-11_hrrr")
    scene = scene_on(meteorology, time="2023-07-15T08:40Z", transport={"n_hours": -1, "numpar": 2})
    x, y = header.grid.fractional_indices(np.array([-112.1]), np.array([40.4]))
    found = [
        (nx, index_cells(header.steps[0], n) // nx, n)
        for n in range(6, 20)
        for nx in range(20, 33)
        if index_cells(header.steps[0], n) % nx == 0 and 16 <= index_cells(header.steps[0], n) // nx <= 36
    ]
    assert found
    for nx, ny, n_levels in found[:3]:
        x0, y0 = max(int(x[0]) - nx // 2, 0), max(int(y[0]) - ny // 2, 0)
        path, times = tmp_path / f"{nx}.arl", list(header.times[1:4])
        arl.join([(header, times)], path, arl.Selection((x0, x0 + nx, y0, y0 + ny), n_levels))
        outcome, _ = simulate(scene.receptor_list[0], scene.transport, path, Hysplit(scratch=tmp_path))
        assert outcome.status == "ok", (nx, ny, n_levels, outcome.message)


def test_forecasts_ahead_of_the_clock_are_refused_and_a_registered_build_takes_them(tmp_path: Path) -> None:
    """What hycs_std refuses: a forecast hour for a time that has not come yet."""
    ahead = (pd.Timestamp.now("UTC") + pd.Timedelta(days=2)).floor("D").tz_localize(None)
    directory = tmp_path / "ahead"
    (path,) = make_meteorology(
        directory, f"{ahead + pd.Timedelta(hours=6)}", 6, (-114.0, 38.8, -110.4, 42.2), Weather()
    )
    raw = bytearray(path.read_bytes())
    with arlmet.File(path) as file:
        positions, length = [p for _, p, _ in file._steps], file.record_length
    for k, start in enumerate(positions):
        raw[start + 54 : start + 57] = f"{k + 1:3d}".encode()
        for record in range(start, positions[k + 1] if k + 1 < len(positions) else len(raw), length):
            raw[record + 8 : record + 10] = f"{k + 1:2d}".encode()
    path.write_bytes(bytes(raw))
    scene = scene_on(directory, time=f"{ahead:%Y-%m-%d}T09:20:00Z")
    message = refused(scene, tmp_path, EngineError)
    assert "is a forecast" in message
    assert "STILT_EXE_DIR" in message
    aggregate, _ = build(scene, tmp_path, forecasts=True)
    with pytest.raises(EngineError, match="refuses forecast meteorology"):  # the bundled build, given it all the same
        simulate(scene.receptor_list[0], scene.transport, aggregate, Hysplit(scratch=tmp_path))


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """Four times the hours, and the peak stays within a tenth."""
    make_meteorology(tmp_path / "m", "2023-07-15T00:00", 24, (-116.0, 37.0, -108.0, 44.0), Weather(), spacing_km=6.0)
    program = """
import sys, resource
from pathlib import Path
from stilt_dagster_tests.science.meteorology.test_aggregate import build, scene_on
scene = scene_on(Path(sys.argv[1]), time="2023-07-15T22:00:00Z", transport={"n_hours": int(sys.argv[2])})
build(scene, Path(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    for hours in (-5, -22):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, tmp_path / "m", str(hours), tmp_path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("crop", [True, False])
def test_more_than_a_thousand_columns_of_fewer_rows_run(crop: bool, tmp_path: Path) -> None:
    """hycs_std reads the thousands of columns and rows together."""
    make_meteorology(tmp_path / "wide", "2023-07-15T06:00", 3, (-118.0, 40.0, -106.0, 40.9), Weather(), spacing_km=1.0)
    footprint = {"xmin": -117.9, "xmax": -106.1, "ymin": 40.3, "ymax": 40.6}
    changes = {"time": "2023-07-15T07:00Z", "transport": {"n_hours": -1, "numpar": 2}, "footprint": footprint}
    scene = scene_on(tmp_path / "wide", meteorology={"crop": crop}, **changes)
    path, made = build(scene, tmp_path)
    assert made.nx >= 1000 > made.ny
    outcome, _ = simulate(scene.receptor_list[0], scene.transport, path, Hysplit(scratch=tmp_path))
    assert (outcome.status, outcome.hours_covered) == ("ok", 1.0), outcome.message
