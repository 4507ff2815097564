"""Sources: where their files are, which hours these hold."""

from __future__ import annotations

import re
import subprocess
import sys

import pandas as pd
import pyproj
import pytest
from arlmet.archives import ARCHIVES, Archive, get_archive
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.meteorology.sources import SOURCES, Source, public_root
from stilt_dagster.science.meteorology.sources.domain import EARTH_RADIUS, Lambert
from stilt_dagster_tests.conftest import ROOT

#: A leap day, a month's end and a year's end are among these hours.
HOURS = pd.date_range("2023-12-25", "2024-03-05", freq="h").append(pd.date_range("2023-02-20", "2023-03-09", freq="h"))


#: Sources that arlmet has not: Google's mirror of HRRR.
OTHERS = {"hrrr.google", "hrrr.forecast"}

#: Sources whose files hold hours of their own each; runs of a forecast overlap.
ANALYSES = [s for s in SOURCES.values() if not s.is_forecast]


def of_arlmet(name: str) -> Archive:
    """Return an archive as arlmet has it, where two are domains of a third."""
    name, _, domain = name.partition(".") if name.startswith("nams") else (name, "", "")
    return get_archive(name, domain=domain) if domain else get_archive(name)


def test_sources_are_those_of_arlmet() -> None:
    assert set(SOURCES) - OTHERS == set(ARCHIVES) | {"nams.ak", "nams.hi"}
    for name, source in SOURCES.items():
        assert source.name == name
        assert (source.last is None) == (source.publication_lag is not None), "it ended, or is added to"
        if name not in OTHERS:
            assert source.first == of_arlmet(name).start_date
            assert source.root == f"https://{Archive.S3_BUCKET}.s3.amazonaws.com"


@pytest.mark.parametrize("name", sorted(set(SOURCES) - OTHERS))
def test_paths_are_those_of_arlmet(name: str) -> None:
    source, archive = SOURCES[name], of_arlmet(name)
    for hour in HOURS:
        assert source.path(hour) == archive._archive_path(hour)
        assert source.path(hour + pd.Timedelta(minutes=59)) == source.path(hour)


@pytest.mark.parametrize("source", ANALYSES, ids=lambda s: s.name)
def test_a_span_holds_the_hours_of_one_path(source: Source) -> None:
    for hour in HOURS:
        start, end = source.file_start(hour), source.file_end(hour)
        assert start <= hour < end
        inside = pd.date_range(start, end, freq="h", inclusive="left")
        assert source.path(start) == source.path(hour) == source.path(inside[-1])
        assert source.path(end) != source.path(hour)
        assert source.path(start - pd.Timedelta(hours=1)) != source.path(hour)


@pytest.mark.parametrize(
    ("name", "hour", "path", "last_step"),
    [
        ("hrrr", "2024-02-29T23", "hrrr/2024/02/20240229_18-23_hrrr", "2024-02-29T23"),
        ("hrrr.v1", "2016-02-29T05", "hrrr.v1/2016/02/hysplit.20160229.00z.hrrra", "2016-02-29T05"),
        ("hrrr.google", "2019-05-30T03", "noaa_arl_formatted/20190530_00-05_hrrr", "2019-05-30T05"),
        ("hrrr.forecast", "2021-10-07T15", "noaa_arl_formatted/forecast/20211007/hysplit.t15z.hrrrf", "2021-10-08T09"),
        ("nams.hi", "2024-02-29T22", "nams/2024/02/20240229_hysplit.t00z.namsa.HI", "2024-02-29T23"),
        ("gfs0p25", "2024-02-29T22", "gfs0p25/2024/02/20240229_gfs0p25", "2024-02-29T21"),
        ("nams", "2024-02-29T22", "nams/2024/02/20240229_hysplit.t00z.namsa", "2024-02-29T23"),
        ("gdas1", "2024-02-29T22", "gdas1/2024/gdas1.feb24.w5", "2024-02-29T21"),
        ("gdas1", "2023-02-28T22", "gdas1/2023/gdas1.feb23.w4", "2023-02-28T21"),
        ("gdas1", "2023-12-29T00", "gdas1/2023/gdas1.dec23.w5", "2023-12-31T21"),
        ("narr", "2016-02-29T22", "narr/2016/NARR201602", "2016-02-29T21"),
        ("reanalysis", "2024-02-29T19", "reanalysis/2024/RP202402.gbl", "2024-02-29T18"),
    ],
)
def test_a_file_ends_with_its_last_step(name: str, hour: str, path: str, last_step: str) -> None:
    source, time = SOURCES[name], pd.Timestamp(hour)
    assert source.path(time) == path
    assert source.step_before(source.file_end(time) - pd.Timedelta(minutes=1)) == pd.Timestamp(last_step)


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda s: s.name)
def test_steps_bracket_a_minute(source: Source) -> None:
    spacing = pd.Timedelta(hours=source.spacing)
    for time in pd.date_range("2024-02-28T00:00", "2024-03-01T12:00", freq="7min"):
        before, after = source.step_before(time), source.step_after(time)
        assert before <= time <= after
        assert after - before == (spacing if before < time else pd.Timedelta(0))
        assert before.hour % source.spacing == 0


