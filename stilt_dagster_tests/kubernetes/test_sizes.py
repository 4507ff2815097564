"""Sizes of pods: monotonous in the work, within what a cluster can give, overridable, never nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.kubernetes.pod_sizes import OVERRIDES, overridden, parse_quantity, resources
from stilt_dagster.partitions import ASSETS, runs_of
from stilt_dagster.science.costs.sizes import (
    MAX_CORES,
    MIB,
    TARGET_SECONDS,
    Load,
    Size,
    cores_for,
    runs_for,
    size_of,
)
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.scenes.spec import RUN_TAGS

loads = st.builds(
    lambda receptors, numpar, hours: Load(receptors, numpar, hours, 0.002 * receptors * numpar * hours, 1_000_000),
    st.integers(1, 100_000),
    st.integers(1, 5000),
    st.integers(1, 240),
)


def load(receptors: int, numpar: int = 1000, hours: int = 24) -> Load:
    return Load(receptors, numpar, hours, 0.002 * receptors * numpar * hours)


def test_a_small_scene_is_one_pod_and_a_large_one_spreads() -> None:
    assert runs_for(load(100)) == 1
    assert runs_for(load(10_000)) > 1
    assert runs_for(load(100_000)) == len(SHARDS)
    assert size_of("trajectories", load(100_000), 1 / 16).cpu == MAX_CORES
    assert size_of("trajectories", load(1, 10)).cpu == 1


@given(loads)
def test_pods_take_about_as_long_as_they_should_until_the_cap(scene: Load) -> None:
    pods = runs_for(scene)
    assert len(SHARDS) % pods == 0
    cores = cores_for(scene.cpu_seconds / pods)
    seconds = scene.cpu_seconds / pods / cores
    assert seconds <= TARGET_SECONDS * 1.001 or (pods, cores) == (len(SHARDS), MAX_CORES)


#: Cores of a machine, and what GKE lends pods of them: all but 60 + 10 + 2 x 5 + 28 x 2.5 m, and its own pods' 450 m.
MACHINE, LENT = 32, 31.4


@given(loads, st.sampled_from(tuple(ASSETS)), st.integers(0, 3))
def test_sizes_are_possible_and_grow_with_each_attempt(scene: Load, asset: str, attempt: int) -> None:
    size, again = size_of(asset, scene, 1.0, attempt), size_of(asset, scene, 1.0, attempt + 1)
    assert 1 <= size.cpu <= MAX_CORES
    assert size.memory >= 512 * MIB
    assert size.disk >= 512 * MIB
    assert again.memory == pytest.approx(size.memory * 1.5, rel=1e-6)
    container = resources(size)
    requests, limits = container["requests"], container["limits"]
    assert limits["cpu"] == f"{1000 * size.cpu:g}m", "the pool counts its cores by the limit"
    assert int(requests["cpu"][:-1]) * MACHINE // int(limits["cpu"][:-1]) < LENT, "on a machine of as many cores"
    assert {k: v for k, v in requests.items() if k != "cpu"} == {k: v for k, v in limits.items() if k != "cpu"}


def test_tags_override_sizes_and_nonsense_is_refused() -> None:
    size = overridden(Size(4, 8 << 30, 10 << 30), {"stilt/cpu": "500m", "stilt/memory": "16Gi", "other": "x"})
    assert size == Size(0.5, 16 << 30, 10 << 30)
    for text in ("", "0", "-1", "lots", "4 cores", "1e3", "4Gb"):
        with pytest.raises(SceneError, match="stilt/cpu"):
            parse_quantity("stilt/cpu", text)


def test_what_is_said_in_two_places_is_the_same() -> None:
    assert set(OVERRIDES) < set(RUN_TAGS)


def test_each_asset_has_a_run_but_a_report_beside_its_jacobian() -> None:
    assert runs_of(("footprints", "jacobian", "report")) == [("footprints",), ("jacobian", "report")]
    assert runs_of(("footprints", "report")) == [("footprints",), ("report",)]
    assert runs_of(()) == []
