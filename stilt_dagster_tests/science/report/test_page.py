"""Pages of jacobians made up for it: where, when and how far away, what is left out, what is escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pytest
from pyproj import Geod

from stilt_dagster.science.jacobian.jacobian import flux_hours
from stilt_dagster.science.jacobian.jacobian_files import write_matrix
from stilt_dagster.science.jacobian.row_spool import RowSpool
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.report.page import Content, StoredFile, render
from stilt_dagster.science.report.provenance import made_by, settings_tables, without_query
from stilt_dagster.science.report.summary import Summary, find_warnings, read_summary
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster_tests.conftest import SCENE, deep_merge
from stilt_dagster_tests.science.report.pages import read_page

HOSTILE = '</script><script>alert("1")</script><b>&amp; \' "'

#: Entries of a row by its number: hour before the first the scene can feel, y, x, and the influence.
Entries = Callable[[int], list[tuple[int, int, int, float]]]

Made = tuple[Scene, Summary]


def one_cell(row: int) -> list[tuple[int, int, int, float]]:
    return [(1, 20, 30, 0.5)]


def make(directory: Path, entries: Entries, failed: int = 0, message: str = "it failed", **changes: Any) -> Made:
    """Return a scene and the summary of a jacobian whose first *failed* rows failed."""
    scene = make_scene(deep_merge(SCENE, {"meteorology": {"source": "hrrr", "pattern": None}, **changes}), "test")
    ids, (ny, nx) = scene.receptor_ids, (scene.footprint.grid.ny, scene.footprint.grid.nx)
    first, hours = flux_hours(scene)
    layers = 1 if scene.footprint.time_integrate else hours
    spool = RowSpool(directory, layers * ny * nx)
    outcomes, sums = [], np.zeros(len(ids))
    for row, receptor in enumerate(ids):
        some = [] if row < failed else sorted(entries(row))
        columns = np.array([(hour * ny + y) * nx + x for hour, y, x, _ in some], np.int64)
        spool.add(row, columns, np.array([value for *_, value in some], np.float32))
        sums[row] = sum(value for *_, value in some)
        status = "failed" if row < failed else "ok" if some else "empty"
        why = {"reason": "INCOMPLETE", "message": message} if row < failed else {}
        outcomes.append(Outcome(receptor, status, n_particles=20, hours_covered=2.0, **why))
    path = directory / "jacobian.nc"
    with h5netcdf.File(path, "w") as file:
        write_matrix(file, scene, outcomes, spool.close_rows(len(ids)), sums, spool, (first, hours))
        file.attrs.update({"stilt_key": "key", "stilt_version": "version"})
    return scene, read_summary(path, scene)


def page_of(made: Made) -> str:
    scene, summary = made
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    warnings = find_warnings(scene, summary, None)
    files = [StoredFile("trajectories", "particles", 0, 0), StoredFile("jacobian", "matrix", 1, 2_500_000)]
    tables = [made_by(summary, now), *settings_tables(scene)]
    return render(Content(scene, summary, None, warnings, tables, files, "version", now))


def test_influence_is_summed_where_when_and_how_far_away(tmp_path: Path) -> None:
    def entries(row: int) -> list[tuple[int, int, int, float]]:
        return [(2, 20, 30, 0.5), (1, 20, 31, 0.25), (0, 49, 0, 0.25)] if row == 4 else []

    scene, summary = make(tmp_path, entries)
    influence, grid = summary.influence, scene.footprint.grid
    assert influence.total == pytest.approx(1.0)
    assert (influence.field[20, 30], influence.field[49, 0]) == (0.5, 0.25)
    assert influence.by_hour is not None  # released at 09:20, and the hours of UTC are those from 07, 08 and 09
    assert influence.by_hour.tolist() == [0.5, 0.25, 0.25]
    lon, lat = summary.rows.lon[4], summary.rows.lat[4]
    for y, x, value in ((20, 30, 0.75), (49, 0, 0.25)):
        _, _, metres = Geod(ellps="sphere").inv(lon, lat, grid.x[x], grid.y[y])
        (bin_,) = np.flatnonzero(
            (influence.distances[:-1] <= metres / 1000) & (metres / 1000 < influence.distances[1:])
        )
        assert influence.by_distance[bin_] == pytest.approx(value)
    page = read_page(page_of((scene, summary)))
    assert page.tables["outcomes"][1:] == [
        ["ok", "1", "influence of the grid"],
        ["empty", "8", "zeros: a measurement that feels nothing of the grid"],
        ["failed", "0", "zeros, and no measurement: leave it out"],
    ]
    assert page.tables["by-hour"][1:] == [["0", "50.0%"], ["1", "75.0%"], ["2", "100.0%"]]
    assert page.tables["stored"][1:] == [
        ["trajectories", "particles", "not in the store any more"],
        ["jacobian", "matrix", "2.5 MB"],
    ]
    assert "2023-07-15 09:20 UTC" in page.text
    assert "2023-07-15 07:00 to 2023-07-15 10:00 UTC" in page.text
    assert "Particles are not in the store any more" in page.text


def test_a_release_at_the_full_hour_feels_the_hour_before_first(tmp_path: Path) -> None:
    _, summary = make(tmp_path, lambda row: [(1, 20, 30, 1.0)], time="2023-07-15T10:00:00Z")
    assert summary.influence.by_hour is not None
    assert summary.influence.by_hour.tolist() == [9.0, 0.0]


def test_a_fine_grid_is_summed_in_blocks_and_loses_nothing(tmp_path: Path) -> None:
    box = {"xmin": -113.0, "xmax": -111.6, "xres": 0.002, "ymin": 40.0, "ymax": 41.0, "yres": 0.002}
    made = make(tmp_path, lambda row: [(0, 499, 699, 1.0), (1, 0, row, 2.0)], footprint=box)
    field, block = made[1].influence.field, made[1].influence.block
    assert (block, field.shape) == (2, (250, 350))
    assert (field.sum(), field[-1, -1], field[0, :5].sum()) == (27.0, 9.0, 18.0)
    assert "each cell here is the sum of 2 × 2 of its cells" in read_page(page_of(made)).text


def test_a_projected_grid_integrated_over_time(tmp_path: Path) -> None:
    projection = "+proj=lcc +lat_1=38.5 +lat_2=38.5 +lat_0=38.5 +lon_0=-97.5 +a=6371229 +b=6371229 +units=m"
    grid = {"projection": projection, "xres": 2000.0, "yres": 2000.0, "time_integrate": True}
    made = make(tmp_path, lambda row: [(0, 20, 30, 1.0)], footprint=grid)
    assert made[1].influence.by_hour is None
    assert 1 < made[1].influence.distance_of(0.5) < 150
    page = read_page(page_of(made))
    assert "its matrix has one column a cell, and no hours" in page.text
    assert "by-hour" not in page.tables
    assert 'ds.dim["y"]' in page.code["julia"]


def test_what_is_too_much_for_a_page_is_left_out_and_said_so(tmp_path: Path) -> None:
    grid = {"xmin": -112.3, "xmax": -112.3 + 0.001 * 99, "xres": 0.001, "ymax": 40.4 + 0.001 * 59, "yres": 0.001}
    made = make(tmp_path, one_cell, failed=120, receptors={"grid": grid})
    html = page_of(made)
    page = read_page(html)
    assert "5,000 of 6,000 receptors are shown, failed ones first" in page.text
    assert len(page.tables["failures"]) == 1 + 100
    assert "and 20 more" in page.text
    assert page.tables["reasons"][1:] == [["INCOMPLETE", "120"]]
    assert len(html.encode()) < 5_000_000
    shown = made[1].rows.thinned(200)
    assert (len(shown), shown[:120].tolist()) == (200, list(range(120)))
    assert made[1].rows.thinned(50).tolist() == list(range(50))


@pytest.mark.parametrize("failed", [0, 9])
def test_nothing_is_influenced(tmp_path: Path, failed: int) -> None:
    page = read_page(page_of(make(tmp_path, lambda row: [], failed=failed)))
    assert "no receptor is influenced by the grid" in page.text
    assert page.tables["outcomes"][3][1] == str(failed)


def test_text_of_others_is_text(tmp_path: Path) -> None:
    html = page_of(make(tmp_path, one_cell, failed=2, message=HOSTILE))
    page = read_page(html)
    assert page.tags.count("script") == 2, "the library and the figures"
    assert "b" not in page.tags
    assert [row[1:] for row in page.tables["failures"][1:]] == [["INCOMPLETE", HOSTILE]] * 2
    assert not page.fetched


def test_what_signs_a_url_is_not_passed_on() -> None:
    assert without_query("gs://b/a.nc?X-Goog-Signature=1 b") == "gs://b/a.nc b"
    assert without_query("tropomi_ch4 https://h/a.nc#x, /data/b?.nc") == "tropomi_ch4 https://h/a.nc /data/b?.nc"