@pytest.mark.parametrize("source", ANALYSES, ids=lambda s: s.name)
def test_when_the_lag_is_over_the_file_with_the_step_after_is_complete(source: Source) -> None:
    """It is published when its last hour is over, and some hours later."""
    if source.publication_lag is None:
        return
    for hour in HOURS:
        needed = source.file_end(source.step_after(hour))
        assert needed - hour <= pd.Timedelta(hours=source.publication_lag)


def test_a_file_is_looked_for_where_the_public_archive_has_it_and_flat() -> None:
    hour = pd.Timestamp("2021-10-07T15:20")
    assert SOURCES["hrrr"].locations(hour) == (
        "hrrr/2021/10/20211007_12-17_hrrr",
        "hrrr/20211007_12-17_hrrr",
        "20211007_12-17_hrrr",
    )
    assert SOURCES["hrrr.google"].locations(hour) == (  # the same files, which a mirror has in either layout
        "noaa_arl_formatted/20211007_12-17_hrrr",
        "hrrr.google/20211007_12-17_hrrr",
        *SOURCES["hrrr"].locations(hour),
    )
    assert SOURCES["hrrr.forecast"].locations(hour)[1:] == (  # the same name comes every day
        "hrrr.forecast/20211007/hysplit.t15z.hrrrf",
        "20211007/hysplit.t15z.hrrrf",
    )
    for source in SOURCES.values():
        places = {public_root(location) for location in source.locations(hour)[:2]}
        assert places == {source.root}
    google = "https://storage.googleapis.com/high-resolution-rapid-refresh"
    assert public_root("hrrr.google/x") == public_root("noaa_arl_formatted/x") == google


def test_the_manual_lists_them() -> None:
    manual = (ROOT / "docs" / "reference" / "scenes.md").read_text()
    steps = {1: "hourly", 3: "3-hourly", 6: "6-hourly"}
    spans = {"week": "a week of the month", "6 hours": "6 hours", "run": "a run, 18 h ahead"}
    for s in SOURCES.values():
        held = spans.get(s.span, f"a {s.span}")
        domain = "the globe" if s.domain.title == "global" else s.domain.title
        lag = "" if s.publication_lag is None else f"{s.publication_lag} h"
        last = "" if s.last is None else f"{s.last:%Y-%m-%d}"
        row = (
            f"| `{s.name}` | {s.grid} | {s.vertical} | {steps[s.spacing]} | {held} | {s.first:%Y-%m-%d} | {last} | "
            f"{lag} | {domain} |"
        )
        assert re.sub(" +", " ", row) in manual


# -- domains ------------------------------------------------------------------------------------------------------

LAMBERTS = ["hrrr", "nam12", "narr"]


@pytest.mark.parametrize(
    ("name", "east", "north"), [("hrrr", -60.917, 47.842), ("nam12", -49.417, 57.329), ("narr", -2.566, 46.352)]
)
def test_a_projected_grid_ends_where_its_producer_says(name: str, east: float, north: float) -> None:
    """The upper right corners of the HRRR grid, of NCEP's grid 218 and of its grid 221."""
    domain = SOURCES[name].domain
    assert isinstance(domain, Lambert)
    assert domain.indices(east, north) == pytest.approx((domain.nx - 1, domain.ny - 1), abs=0.1)
    assert domain.indices(*domain.corner) == (0, 0)


