"""Which files are read for a window: those that hold its time steps and the ones around it, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl, files
from stilt_dagster.science.meteorology.files import file_names, find_files, require_files
from stilt_dagster.science.meteorology.sources import SOURCES
from stilt_dagster.science.meteorology.time_steps import select_steps
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.settings import MeteorologySettings

Steps = list[pd.Timestamp]


class Archive:
    """Files that are their time steps and nothing else, and a list of those that were fetched."""

    def __init__(self, files: dict[str, Steps]) -> None:
        self.files = files
        self.fetched: list[str] = []

    def names(self, directory: str) -> list[str]:
        return sorted(name.removeprefix(f"{directory}/") for name in self.files)

    def has(self, locations: Sequence[str]) -> bool:
        return any(location in self.files for location in locations)

    def open(self, locations: Sequence[str]) -> Any:
        for location in locations:
            if location in self.files:
                self.fetched.append(location)
                return SimpleNamespace(name=location, location=location)
        return None

    def header(self, file: Any) -> arl.Header:
        return header_of(file, self.files[file.location])


def header_of(file: Any, times: Sequence[pd.Timestamp], content: str = "TEST") -> arl.Header:
    """Return the header of a file that is its time steps and nothing else."""
    level = SimpleNamespace(level=0, variables=[(content, SimpleNamespace(checksum=0))])
    index: Any = SimpleNamespace(levels=[level])
    steps = tuple(arl.Step(time, 0, 0, 0, index) for time in times)
    return arl.Header(file, "TEST", steps, None, None)  # type: ignore[arg-type]


def found(archive: Archive, where: dict[str, Any], window: Window) -> list[tuple[str, Steps]]:
    """Find a window's time steps, as an aggregate is made of them."""
    archive.fetched.clear()
    names = file_names(MeteorologySettings(**where), archive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "read_header", archive.header)
        headers = find_files(names, window, archive)
    return select_steps(headers, window, names.spacing(window))


def times_of(steps: list[tuple[str, Steps]]) -> Steps:
    return [t for _, times in steps for t in times]


def assert_bracketed(archive: Archive, where: dict[str, Any], window: Window) -> None:
    """Exactly the steps around the window are chosen, of exactly the files that hold them."""
    every = sorted({t for times in archive.files.values() for t in times})
    first = max(t for t in every if t <= window.first)
    last = min(t for t in every if t >= window.last)
    steps = found(archive, where, window)
    assert times_of(steps) == [t for t in every if first <= t <= last]
    assert archive.fetched == [name for name, _ in steps], window
    require_files(MeteorologySettings(**where), window, archive)


def hours(first: str, last: str, step: int) -> Steps:
    return list(pd.date_range(first, last, freq=f"{step}h"))


def times(*text: str) -> Steps:
    return [pd.Timestamp(t) for t in text]


def window(first: str, last: str) -> Window:
    return Window(pd.Timestamp(first), pd.Timestamp(last))


def split(steps: Steps, name: Any) -> dict[str, Steps]:
    """Return files by the name of each step's."""
    files: dict[str, Steps] = {}
    for time in steps:
        files.setdefault(name(time), []).append(time)
    return files


# -- every cadence, every start hour -------------------------------------------------------------------------------

#: A day, a month, a year, and February's ends of a common and a leap year, in the middle of four days.
TURNS = ("2023-07-15", "2023-05-01", "2024-01-01", "2023-03-01", "2024-02-29", "2024-03-01")

