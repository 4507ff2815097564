"""Checks of a scene: they pass on what is right, and each fails on the fault it is for, and says what to do."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.assets.metadata import KEYS, STAGES
from stilt_dagster.definitions import build_defs
from stilt_dagster.science.footprints import gridding
from stilt_dagster.science.jacobian.validity import outliers
from stilt_dagster.science.meteorology.completeness import missing_hours, missing_winds, read_stored_header
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster_tests.assets.test_runs import Bench

CHECKS = {
    "receptors_are_valid": "receptors",
    "meteorology_is_complete": "meteorology_aggregate",
    "every_receptor_is_simulated": "trajectories",
    "particles_stay_in_meteorology": "trajectories",
    "engine_agrees": "trajectories",
    "influence_is_conserved": "footprints",
    "influence_is_not_zero": "footprints",
    "jacobian_is_valid": "jacobian",
    "row_sums_equal_footprints": "jacobian",
    "row_sums_are_plausible": "jacobian",
    "observations_lie_in_flux_hours": "jacobian",
}


@pytest.fixture
def bench(tmp_path: Path, meteorology: Path) -> Iterator[Bench]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield Bench(tmp_path, meteorology, instance)


def verdict(bench: Bench, check: str) -> Any:
    key = dg.AssetCheckKey(dg.AssetKey(CHECKS[check]), check)
    (last,) = bench.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return last.event.dagster_event.event_specific_data


def test_a_good_scene_passes_every_check_and_records_known_keys(bench: Bench) -> None:
    scene = bench.scene()
    bench.run_all(scene)
    for check in CHECKS:
        found = verdict(bench, check)
        assert found.passed, (check, found.description)
        assert found.metadata["scene"].value == scene.id, check
    assert verdict(bench, "influence_is_conserved").metadata["largest imbalance"].value < 1e-6
    assert verdict(bench, "row_sums_equal_footprints").metadata["rows compared"].value == 9
    rows = {
        "receptors": 9,
        "meteorology_aggregate": None,
        "trajectories": None,
        "footprints": None,
        "jacobian": 9,
        "report": None,
    }
    for asset, count in rows.items():
        parted = asset in ("trajectories", "footprints")
        recorded = bench.metadata(asset, f"{scene.id}|15" if parted else scene.id)
        assert set(recorded) <= set(KEYS), asset
        place = recorded["dagster/uri"].removeprefix("file://")
        assert Path(place).exists(), "the link leads somewhere"
        assert Path(recorded["stilt/report"]).exists()
        assert recorded["stilt/runs"].endswith(f"tag%3Astilt%2Fscene%3D{scene.id}")
        if count is not None:
            assert recorded["dagster/row_count"] == count, asset
    shards = {r.shard for r in scene.receptor_list}
    counted = {s: bench.metadata("trajectories", f"{scene.id}|{s}")["dagster/row_count"] for s in (*shards, "15")}
    total = bench.metadata("trajectories", f"{scene.id}|15")["stilt/particle_rows"]
    assert sum(counted[s] for s in shards) == total > 0, "a row is counted in its own shard alone"
    of_shard = {s: bench.metadata("footprints", f"{scene.id}|{s}")["dagster/row_count"] for s in shards}
    assert of_shard == {s: sum(r.shard == s for r in scene.receptor_list) for s in shards}


def test_every_asset_is_described() -> None:
    graph = build_defs().resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.group_name in STAGES
        assert node.owners
        assert node.kinds
        assert "Format: " in (node.description or ""), key
    for check in graph.asset_check_keys:
        assert graph.get_check_spec(check).description, check


def test_footprints_that_lose_influence_are_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = gridding.stamp_kernels
    monkeypatch.setattr(gridding, "stamp_kernels", lambda *args: (*stamp(*args)[:-1], 0.0))
    scene = bench.scene(
        footprint={"xmin": -112.15, "xmax": -111.95, "ymin": 40.35, "ymax": 40.55, "xres": 0.01, "yres": 0.01}
    )
    for job in ("prepare", "simulate"):
        assert bench.run(job, scene).success
    found = verdict(bench, "influence_is_conserved")
    assert not found.passed
    assert "neither on the grid nor outside it: materialize footprints again with rerun: all" in found.description


def test_a_grid_away_from_the_air_is_told(bench: Bench) -> None:
    scene = bench.scene(footprint={"xmin": -111.0, "xmax": -110.6})
    for job in ("prepare", "simulate"):
        assert bench.run(job, scene).success
    found = verdict(bench, "influence_is_not_zero")
    assert not found.passed
    assert "none of 9 receptors" in found.description
    assert "upwind" in found.description


def test_a_failed_receptor_is_named_with_hysplits_log(bench: Bench) -> None:
    points = [{"longitude": -112.0, "latitude": 40.4}, {"longitude": -90.0, "latitude": 40.0}]
    scene = bench.scene(receptors={"grid": None, "points": points}, max_failed_fraction=0.6)
    for job in ("prepare", "simulate"):
        assert bench.run(job, scene).success
    found = verdict(bench, "every_receptor_is_simulated")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"scene log {scene.id} 202307150920_-90_40_1" in found.description
    assert "MET_COVERAGE" in found.metadata["failures"].value
    assert found.metadata["HYSPLIT's log"].value


@pytest.mark.parametrize(
    ("check", "damage"),
    [
        ("jacobian_is_valid", lambda file: file["data"].__setitem__(3, np.nan)),
        ("jacobian_is_valid", lambda file: file["indices"].__setitem__(slice(2), [7, 7])),
        ("row_sums_equal_footprints", lambda file: file["data"].__setitem__(0, 2 * file["data"][0])),
        ("row_sums_are_plausible", lambda file: file["data"].__setitem__(slice(file["indptr"][1]), 900.0)),
        (
            "observations_lie_in_flux_hours",
            lambda file: file["flux_time_bnds"].write_direct(file["flux_time_bnds"][:] + 1),
        ),
    ],
)
def test_a_damaged_jacobian_fails_the_check_for_it(bench: Bench, monkeypatch: Any, check: str, damage: Any) -> None:
    module = importlib.import_module("stilt_dagster.science.jacobian.jacobian")
    build = module.build_jacobian

    def damaged(scene: Any, batches: Any, folders: Any, path: Path, *rest: Any) -> Any:
        report = build(scene, batches, folders, path, *rest)
        with h5py.File(path, "a") as file:
            damage(file)
        return report

    monkeypatch.setattr(module, "build_jacobian", damaged)
    scene = bench.scene(transport={"numpar": 5, "n_hours": -1})
    for job in ("prepare", "simulate"):
        assert bench.run(job, scene).success
    bench.run("assemble", scene, asset_selection=[dg.AssetKey("jacobian")])
    found = verdict(bench, check)
    assert not found.passed
    assert "materialize" in found.description or "look at" in found.description


def test_missing_hours_and_winds_are_named(meteorology: Path) -> None:
    first, second = (read_stored_header(p) for p in sorted(meteorology.iterdir())[:2])
    window = Window(pd.Timestamp("2023-07-15T08:00"), pd.Timestamp("2023-07-15T14:00"))
    assert missing_hours([first, second], window) == []
    assert missing_hours([first], window) == ["nothing at or after 2023-07-15 14:00 UTC"]
    assert missing_hours([second], window) == ["nothing at or before 2023-07-15 08:00 UTC"]
    assert missing_winds(first) == []
    with (sorted(meteorology.iterdir())[0]).open("rb") as file:
        assert read_stored_header(file).times == first.times, "of a bucket too, whose files are no paths"
    gap = type(first)(first.file, first.source, (*first.steps[:2], *first.steps[3:]), first.grid, first.axis)
    (line,) = missing_hours([gap], Window(first.times[0], first.times[-1]))
    assert line == f"nothing between {first.times[1]:%Y-%m-%d %H:%M} and {first.times[3]:%Y-%m-%d %H:%M} UTC"


@given(st.lists(st.floats(0.5, 2.0), min_size=8, max_size=60), st.floats(1e-6, 1e6), st.floats(1e6, 1e9))
def test_outliers_are_those_far_from_the_scenes_own_spread_in_any_units(
    sums: list[float], scale: float, far: float
) -> None:
    # Sums of a factor of four have a scale of 1.4826 ln 4 at most, six of which are a factor of 2.3e5.
    values = np.array([*sums, far, 0.0]) * scale
    found = outliers(values).tolist()
    assert found[0] == len(sums), "the farthest first"
    assert len(values) - 1 not in found, "a receptor that feels nothing is no outlier"
    assert outliers(values[:7]).size == 0, "few have no spread"
