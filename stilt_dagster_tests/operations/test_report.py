"""The report of scenes that ran: what it says, that it opens offline, and when it is made again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stilt_dagster_tests.cli.test_scene_commands import ONE_FAILS, OUTSIDE
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.science.report.pages import chromium, draw, read_page

SCENE = "valley-20230715t0920"


@pytest.fixture(scope="module")
def html(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as the command line writes it."""
    path = tmp_path_factory.mktemp("report") / "out" / "page.html"
    said = json.loads(finished.cli("scene", "report", SCENE, "--output", path, "--json").stdout)
    assert said == {"scene": SCENE, "output": str(path), "bytes": path.stat().st_size}
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path.read_text()


def test_it_says_what_the_scene_came_to(finished: Project, html: str) -> None:
    assert finished.status(SCENE)["assets"]["report"] == {"state": "ready"}
    page, stored = read_page(html), read_page((finished.store / "report" / f"{SCENE}.html").read_text())
    assert page.tables == stored.tables
    assert page.tables["outcomes"][1][:2] == ["ok", "9"]
    assert "failures" not in page.tables
    heights = [[float(v.replace(",", "")) for v in row] for row in page.tables["heights"][1:]]
    assert [row[0] for row in heights] == [0, 1, 2]
    assert all(low <= median <= high for _, low, median, high, _ in heights)
    assert [row[0] for row in page.tables["stored"][1:]][-1] == f"jacobian/{SCENE}.nc"
    assert all("not" not in row[2] for row in page.tables["stored"][1:])
    for said in ("hycs_std-", "HRRR", "numpar", "smooth_factor", "2023-07-15 07:00 UTC to 2023-07-15 10:00 UTC", SCENE):
        assert said in page.text
    assert "To look at" not in page.text


def test_it_is_one_file_that_fetches_nothing(html: str) -> None:
    assert not read_page(html).fetched
    assert "default-src 'none'" in html
    assert len(html.encode()) < 5_000_000


def test_its_python_loads_the_matrix(finished: Project, html: str) -> None:
    code = read_page(html).code
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code["python"]], cwd=finished.store, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(9, 10500) mean enhancement, ppm: ")
    assert all(f"jacobian/{SCENE}.nc" in code[language] for language in ("python", "r", "julia"))


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_draws_it_all_within_its_width(html: str, width: int, tmp_path: Path) -> None:
    assert draw(html, width, tmp_path) == {"width": width, "beyond": 0, "plots": 6, "drawn": 6, "errors": []}


def test_it_is_made_when_it_is_missing_or_of_another_matrix_and_tells_failures(project: Project) -> None:
    missing = project.error("scene", "report", "ghost")
    assert "scene add" in missing
    project.cli("scene", "add", project.scene_file(**ONE_FAILS))
    assert f"scene {SCENE} has no jacobian to report on" in project.error("scene", "report", SCENE)
    project.cli("scene", "run", SCENE, code=1)
    path, matrix = project.store / "report" / f"{SCENE}.html", project.store / "jacobian" / f"{SCENE}.nc"
    page = read_page(path.read_text())
    assert [row[:2] for row in page.tables["failures"][1:]] == [[OUTSIDE, "MET_COVERAGE"]]
    assert "1 of 3 receptors failed" in page.text
    assert f"1 receptor lies outside the meteorology: {OUTSIDE}" in page.text

    # A scene of a version that made no report gets one, and nothing else is done again.
    path.unlink()
    assert project.status(SCENE)["assets"]["report"] == {"state": "missing"}
    made = matrix.stat().st_mtime_ns
    project.cli("scene", "run", SCENE, "--assets", "jacobian,report", code=1)
    assert project.status(SCENE)["assets"]["report"] == {"state": "ready"}
    assert matrix.stat().st_mtime_ns == made
    text = path.read_text()
    path.write_text(text.replace('<meta name="stilt-jacobian" content="', '<meta name="stilt-jacobian" content="other'))
    assert project.status(SCENE)["assets"]["report"] == {"state": "stale"}
    path.write_text("nothing")
    assert project.status(SCENE)["assets"]["report"] == {"state": "missing"}

    # What aged out of the store is said to be gone; the rest is told.
    for asset in ("trajectories", "footprints"):
        shutil.rmtree(project.store / asset)
    project.cli("scene", "report", SCENE)
    page = read_page((project.path / f"{SCENE}.html").read_text())
    assert "Particles are not in the store any more" in page.text
    assert [row[2] for row in page.tables["stored"][1:]].count("not in the store any more") == 2
    assert page.tables["outcomes"][1][:2] == ["ok", "2"]
    matrix.write_bytes(matrix.read_bytes()[:3000])
    assert f"jacobian of scene {SCENE} cannot be read" in project.error("scene", "report", SCENE)
    project.cli("scene", "delete", SCENE, "--yes")
    assert not path.exists()
