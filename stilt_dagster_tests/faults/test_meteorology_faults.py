"""Meteorology from servers and files that fail: one line each, and nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arlmet
import pytest
import yaml

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.remote import files
from stilt_dagster.science import validation
from stilt_dagster.science.errors import MeteorologyError, UserError
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.settings import trusts
from stilt_dagster_tests.conftest import SCENE, deep_merge
from stilt_dagster_tests.harness.web import WebServer, ask_quickly

NAMES = ("20230715_06-11_hrrr", "20230715_12-17_hrrr")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ask_quickly(monkeypatch)
    yield
    files.shared_cache.cache_clear()


@pytest.fixture
def web(meteorology: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with WebServer({f"/met/{name}": (meteorology / name).read_bytes() for name in NAMES}) as server:
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", server.host)
        monkeypatch.setattr(validation, "_TRUSTING", [trusts])
        yield server


def build(place: str, path: Path, root: str = "", **changes: Any) -> Any:
    data = deep_merge(SCENE, {"time": "2023-07-15T12:20:00Z", "meteorology": {"directory": place}})
    return build_aggregate(make_scene(deep_merge(data, changes), "test"), FileArchive(root), path)


def refused(place: str, tmp_path: Path, kind: type[UserError] = MeteorologyError, **changes: Any) -> str:
    path = tmp_path / "aggregate.arl"
    with pytest.raises(kind) as caught:
        build(place, path, **changes)
    [line] = str(caught.value).splitlines()
    return line


# -- servers ----------------------------------------------------------------------------------------------------------


def test_what_a_web_server_has_is_what_files_have(web: WebServer, meteorology: Path, tmp_path: Path) -> None:
    local, remote = tmp_path / "local.arl", tmp_path / "remote.arl"
    build(str(meteorology), local)
    web.requests.clear()
    made = build(f"{web.url}/met", remote)
    assert remote.read_bytes() == local.read_bytes()
    assert web.sent < 0.75 * sum(map(len, web.files.values())), "never a whole file"
    assert made.kept["bytes_read"] <= web.sent
    assert {s["state"] for s in made.sources} == {'"1"'} or all(s["state"] for s in made.sources)


def test_storms_are_waited_out(web: WebServer, meteorology: Path, tmp_path: Path) -> None:
    local, remote = tmp_path / "local.arl", tmp_path / "remote.arl"
    build(str(meteorology), local)
    web.wrong.refuse, web.wrong.cut = [503, 429, 500, 429, 503], 2
    build(f"{web.url}/met", remote)
    assert remote.read_bytes() == local.read_bytes()


def test_a_storm_that_does_not_end_is_said(web: WebServer, tmp_path: Path) -> None:
    web.wrong.before = lambda number: web.wrong.refuse.append(503) if number > 3 else None
    line = refused(f"{web.url}/met", tmp_path)
    assert "20230715_06-11_hrrr" in line
    assert "503" in line


@pytest.mark.parametrize("after", [3, 6, 12])
def test_a_file_that_changes_while_it_is_read_is_noticed(web: WebServer, tmp_path: Path, after: int) -> None:
    web.wrong.change_after = after
    line = refused(f"{web.url}/met", tmp_path)
    assert "_hrrr" in line
    assert "replaced while it was read" in line or "changed" in line


def test_a_file_that_is_listed_and_may_not_be_read(web: WebServer, tmp_path: Path) -> None:
    web.wrong.before = lambda number: web.wrong.refuse.append(403) if number == 1 else None
    line = refused(f"{web.url}/met", tmp_path)
    assert "20230715_06-11_hrrr" in line
    assert "403" in line or "may" in line


def test_a_truncated_file_of_a_server_is_damaged(web: WebServer, tmp_path: Path) -> None:
    name = f"/met/{NAMES[0]}"
    whole = web.files[name]
    for content in (whole[: len(whole) // 2 + 7], whole[:100], b"", b"<html>not here</html>" * 40):
        web.files[name] = content
        line = refused(f"{web.url}/met", tmp_path)
        assert NAMES[0] in line, line


def test_a_server_that_ignores_ranges_is_not_believed(web: WebServer, tmp_path: Path) -> None:
    web.wrong.ignores_ranges = True
    assert "range" in refused(f"{web.url}/met", tmp_path)


# -- files ------------------------------------------------------------------------------------------------------------


def test_two_files_that_claim_an_hour_with_different_content(meteorology: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(meteorology, tmp_path / "met"))
    shutil.copy(there / NAMES[0], there / "20230715_06-b_hrrr")
    build(str(there), tmp_path / "same.arl")  # a copy is no contradiction
    make_meteorology(tmp_path / "other", "2023-07-15T06:00", 6, (-114.0, 38.8, -110.4, 42.2), Weather(speed=2.0))
    shutil.copy(tmp_path / "other" / NAMES[0], there / "20230715_06-b_hrrr")
    line = refused(str(there), tmp_path)
    assert "both have 2023-07-15 10:00 UTC, with different content" in line
    assert NAMES[0] in line
    assert "20230715_06-b_hrrr" in line


def test_files_of_different_grids_are_not_joined(meteorology: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(meteorology, tmp_path / "met"))
    make_meteorology(tmp_path / "other", "2023-07-15T12:00", 6, (-114.0, 38.8, -110.4, 42.2), Weather(), spacing_km=6.0)
    shutil.copy(tmp_path / "other" / NAMES[1], there / NAMES[1])
    assert "on different grids or levels" in refused(str(there), tmp_path)


@pytest.mark.parametrize(
    ("longitude", "latitude"), [(-90.0, 40.5), (68.0, 40.5), (-112.0, 80.0), (-112.0, -40.5), (179.9, 0.0)]
)
def test_a_scene_off_the_grid_is_refused(meteorology: Path, tmp_path: Path, longitude: float, latitude: float) -> None:
    grid = {
        "xmin": longitude - 0.1, "xmax": longitude + 0.1, "ymin": latitude - 0.1, "ymax": latitude + 0.1, "xres": 0.02,
        "yres": 0.02,
    }  # fmt: skip
    changes = {
        "receptors": {"grid": None, "points": [{"longitude": longitude, "latitude": latitude}]},
        "footprint": grid,
    }
    assert "lies outside the meteorology" in refused(str(meteorology), tmp_path, **changes)


# -- at the command line: one line, exit 2, nothing half-written -----------------------------------------------------


@pytest.mark.parametrize(
    ("met", "said"),
    [
        ({"source": "hrr"}, "unknown source 'hrr'"),
        ({"source": ["gfs0p25", "hrrr"]}, "finest"),
        ({"source": "auto", "max_bytes": "lots"}, "must be a size"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_registration(
    met: dict[str, Any], said: str, tmp_path: Path, command: Any
) -> None:
    done = command("scene", "add", write(tmp_path, met))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list((tmp_path / "store").rglob("*.json"))


@pytest.mark.parametrize(
    ("met", "said"),
    [
        ({"source": "hrrr"}, "20230715_06-11_hrrr of source hrrr is missing"),
        ({"source": "gfs0p25"}, "20230715_gfs0p25 of source gfs0p25 is missing"),
        ({"source": "auto"}, "no source has meteorology of"),
        ({"source": "hrrr.forecast"}, "STILT_EXE_DIR"),
        ({"directory": "{met}", "pattern": "wrf_%Y%m%d"}, "matches 'wrf_%Y%m%d'"),
        ({"directory": "{met}/none", "pattern": "wrf_%Y%m%d"}, "does not exist"),
    ],
)
def test_meteorology_that_is_not_there_is_said_in_a_line(
    met: dict[str, Any], said: str, meteorology: Path, tmp_path: Path, command: Any
) -> None:
    met = {k: v.replace("{met}", str(meteorology)) if isinstance(v, str) else v for k, v in met.items()}
    assert command("scene", "add", write(tmp_path, met)).returncode == 0
    done = command("scene", "run", "valley-20230715t0920", "--assets", "receptors,meteorology_aggregate")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if said in line]
    assert lines, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "store" / "meteorology_aggregate").glob("*.arl"))


def write(directory: Path, met: dict[str, Any]) -> str:
    path = directory / "scene.yaml"
    path.write_text(yaml.safe_dump({**SCENE, "meteorology": met}))
    return str(path)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command line on a store of its own, with an archive that has nothing."""
    for name, below in (("STILT_STORE", "store"), ("STILT_MET", "empty"), ("DAGSTER_HOME", "home")):
        (tmp_path / below).mkdir()
        monkeypatch.setenv(name, str(tmp_path / below))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "stilt_dagster.cli", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_an_aggregate_is_a_sound_arl_file(web: WebServer, tmp_path: Path) -> None:
    build(f"{web.url}/met", tmp_path / "a.arl")
    with arlmet.File(tmp_path / "a.arl") as made:
        assert not made.check()
        assert all(record.verify_checksum() for time in made.times for record in made[time].records)
