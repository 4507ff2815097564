"""Receptors from files: what other programs write, and as columns what each would be alone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.receptor_files import read_receptor_file
from stilt_dagster.science.scenes.receptor_table import receptor_table, receptors_of_table
from stilt_dagster.science.scenes.receptors import ReceptorError, Receptors, checked_receptors, make_receptor

TIME = dt.datetime(2019, 5, 30, 4, tzinfo=dt.UTC)


def read(tmp_path: Path, text: str, time: dt.datetime | None = TIME) -> list[str]:
    (tmp_path / "r.csv").write_text(text)
    return read_receptor_file(tmp_path, "r.csv", "scene.yaml", time).ids


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "run_time;long;lati;zagl\n2019-05-30 04:00;-111,8;40,7;5\n",
            "by semicolons.*commas between columns and points",
        ),
        ("run_time;long;lati;zagl\n2019-05-30 04:00;-111.8;40.7;5\n", "by semicolons"),
        ("\ufefflong;lati\n-111,8;40,7\n", "by semicolons"),
        ("long\tlati\tzagl\n-111.8\t40.7\t5\n", "by tabs"),
        ("long|lati|zagl\n-111.8|40.7|5\n", "by bars"),
        ('long,lati\n"-111,8","40,7"\n', "row 1: longitude must be a number .*: write decimals with a point"),
    ],
)
def test_other_separators_are_recognised_and_say_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "time",
    [
        "05/30/2019 04:00",
        "30/05/2019",
        "5/6/19",
        "30.05.2019 04:00",
        "May 30 2019",
        "201905300400",
        "1559188800",
        "43615.2",
    ],
)
def test_ambiguous_times_are_refused_naming_iso_8601(tmp_path: Path, time: str) -> None:
    with pytest.raises(SceneError, match=r"r\.csv: row 2: time .* ISO 8601 time such as 2019-05-30T04:00:00Z"):
        read(tmp_path, f"run_time,long,lati\n2019-05-30T04:00Z,-111.8,40.7\n{time},-111.8,40.8\n")


@pytest.mark.parametrize(
    "time", ["2019-05-30T04:00:00Z", "2019-05-30 04:00", "2019-05-29T22:00:00-06:00", " 2019-05-30 04:00:30 "]
)
def test_iso_times_are_taken_as_they_say(tmp_path: Path, time: str) -> None:
    assert read(tmp_path, f"run_time,long,lati,zagl\n{time},-111.8,40.7,5\n", None) == ["201905300400_-111.8_40.7_5"]


def test_a_row_without_a_time_takes_the_scenes(tmp_path: Path) -> None:
    text = "time,long,lati\n2019-05-30T05:00Z,-111.8,40.7\n,-111.8,40.8\n"
    assert read(tmp_path, text) == ["201905300500_-111.8_40.7_1", "201905300400_-111.8_40.8_1"]
    with pytest.raises(SceneError, match="row 2: time is missing"):
        read(tmp_path, text, None)


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "datetime64[us, UTC]"])
def test_times_of_parquet_are_times(tmp_path: Path, dtype: str) -> None:
    table = pd.DataFrame({"time": pd.Series(["2019-05-30T04:00"]).astype(dtype), "lon": [-111.8], "lat": [40.7]})
    table.to_parquet(tmp_path / "r.parquet")
    assert read_receptor_file(tmp_path, "r.parquet", "x", None).ids == ["201905300400_-111.8_40.7_1"]


longitudes = st.one_of(st.floats(-180, 360), st.decimals(-180, 360, places=5).map(float))
latitudes = st.one_of(st.floats(-90, 90), st.decimals(-90, 90, places=6).map(float))
heights = st.one_of(st.floats(0, 30_000), st.integers(0, 30_000).map(float))
rows = st.tuples(
    st.integers(0, 10**6), st.lists(longitudes, min_size=1, max_size=2), st.lists(latitudes, min_size=1, max_size=2),
    st.lists(heights, min_size=1, max_size=2),
)  # fmt: skip


@given(st.lists(rows, min_size=1, max_size=6))
def test_columns_are_what_each_receptor_is_alone(some: list[tuple[int, list[float], list[float], list[float]]]) -> None:
    minutes = np.array([20_000_000 + m for m, *_ in some], np.int64)
    ends = [np.array([(row[k][0], row[k][-1]) for row in some]) for k in (1, 2, 3)]
    one_by_one, refusal = [], None
    for k, (minute, *_) in enumerate(some):
        x, y, z = (v[k].tolist() for v in ends)
        slanted = x[0] != x[1] or y[0] != y[1]
        time = dt.datetime.fromtimestamp((20_000_000 + minute) * 60, dt.UTC)
        try:
            receptor = make_receptor(time, x if slanted else x[0], y if slanted else y[0], z if z[0] != z[1] else z[0])
        except ValueError as error:
            refusal = (k, str(error))
            break
        one_by_one.append(receptor)
    if refusal is not None:
        with pytest.raises(ReceptorError) as refused:
            checked_receptors(minutes, *ends)
        assert (refused.value.row, str(refused.value)) == refusal
        return
    columns = checked_receptors(minutes, *ends)
    assert list(columns) == one_by_one
    assert columns.ids == [r.id for r in one_by_one] == Receptors.of(one_by_one).ids
    assert columns.shards == [r.shard for r in one_by_one]
    again = receptors_of_table(receptor_table(columns))
    assert list(again) == one_by_one
