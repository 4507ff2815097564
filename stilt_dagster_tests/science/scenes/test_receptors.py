"""Receptors: ids, columns, files, shards."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.loading import load_scene
from stilt_dagster.science.scenes.receptor_table import receptor_table
from stilt_dagster.science.scenes.receptors import SHARDS, make_receptor
from stilt_dagster_tests.science.scenes.test_spec import BASE, scene

TIME = dt.datetime(2019, 5, 30, 4, tzinfo=dt.UTC)


def test_ids_are_r_stilts() -> None:
    assert make_receptor(TIME, -111.847672, 40.766189, 35).id == "201905300400_-111.847672_40.766189_35"
    assert make_receptor(TIME, -111.8, 40.7, [0, 2000]).id == "201905300400_-111.8_40.7_X0-2000"
    assert make_receptor(TIME, [-111.8, -111.85], [40.7, 40.75], [0, 2000]).id == (
        "201905300400_-111.8_40.7_0_to_-111.85_40.75_2000"
    )


def test_coordinates_lose_the_noise_of_float32() -> None:
    noisy = np.float32(-111.847672)
    assert make_receptor(TIME, noisy, np.float32(40.7), 5).id == "201905300400_-111.84767_40.7_5"


def test_long_lists_make_a_line_from_first_to_last() -> None:
    line = make_receptor(TIME, [-111.8, -111.82, -111.85], [40.7, 40.72, 40.75], [0, 500, 2000])
    assert (line.longitudes, line.latitudes, line.heights) == ((-111.8, -111.85), (40.7, 40.75), (0.0, 2000.0))


def test_shards_are_stable_and_even() -> None:
    receptors = [make_receptor(TIME, -112 + i / 1000, 40, 5) for i in range(4000)]
    counts = pd.Series([r.shard for r in receptors]).value_counts()
    assert set(counts.index) == set(SHARDS)
    assert counts.max() < 1.3 * counts.min()
    assert make_receptor(TIME, -111.847672, 40.766189, 35).shard == "05"  # must never change


def test_the_table_keeps_points_and_columns_apart() -> None:
    points = [{"longitude": 0, "latitude": 1, "height": 5}, {"longitude": 0, "latitude": 1, "height": [0, 100]},
              {"longitude": [0, 1], "latitude": 1, "height": [0, 100], "time": "2023-07-15T10:00:00Z"}]  # fmt: skip
    table = receptor_table(scene(receptors={"grid": None, "points": points}).receptor_list).to_pandas()
    assert table["height"].isna().tolist() == [False, True, True]
    assert table["top"].tolist()[1:] == [100, 100]
    assert table["longitude_top"].isna().tolist() == [True, True, False]
    assert table["time"].dt.hour.tolist() == [9, 9, 10]


def load(tmp_path: Path, table: pd.DataFrame | str, name: str) -> Any:
    path = tmp_path / name
    if isinstance(table, str):
        path.write_text(table)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    (tmp_path / "scene.yaml").write_text(yaml.safe_dump({**BASE, "receptors": {"file": name}}))
    return load_scene(tmp_path / "scene.yaml")


@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_files_mean_what_points_do(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"long": [-111.9, -111.8], "lati": [40.5, 40.6], "zagl": [5.0, 10.0]})
    ids = [r.id for r in load(tmp_path, table, name).receptor_list]
    assert ids == ["202307150920_-111.9_40.5_5", "202307150920_-111.8_40.6_10"]


def test_parquet_of_float32_has_clean_ids_and_its_own_times(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "longitude": np.array([-111.9, -111.8], "f4"),
            "latitude": np.array([40.5, 40.6], "f4"),
            "bottom": np.array([0, 0], "f4"),
            "top": np.array([100, 2000], "f4"),
            "time": pd.to_datetime(["2023-07-15T01:00Z", "2023-07-15T02:00Z"]),
        }
    )
    ids = [r.id for r in load(tmp_path, table, "r.parquet").receptor_list]
    assert ids == ["202307150100_-111.9_40.5_X0-100", "202307150200_-111.8_40.6_X0-2000"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("longitude,latitude\n", "holds no receptors"),
        ("longitude\n1\n", "column 'latitude' is missing"),
        ("longitude,latitude,colour\n1,1,1\n", "unknown column 'colour'"),
        ("longitude,latitude\n1,nan\n", "row 1: latitude must be a finite number"),
        ("longitude,latitude\n1,1\n1,abc\n", "row 2: latitude must be a number"),
        ("longitude,latitude\n1,1\n1,inf\n", "row 2: latitude must be a finite number"),
        ("longitude,latitude,bottom\n1,1,1\n", "needs both bottom and top"),
        ("longitude,latitude,time\n1,1,noon\n", "ISO 8601"),
        ("longitude,latitude\n1,1\n1,1\n", "receptors 1 and 2 are the same"),
        ("longitude,latitude\n1,91\n", "latitude must be between"),
    ],
)
def test_bad_files_are_refused_by_name_and_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        load(tmp_path, text, "r.csv")


def test_missing_and_wrong_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_bytes(b"not parquet")
    for name, message in (("none.csv", "does not exist"), ("r.txt", "must end in"), ("r.parquet", "cannot be read")):
        (tmp_path / "scene.yaml").write_text(yaml.safe_dump({**BASE, "receptors": {"file": name}}))
        with pytest.raises(SceneError, match=message):
            load_scene(tmp_path / "scene.yaml")