@pytest.mark.parametrize("name", LAMBERTS)
@given(lon=st.floats(-180, 360), lat=st.floats(-80, 89.9))
def test_places_on_a_projected_grid_are_those_of_proj(name: str, lon: float, lat: float) -> None:
    d = SOURCES[name].domain
    assert isinstance(d, Lambert)
    proj = pyproj.Proj(
        proj="lcc", lat_1=d.parallel, lat_0=d.parallel, lon_0=d.orientation, R=EARTH_RADIUS * 1000, units="km"
    )
    seam = abs((lon - d.orientation) % 360 - 180)
    if seam < 1e-6:
        return  # either side is right
    (x, y), (x0, y0) = proj(lon, lat), proj(*d.corner)
    assert d.indices(lon, lat) == pytest.approx(((x - x0) / d.spacing, (y - y0) / d.spacing), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("name", LAMBERTS)
@given(
    west=st.floats(-180, 180), south=st.floats(-90, 89), width=st.floats(0.01, 359), height=st.floats(0.01, 90),
    inside=st.tuples(st.floats(0, 1), st.floats(0, 1)), turns=st.sampled_from([-360, 0, 360]),
)  # fmt: skip
def test_a_box_that_is_covered_is_so_everywhere_inside(
    name: str, west: float, south: float, width: float, height: float, inside: tuple[float, float], turns: int
) -> None:
    source, north = SOURCES[name], min(90.0, south + height)
    covered = source.covers(west, south, (west + width + 180) % 360 - 180, north)
    assert covered == source.covers(west + turns, south, west + width + turns, north)
    if covered:
        assert source.reaches(west, south, west + width, north)
        point = west + inside[0] * width, south + inside[1] * (north - south)
        assert isinstance(source.domain, Lambert)
        i, j = source.domain.indices(*point)
        assert 0 <= i <= source.domain.nx - 1
        assert 0 <= j <= source.domain.ny - 1


@given(west=st.floats(-180, 360), south=st.floats(-90, 90), east=st.floats(-180, 360), height=st.floats(0, 180))
def test_a_global_source_covers_every_box(west: float, south: float, east: float, height: float) -> None:
    assert SOURCES["gfs0p25"].covers(west, south, east, min(90.0, south + height))


@pytest.mark.parametrize(
    ("name", "box", "covers", "reaches"),
    [
        ("hrrr", (-112.5, 40, -111.5, 41), True, True),
        ("hrrr", (247.5, 40, 248.5, 41), True, True),
        ("hrrr", (-121, 25, -75, 47), True, True),
        ("hrrr", (-121, 22, -74, 47), False, True),  # its corners are inside, its southern side is not: it is a curve
        ("hrrr", (-70, 45, -60.92, 47.8), False, True),
        ("hrrr", (7, 46, 9, 48), False, False),
        ("hrrr", (170, -10, -170, 10), False, False),
        ("hrrr", (-180, -90, 180, 90), False, True),
        ("hrrr", (-180, 80, 180, 90), False, False),
        ("hrrr", (-180, -90, 180, -80), False, False),
        ("nam12", (-150, 60, -145, 65), False, False),
        ("nam12", (-100, 50, -95, 55), True, True),
        ("nams.hi", (-158.5, 21, -157.5, 22), True, True),
        ("nams.hi", (-180, -90, 180, 90), False, True),
        ("nams.ak", (-152, 60, -148, 62), True, True),
        ("nams.ak", (175, 55, -165, 60), False, True),
        ("gfs0p25", (175, -90, -175, 90), True, True),
    ],
)
def test_boxes_near_and_far(name: str, box: tuple[float, float, float, float], covers: bool, reaches: bool) -> None:
    source = SOURCES[name]
    assert (source.covers(*box), source.reaches(*box)) == (covers, reaches)
    assert (source.uncovered(*box) is None) == covers


def test_a_scene_is_checked_without_loading_what_reads_arl_files() -> None:
    program = (
        "import sys, stilt_dagster.science.meteorology.sources\n"
        "sys.exit(bool({'arlmet', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
