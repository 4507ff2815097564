"""Which engine a scene may ask for: what of the settings the native one takes, and where it is checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.pystilt import HysplitConfig
from stilt_dagster.science.scenes.engines import native
from stilt_dagster.science.scenes.engines.check import checked_receptors, count_checked
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.versions import simulation_key, trajectories_version
from stilt_dagster_tests.conftest import SCENE, deep_merge

NATIVE = {"engine": "native", "experimental": True}


def scene(**changes: Any) -> Scene:
    data = deep_merge(SCENE, {"meteorology": {"directory": "/met"}})
    return make_scene(deep_merge(data, changes), "scene.yaml")


def test_every_setting_of_hysplit_is_decided_once() -> None:
    tables = (native.HONOURED, native.WITHOUT_MEANING, native.KNOWN_VALUES, native.CONDITIONS)
    decided = [name for table in tables for name in table]
    assert len(decided) == len(set(decided))
    assert set(decided) == set(HysplitConfig.model_fields) - {"exe_dir", "data_dir"}
    plain = TransportSettings(**NATIVE)
    assert all(getattr(plain, name) in known for name, known in native.KNOWN_VALUES.items()), "STILT's own are known"


def test_an_engine_that_is_not_asked_for_changes_no_hash() -> None:
    plain, named = scene(), scene(transport={"engine": "hysplit"})
    assert plain.to_json() == named.to_json()
    assert not {"engine", "experimental", "engine_check"} & plain.transport.model_dump().keys()
    assert not {"engine", "experimental", "engine_check"} & plain.transport.identity.keys()


def test_how_much_is_checked_is_no_part_of_what_makes_particles() -> None:
    few, many = (scene(transport={**NATIVE, "engine_check": share}) for share in (0.02, 1.0))
    assert simulation_key(few, "met", "native 1") == simulation_key(many, "met", "native 1")
    assert trajectories_version(few, "met", "native 1") != trajectories_version(many, "met", "native 1")
    assert simulation_key(few, "met", "v") != simulation_key(scene(), "met", "v")
    assert scene(transport=NATIVE).transport.engine_check == 0.02, "the canonical spec says it"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transport": {"engine": "native"}}, "set experimental: true to have it"),
        ({"transport": {"experimental": True}}, "experimental and engine_check are of engine: native"),
        ({"transport": {"engine_check": 0.1}}, "experimental and engine_check are of engine: native"),
        (
            {"transport": {**NATIVE, "engine_check": 2}},
            "transport.engine_check: Input should be less than or equal to 1",
        ),
        (
            {"transport": {**NATIVE, "capemin": -2}},
            "does not know capemin -2.0 (it knows -1.0): engine: hysplit has it",
        ),
        ({"transport": {**NATIVE, "initd": 4, "kblt": 1}}, "initd 4 (it knows 0); kblt 1 (it knows 5)"),
        ({"transport": {**NATIVE, "kmixd": -500}}, "kmixd -500 (it knows 0, 1, 2, 3, and a height of 10 m or more)"),
        ({"transport": {**NATIVE, "tlfrac": 0.0}}, "tlfrac 0.0 (it knows 0.001 or more)"),
        ({"transport": {**NATIVE, "krand": 4}}, "krand 4 (it knows 2)"),
        ({"transport": {**NATIVE, "seed": "none"}}, "seed none"),
        ({"transport": {**NATIVE, "maxpar": 5}}, "maxpar below numpar (5)"),
        (
            {"transport": {**NATIVE, "siguverr": 1, "tluverr": 60, "zcoruverr": 500, "horcoruverr": 40}},
            "siguverr 1.0 (it knows none)",
        ),
        ({"transport": {**NATIVE, "hnf_plume": False, "varsiwant": "time indx long lati zagl foot rain"}}, "rain"),
        (
            {"transport": NATIVE, "meteorology": {"source": ["hrrr", "gdas1"], "directory": None, "pattern": None}},
            "does not know nested meteorology",
        ),
    ],
)
def test_what_the_native_engine_does_not_know_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SceneError) as refused:
        scene(**changes)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_settings_of_r_stilt_that_mean_nothing_to_it_are_let_pass() -> None:
    made = scene(
        transport={
            **NATIVE,
            "frvs": 0.1,
            "kmix0": 250,
            "ziscale": [0.8, 0.9],
            "maxpar": 10_000,
            "kmsl": 1,
            "kmixd": 900,
        }
    )
    assert made.transport.engine_version(None) == native.NATIVE_VERSION, "it needs no hycs_std"


def test_three_receptors_at_least_are_checked() -> None:
    assert [count_checked(0.02, n) for n in (1, 3, 100, 1000)] == [1, 3, 3, 20]
    assert count_checked(0.0, 1000) == 0


@given(st.sets(st.text("abc123_", min_size=1, max_size=8), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_more_are_checked_of_a_larger_share_and_the_same_ones_each_time(ids: set[str], a: float, b: float) -> None:
    few, many = (checked_receptors(share, sorted(ids)) for share in sorted((a, b)))
    assert few <= many <= ids
    assert checked_receptors(min(a, b), sorted(ids, reverse=True)) == few