#: Directories: pattern, hours between steps, and the code or rule that makes a file's name.
DIRECTORIES = {
    "hourly, a file a step": ("met_%Y%m%d%H.arl", 1, lambda t: f"met_{t:%Y%m%d%H}.arl"),
    "3-hourly, a file a step": ("gfs_%Y%m%d_%H.arl", 3, lambda t: f"gfs_{t:%Y%m%d_%H}.arl"),
    "6-hourly, a file a step": ("gfs_%Y%m%d_%H.arl", 6, lambda t: f"gfs_{t:%Y%m%d_%H}.arl"),
    "hourly, day files by the day of the year": ("wrf%y%j", 1, lambda t: f"wrf{t:%y%j}"),
    "3-hourly, day files": ("%d%b%Y.gfs", 3, lambda t: f"{t:%d%b%Y}.gfs".lower()),
    "3-hourly, month files": ("edas.%b%y.*", 3, lambda t: f"edas.{t:%b%y}.001".lower()),
    "6-hourly, month files": ("RP%Y%m.gbl", 6, lambda t: f"RP{t:%Y%m}.gbl"),
    "hourly, files of twelve hours": ("%Y%m%d%Hz*", 1, lambda t: f"{t:%Y%m%d}{t.hour // 12 * 12:02d}z.{t:%m}"),
}


def windows(turn: str) -> list[Window]:
    made = []
    for hour in range(24):
        for minute in (0, 1, 59):
            last = pd.Timestamp(turn) + pd.Timedelta(hours=hour, minutes=minute)
            made += [Window(last - pd.Timedelta(hours=n), last) for n in (1, 25)]
    return made


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", sorted(n for n, s in SOURCES.items() if not s.is_forecast))
def test_every_start_hour_on_every_source(name: str, turn: str) -> None:
    source, day = SOURCES[name], pd.Timestamp(turn)
    steps = hours(str(day - pd.Timedelta(days=40)), str(day + pd.Timedelta(days=40)), source.spacing)
    archive = Archive(split(steps, source.path))
    for each in windows(turn):
        assert_bracketed(archive, {"source": name}, each)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("layout", DIRECTORIES)
def test_every_start_hour_on_every_layout_of_a_directory(layout: str, turn: str) -> None:
    pattern, step, name = DIRECTORIES[layout]
    day = pd.Timestamp(turn)
    # Month files want a month around; of a file a step, four days are as good.
    around = pd.Timedelta(days=40 if "month" in layout else 2)
    archive = Archive(split(hours(str(day - around), str(day + around), step), lambda t: f"/met/{name(t)}"))
    for each in windows(turn):
        assert_bracketed(archive, {"directory": "/met", "pattern": pattern}, each)


