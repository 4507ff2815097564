"""Which sources a scene's meteorology comes from: chosen by box, hours and files, or named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology.choice import (
    Choice,
    candidates,
    choose_sources,
    named,
    require_available,
    require_engine,
)
from stilt_dagster.science.meteorology.file_names import SourceFiles
from stilt_dagster.science.meteorology.sources import PREFERENCE, SOURCES
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.settings import MeteorologySettings

Box = tuple[float, float, float, float]

#: Boxes: in HRRR's domain, across its northern edge, in Europe, across the antimeridian, at both poles.
VALLEY: Box = (-112.5, 40.0, -111.5, 41.0)
EDGE: Box = (-110.0, 50.0, -105.0, 56.0)
ALPS: Box = (7.0, 46.0, 9.0, 48.0)
FIJI: Box = (175.0, -20.0, -175.0, -15.0)
ARCTIC: Box = (-180.0, 80.0, 180.0, 90.0)
ANTARCTIC: Box = (-180.0, -90.0, 180.0, -80.0)

NOW = pd.Timestamp("2024-06-15T00:00")


class Archive:
    """An archive of which all files are there but those that hold one of some texts; it keeps what it was asked for."""

    def __init__(self, *missing: str, only: Sequence[str] | None = None) -> None:
        self.missing, self.only, self.asked = missing, only, list[str]()

    def has(self, locations: Sequence[str]) -> bool:
        self.asked.append(locations[0])
        if self.only is not None:
            return any(location in self.only for location in locations)
        return not any(text in locations[0] for text in self.missing)

    def open(self, locations: Sequence[str]) -> Any:
        return object() if self.has(locations) else None

    def names(self, directory: str) -> list[str]:
        return []


def window(last: str = "2024-03-01T12:00", n_hours: int = 24) -> Window:
    end = pd.Timestamp(last)
    return Window(end - pd.Timedelta(hours=n_hours), end)


def choose(
    source: str | list[str],
    box: Box,
    when: Window,
    archive: Archive | None = None,
    now: pd.Timestamp = NOW,
    **options: Any,
) -> Choice:
    return choose_sources(MeteorologySettings(source=source), box, when, archive or Archive(), now=now, **options)


def names(choice: Choice) -> list[str]:
    return [s.name for s in choice.sources]


@pytest.mark.parametrize(
    ("box", "last", "chosen"),
    [
        (VALLEY, "2024-03-01T12:00", "hrrr"),
        (VALLEY, "2019-05-30T03:00", "hrrr.google"),  # before NOAA's own begin
        (VALLEY, "2019-06-12T03:00", "hrrr.google"),  # of the day before too
        (VALLEY, "2016-03-01T12:00", "hrrr.v1"),
        (VALLEY, "2012-03-01T12:00", "nams"),
        (VALLEY, "2008-03-01T12:00", "nam12"),
        (VALLEY, "2000-03-01T12:00", "narr"),
        (VALLEY, "1960-03-01T12:00", "reanalysis"),
        (EDGE, "2024-03-01T12:00", "gfs0p25"),
        (EDGE, "2016-03-01T12:00", "nam12"),
        (ALPS, "2024-03-01T12:00", "gfs0p25"),
        (ALPS, "2016-03-01T12:00", "gdas0p5"),
        (ALPS, "2005-03-01T12:00", "gdas1"),
        (FIJI, "2024-03-01T12:00", "gfs0p25"),
        (ARCTIC, "2024-03-01T12:00", "gfs0p25"),
        (ANTARCTIC, "2016-03-01T12:00", "gdas0p5"),
        ((-158.5, 21.0, -157.5, 22.0), "2016-03-01T12:00", "nams.hi"),
        ((-150.0, 62.0, -148.0, 64.0), "2016-03-01T12:00", "nams.ak"),
    ],
)
def test_the_best_that_has_box_and_hours_is_chosen_and_says_why(box: Box, last: str, chosen: str) -> None:
    choice = choose("auto", box, window(last))
    assert names(choice) == [chosen]
    assert [f.source.name for f in choice.files] == [chosen]
    assert choice.reasons[-1] == f"{chosen}: {SOURCES[chosen].grid}, covers the box and the hours"
    before = [s.name for s in PREFERENCE[: PREFERENCE.index(SOURCES[chosen])]]
    assert [r.split(":")[0] for r in choice.reasons[:-1]] == [f"not {name}" for name in before]
    assert choice.text == "; ".join(choice.reasons)
    assert "\n" not in choice.text


def test_reasons_name_date_and_place() -> None:
    assert choose("auto", VALLEY, window("2019-05-30T03:00")).reasons[0] == "not hrrr: it begins 2019-06-12"
    assert choose("auto", ALPS, window()).reasons[0] == (
        "not hrrr: 46.00 N 7.00 E lies outside its domain, contiguous United States"
    )
    assert "not hrrr.v1: it ended 2019-06-12" in choose("auto", ALPS, window()).reasons


def test_a_window_that_ends_with_the_archives_last_step_is_in_it() -> None:
    by_name = {c.source.name: c.fits for c in candidates(ALPS, window("2019-06-12T21:00"))}
    assert by_name["gdas0p5"]
    by_name = {c.source.name: c.fits for c in candidates(ALPS, window("2019-06-12T21:01"))}
    assert not by_name["gdas0p5"]


def test_what_is_not_published_yet_is_passed_over_and_said() -> None:
    """HRRR's last file is due 30 h after the release; GFS's are there."""
    when, now = window("2024-06-14T06:00", 6), pd.Timestamp("2024-06-15T00:00")
    choice = choose("auto", VALLEY, when, Archive("20240614_06-11_hrrr"), now=now)
    assert names(choice) == ["gfs0p25"]
    assert choice.reasons[0] == (
        "not hrrr: hrrr/2024/06/20240614_06-11_hrrr is not published yet, which takes until 2024-06-15 12:00 UTC"
    )
    later = choose("auto", VALLEY, when, Archive("20240614_06-11_hrrr"), now=now + pd.Timedelta(days=2))
    assert later.reasons[0] == "not hrrr: hrrr/2024/06/20240614_06-11_hrrr is missing"


def test_a_hole_in_the_middle_is_missing_however_late_the_rest_is() -> None:
    when, now = window("2024-06-14T12:00", 48), pd.Timestamp("2024-06-14T20:00")
    choice = choose("auto", VALLEY, when, Archive("20240612_18-23_hrrr"), now=now)
    assert choice.reasons[0] == "not hrrr: hrrr/2024/06/20240612_18-23_hrrr is missing"


def test_only_what_fits_is_asked_for_and_no_more_than_needed() -> None:
    archive = Archive("gfs0p25")
    choose("auto", ALPS, window(), archive)
    assert archive.asked[0].startswith("gfs0p25/")
    assert not any("hrrr" in path for path in archive.asked)
    archive = Archive()
    choose("auto", VALLEY, window(n_hours=2), archive)
    assert archive.asked == ["hrrr/2024/03/20240301_06-11_hrrr", "hrrr/2024/03/20240301_12-17_hrrr"]


def test_where_nothing_is_left_each_reason_is_given_in_one_line() -> None:
    with pytest.raises(MeteorologyError) as caught:
        choose("auto", FIJI, window("1947-03-01T12:00"))
    text = str(caught.value)
    assert text.startswith("no source has meteorology of 1947-02-28 12:00 to 1947-03-01 12:00 UTC and the box")
    assert all(f"not {s.name}: " in text for s in PREFERENCE)
    assert "20.00 S 175.00 E to 15.00 S 175.00 W" in text
    assert text.endswith("give meteorology a directory")
    assert "\n" not in text


@given(
    west=st.floats(-180, 180), south=st.floats(-90, 80), width=st.floats(0, 360), height=st.floats(0, 90),
    time=st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2024-06-01")), n_hours=st.integers(1, 240),
)  # fmt: skip
def test_every_box_and_time_has_a_source(
    west: float, south: float, width: float, height: float, time: Any, n_hours: int
) -> None:
    box = (west, south, (west + width + 180) % 360 - 180, min(90.0, south + height))
    when = Window(pd.Timestamp(time) - pd.Timedelta(hours=n_hours), pd.Timestamp(time))
    (source,) = choose("auto", box, when).sources
    assert source.covers(*box)
    assert not SourceFiles(source).dates(when)
    assert not source.is_forecast


# -- named ---------------------------------------------------------------------------------------------------------


def test_named_sources_keep_their_order() -> None:
    archive = Archive()
    assert names(choose(["hrrr", "nam12", "gfs0p25"], VALLEY, window(), archive)) == ["hrrr", "nam12", "gfs0p25"]
    assert names(choose("hrrr", VALLEY, window(), archive)) == ["hrrr"]
    assert archive.asked == []  # what opens files says which is missing
    assert choose(["hrrr", "gfs0p25"], EDGE, window()).reasons == ()  # a part of the box is enough of the finest


@pytest.mark.parametrize("source", ["hrrr", ["hrrr", "gfs0p25"]])
@pytest.mark.parametrize("box", [ALPS, FIJI, ARCTIC, ANTARCTIC])
def test_a_named_source_must_reach_the_box(source: str | list[str], box: Box) -> None:
    with pytest.raises(MeteorologyError, match=r"source hrrr has nothing of the box .* contiguous United States"):
        choose(source, box, window())


def test_dates_are_held_against_a_scene_only_where_a_file_is_not_there() -> None:
    when = window("2019-05-30T03:00", 3)
    mirror = Archive(only=["20190530_00-05_hrrr"])
    assert names(choose("hrrr", VALLEY, when, mirror)) == ["hrrr"]
    with pytest.raises(MeteorologyError, match=r"2019-05-30 03:00 UTC: it begins 2019-06-12, and hrrr/2019/05/2019053"):
        choose("hrrr", VALLEY, when, Archive(only=[]))
    with pytest.raises(MeteorologyError, match="it ended 2019-06-12, and gdas0p5/2024/02/20240229_gdas0p5 is not"):
        choose("gdas0p5", VALLEY, window(), Archive(only=[]))


@pytest.mark.parametrize("folder", ["", "hrrr/", "hrrr/2019/05/", "hrrr.google/", "noaa_arl_formatted/"])
def test_early_files_of_a_mirror_are_chosen_wherever_it_has_them(folder: str) -> None:
    mirror = Archive(only=[f"{folder}20190530_00-05_hrrr"])
    assert names(choose("auto", VALLEY, window("2019-05-30T03:00", 3), mirror)) == ["hrrr.google"]


def test_forecasts_are_refused_without_an_engine_that_reads_them() -> None:
    with pytest.raises(EngineError, match=r"source hrrr\.forecast has forecasts.*set STILT_EXE_DIR"):
        choose("hrrr.forecast", VALLEY, window())
    with pytest.raises(EngineError, match=r"source hrrr\.forecast"):
        choose(["hrrr.forecast", "gfs0p25"], VALLEY, window())
    assert names(choose("hrrr.forecast", VALLEY, window(), forecasts=True)) == ["hrrr.forecast"]
    require_engine(PREFERENCE, forecasts=False)


def test_a_forecast_is_the_run_of_the_first_hour_and_those_after_it() -> None:
    files = SourceFiles(SOURCES["hrrr.forecast"])
    root = "noaa_arl_formatted/forecast"
    assert [f.locations[0] for f in files.required(window("2024-03-01T12:20", 12))] == [
        f"{root}/20240301/hysplit.t00z.hrrrf"
    ]
    assert [f.locations[0] for f in files.required(window("2024-03-01T12:00", 24))] == [
        f"{root}/20240229/hysplit.t12z.hrrrf",
        f"{root}/20240301/hysplit.t07z.hrrrf",
    ]


# -- before anything is run ----------------------------------------------------------------------------------------


def test_a_scan_waits_for_files_that_are_not_published_yet() -> None:
    when, now = window("2024-06-14T06:00", 6), pd.Timestamp("2024-06-15T00:00")
    late = Archive("20240614")
    for source in ("hrrr", ["hrrr", "gfs0p25"]):
        settings = MeteorologySettings(source=source)
        with pytest.raises(MeteorologyError, match="20240614_00-05_hrrr of source hrrr is not published yet"):
            require_available(settings, VALLEY, when, late, now=now)
        require_available(settings, VALLEY, when, Archive(), now=now)
    nested = MeteorologySettings(source=["hrrr", "gfs0p25"])
    with pytest.raises(MeteorologyError, match="of source gfs0p25 is not published yet"):
        require_available(nested, VALLEY, when, Archive("_gfs0p25"), now=now)
    auto = MeteorologySettings(source="auto")
    require_available(auto, VALLEY, when, Archive("_hrrr"), now=now)
    with pytest.raises(MeteorologyError, match="no source has meteorology of"):
        require_available(auto, VALLEY, when, Archive(only=[]), now=now)


def test_a_directory_names_no_source() -> None:
    assert named(MeteorologySettings(directory="/met", pattern="%Y%m%d*")) == ()
    assert named(MeteorologySettings(source="auto")) == ()
