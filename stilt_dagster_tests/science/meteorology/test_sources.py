"""Sources: where their files are, which hours these hold."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
from arlmet.archives import ARCHIVES, get_archive

from stilt_dagster.science.meteorology.sources import SOURCES, Source
from stilt_dagster_tests.conftest import ROOT

#: A leap day, a month's end and a year's end are among these hours.
HOURS = pd.date_range("2023-12-25", "2024-03-05", freq="h").append(pd.date_range("2023-02-20", "2023-03-09", freq="h"))


def test_sources_are_those_of_arlmet() -> None:
    assert set(SOURCES) == set(ARCHIVES)
    for name, source in SOURCES.items():
        assert (source.name, source.first) == (name, ARCHIVES[name].start_date)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_paths_are_those_of_arlmet(name: str) -> None:
    source, archive = SOURCES[name], get_archive(name)
    for hour in HOURS:
        assert source.path(hour) == archive._archive_path(hour)
        assert source.path(hour + pd.Timedelta(minutes=59)) == source.path(hour)


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda s: s.name)
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


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda s: s.name)
def test_when_the_lag_is_over_the_file_with_the_step_after_is_complete(source: Source) -> None:
    """It is published when its last hour is over, and some hours later."""
    if source.publication_lag is None:
        return
    for hour in HOURS:
        needed = source.file_end(source.step_after(hour))
        assert needed - hour <= pd.Timedelta(hours=source.publication_lag)


def test_the_manual_lists_them() -> None:
    manual = (ROOT / "docs" / "scenes.md").read_text()
    steps = {1: "hourly", 3: "3-hourly", 6: "6-hourly"}
    for s in SOURCES.values():
        held = s.span if s.span == "6 hours" else "a week of the month" if s.span == "week" else f"a {s.span}"
        domain = "the globe" if s.domain == "global" else s.domain
        ended = ", to 2019" if s.publication_lag is None else ""
        row = f"| `{s.name}` | {steps[s.spacing]} | {held} | {s.vertical} | {domain} | {s.first:%Y-%m-%d}{ended} |"
        assert row in manual


def test_a_scene_is_checked_without_loading_what_reads_arl_files() -> None:
    program = (
        "import sys, stilt_dagster.science.meteorology.sources\n"
        "sys.exit(bool({'arlmet', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