@settings(deadline=None, max_examples=150)
@given(
    step=st.sampled_from([1, 2, 3, 6, 12]),
    per_file=st.integers(1, 9),
    offset=st.integers(0, 5),
    start=st.datetimes(pd.Timestamp("2020-01-01"), pd.Timestamp("2030-01-01")),
    minutes=st.integers(0, 59),
    n_hours=st.integers(1, 72),
    release=st.integers(80, 140),
)
def test_whatever_the_cadence_steps_bracket_the_window(
    step: int, per_file: int, offset: int, start: Any, minutes: int, n_hours: int, release: int
) -> None:
    """Files of any number of steps, which begin at any hour: only those are fetched that hold a chosen step."""
    begin = pd.Timestamp(start).floor("D") + pd.Timedelta(hours=offset)
    steps = [begin + pd.Timedelta(hours=step * k) for k in range(200 // step)]
    files = {}
    for k in range(0, len(steps), per_file):
        files[f"/met/m{steps[k]:%Y%m%d%H}"] = steps[k : k + per_file]
    last = begin + pd.Timedelta(hours=release, minutes=minutes)
    each = Window(last - pd.Timedelta(hours=n_hours), last)
    assert_bracketed(Archive(files), {"directory": "/met", "pattern": "m%Y%m%d%H"}, each)


# -- the fault's own cases, and what is not needed -----------------------------------------------------------------

HRRR = {"source": "hrrr"}
GFS = {"source": "gfs0p25"}
STEPS = {"directory": "/met", "pattern": "gfs_%Y%m%d_%H.arl"}


def gfs(*days: str) -> dict[str, Steps]:
    return split([t for day in days for t in hours(day, f"{day}T21", 3)], SOURCES["gfs0p25"].path)


def single(*text: str) -> dict[str, Steps]:
    return split(times(*text), lambda t: f"/met/gfs_{t:%Y%m%d_%H}.arl")


def test_a_release_after_the_last_step_of_a_day_file_reads_the_next_days() -> None:
    archive = Archive(gfs("2024-02-28", "2024-02-29", "2024-03-01"))
    steps = found(archive, GFS, window("2024-02-29T21:30", "2024-02-29T22:30"))
    assert times_of(steps) == times("2024-02-29T21", "2024-03-01T00")
    assert archive.fetched == ["gfs0p25/2024/02/20240229_gfs0p25", "gfs0p25/2024/03/20240301_gfs0p25"]
    found(archive, GFS, window("2024-02-29T19:30", "2024-02-29T21:00"))
    assert archive.fetched == ["gfs0p25/2024/02/20240229_gfs0p25"]


def test_hourly_files_of_six_hours_are_fetched_only_where_they_are_needed() -> None:
    archive = Archive(split(hours("2024-02-29", "2024-03-01T23", 1), SOURCES["hrrr"].path))
    fetched = {}
    for last in ("05:00", "05:01", "05:30", "06:00", "06:01"):
        found(archive, HRRR, window("2024-02-29T03:10", f"2024-02-29T{last}"))
        fetched[last] = [name[-10:-5] for name in archive.fetched]
    both = ["00-05", "06-11"]
    assert fetched == {"05:00": ["00-05"], "05:01": both, "05:30": both, "06:00": both, "06:01": both}
    found(archive, HRRR, window("2024-02-29T06:00", "2024-02-29T11:00"))
    assert [name[-10:-5] for name in archive.fetched] == ["06-11"]


def test_a_file_that_has_the_next_ones_first_step_makes_that_needless() -> None:
    """Six-hour files of seven steps, whose first step is the last of the file before."""
    starts = hours("2024-02-29", "2024-02-29T18", 6)
    archive = Archive({f"/met/m{t:%Y%m%d%H}": [t + pd.Timedelta(hours=k) for k in range(7)] for t in starts})
    where = {"directory": "/met", "pattern": "m%Y%m%d%H"}
    steps = found(archive, where, window("2024-02-29T04:30", "2024-02-29T06:00"))
    assert (archive.fetched, times_of(steps)[-1]) == (["/met/m2024022900"], pd.Timestamp("2024-02-29T06"))
    steps = found(archive, where, window("2024-02-29T05:30", "2024-02-29T06:30"))
    assert [(n[-2:], [t.hour for t in ts]) for n, ts in steps] == [("00", [5, 6]), ("06", [7])]


def test_a_window_before_the_files_first_step_reads_the_file_before() -> None:
    """Day files from 03:00 to 24:00, as forecasts are when their analysis is left out."""
    days = ("2024-02-28", "2024-02-29", "2024-03-01")
    archive = Archive({f"/met/{d}": hours(f"{d}T03", str(pd.Timestamp(d) + pd.Timedelta(days=1)), 3) for d in days})
    where = {"directory": "/met", "pattern": "%Y-%m-%d"}
    steps = found(archive, where, window("2024-03-01T00:30", "2024-03-01T01:30"))
    assert times_of(steps) == times("2024-03-01T00", "2024-03-01T03")
    assert archive.fetched == ["/met/2024-03-01", "/met/2024-02-29"]


def test_names_a_file_or_two_off_are_looked_beyond() -> None:
    """Forecasts of twelve hours, named by the hour they were started at."""
    valid = hours("2024-02-28", "2024-03-02", 6)
    archive = Archive({f"/met/gfs_{t - pd.Timedelta(hours=12):%Y%m%d_%H}.arl": [t] for t in valid})
    steps = found(archive, STEPS, window("2024-02-29T22:00", "2024-02-29T23:00"))
    assert times_of(steps) == times("2024-02-29T18", "2024-03-01T00")


def test_files_whose_steps_interlace_are_joined_in_the_order_of_time() -> None:
    archive = Archive(
        {
            "/met/2024022900_a": hours("2024-02-29", "2024-02-29T12", 3),
            "/met/2024022900_b": hours("2024-02-29", "2024-02-29T12", 1),
        }
    )
    steps = found(
        archive, {"directory": "/met", "pattern": "%Y%m%d%H_*"}, window("2024-02-29T02:30", "2024-02-29T04:30")
    )
    assert [(name[-1], [t.hour for t in ts]) for name, ts in steps] == [("b", [2]), ("a", [3]), ("b", [4, 5])]


def test_of_a_code_that_comes_twice_the_first_counts() -> None:
    archive = Archive(split(hours("2024-02-29", "2024-02-29T23", 1), lambda t: f"/met/{SOURCES['hrrr'].path(t)[13:]}"))
    found(
        archive, {"directory": "/met", "pattern": "%Y%m%d_%H-%H_hrrr"}, window("2024-02-29T06:10", "2024-02-29T08:10")
    )
    assert archive.fetched == ["/met/20240229_06-11_hrrr"]


def test_years_of_two_digits_from_40_are_of_the_last_century() -> None:
    archive = Archive(split(hours("1948-01-01", "1948-03-31T18", 6), lambda t: f"/met/RP{t:%y%m}.gbl"))
    assert_bracketed(
        archive, {"directory": "/met", "pattern": "RP%y%m.gbl"}, window("1948-02-29T17:00", "1948-02-29T19:00")
    )


# -- what is refused -----------------------------------------------------------------------------------------------


def refused(files: dict[str, Steps], where: dict[str, Any], first: str, last: str) -> str:
    with pytest.raises(MeteorologyError) as caught:
        found(Archive(files), where, window(first, last))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_next_file_that_is_missing_is_named() -> None:
    message = refused(gfs("2024-02-29"), GFS, "2024-02-29T21:30", "2024-02-29T22:30")
    assert message == (
        "no meteorology at 2024-02-29 22:30 UTC, which the scene needs; read: gfs0p25/2024/02/20240229_gfs0p25 "
        "(2024-02-29 00:00 to 2024-02-29 21:00); the one after that, gfs0p25/2024/03/20240301_gfs0p25 of source "
        "gfs0p25, is missing: add it"
    )
    message = refused(single("2024-02-29T18"), STEPS, "2024-02-29T21:00", "2024-02-29T22:00")
    assert "/met with names like 'gfs_%Y%m%d_%H.arl' has none after that" in message


def test_a_file_before_that_is_missing_is_named() -> None:
    late = gfs("2024-02-29")
    late["gfs0p25/2024/02/20240229_gfs0p25"].pop(0)
    message = refused(late, GFS, "2024-02-29T01:00", "2024-02-29T02:00")
    assert "no meteorology at 2024-02-29 01:00 UTC" in message
    assert "the one before that, gfs0p25/2024/02/20240228_gfs0p25 of source gfs0p25, is missing" in message
    assert "no file in /met matches" in refused(single("2024-03-01T00"), STEPS, "2024-02-29T21:00", "2024-02-29T22:00")


def test_a_scan_asks_for_the_file_with_the_step_after() -> None:
    where, each = MeteorologySettings(**GFS), window("2024-02-29T20:30", "2024-02-29T21:30")
    require_files(where, window("2024-02-29T19:00", "2024-02-29T21:00"), Archive(gfs("2024-02-29")))
    require_files(where, each, Archive(gfs("2024-02-29", "2024-03-01")))
    with pytest.raises(MeteorologyError, match="file gfs0p25/2024/03/20240301_gfs0p25 of source gfs0p25 is missing"):
        require_files(where, each, Archive(gfs("2024-02-29")))


def test_a_day_file_of_one_step_is_a_gap() -> None:
    lone = {SOURCES["gfs0p25"].path(t): [t] for t in times("2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02")}
    assert "nothing at 2024-02-29 03:00 UTC" in refused(lone, GFS, "2024-02-29T01:00", "2024-02-29T02:00")
    assert "nothing at 2024-02-28 03:00 UTC" in refused(lone, GFS, "2024-02-28T01:00", "2024-03-01T02:00")


@pytest.mark.parametrize(
    ("missing", "first", "last", "gap"),
    [
        ("06-11", "05:20", "11:40", "06:00"),  # two steps are kept, which nothing but the steps beside them tells apart
        ("06-11", "02:20", "13:40", "06:00"),
        ("06-11", "05:20", "05:50", "06:00"),
    ],
)
def test_a_file_that_is_missing_between_two_is_a_gap(missing: str, first: str, last: str, gap: str) -> None:
    files = split(hours("2024-02-29", "2024-02-29T23", 1), lambda t: f"/met/{SOURCES['hrrr'].path(t)[13:]}")
    del files[f"/met/20240229_{missing}_hrrr"]
    where = {"directory": "/met", "pattern": "%Y%m%d_%H-*_hrrr"}
    message = refused(files, where, f"2024-02-29T{first}", f"2024-02-29T{last}")
    assert f"nothing at 2024-02-29 {gap} UTC, between 2024-02-29 05:00 in /met/20240229_00-05_hrrr" in message


def test_a_step_that_is_missing_of_a_file_a_step_is_a_gap() -> None:
    there = single("2024-02-29T06", "2024-02-29T12", "2024-02-29T18", "2024-03-01T06", "2024-03-01T12")
    message = refused(there, STEPS, "2024-02-29T21:00", "2024-02-29T22:00")
    assert "nothing at 2024-03-01 00:00 UTC, between 2024-02-29 18:00" in message


def test_a_truncated_day_file_is_a_gap() -> None:
    files = gfs("2024-02-29", "2024-03-01")
    del files["gfs0p25/2024/02/20240229_gfs0p25"][-1]
    assert "nothing at 2024-02-29 21:00 UTC" in refused(files, GFS, "2024-02-29T19:00", "2024-02-29T20:00")


def test_an_archive_may_change_its_spacing_where_a_window_does_not_cross_it() -> None:
    archive = Archive(
        split(
            hours("2023-12-30", "2023-12-31T23", 1) + hours("2024-01-01", "2024-01-02", 3), lambda t: f"/met/{t:%Y%m%d}"
        )
    )
    where = {"directory": "/met", "pattern": "%Y%m%d"}
    for first, last in (("2023-12-31T21:10", "2023-12-31T23:10"), ("2024-01-01T00:00", "2024-01-01T02:10")):
        assert_bracketed(archive, where, window(first, last))
    with pytest.raises(MeteorologyError, match="nothing at 2024-01-01 01:00 UTC"):
        found(archive, where, window("2023-12-31T22:10", "2024-01-01T01:10"))


def test_every_gap_of_a_source_is_found() -> None:
    """Whichever step is missing inside a window, and wherever it is in its file."""
    for name in ("hrrr", "gfs0p25"):
        source = SOURCES[name]
        steps = hours("2024-02-28", "2024-03-02", source.spacing)
        each = window("2024-02-29T11:30", "2024-03-01T02:30")
        around = [t for t in steps if source.step_before(each.first) < t < source.step_after(each.last)]
        for gone in around:
            archive = Archive(split([t for t in steps if t != gone], source.path))
            with pytest.raises(MeteorologyError, match=f"nothing at {gone:%Y-%m-%d %H:%M} UTC"):
                found(archive, {"source": name}, each)
    assert all(b - a == pd.Timedelta(hours=3) for a, b in pairwise(around))
