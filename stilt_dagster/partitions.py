"""Partitions: scenes, which come and go, and their shards.

``trajectories`` and ``footprints`` are partitioned by scene and shard, all other assets by scene. A run covers one
shard, or a range of shards of a scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.scenes.receptors import SHARDS

scenes = dg.DynamicPartitionsDefinition(name="scenes")
shards = dg.StaticPartitionsDefinition(list(SHARDS))
scene_by_shard = dg.MultiPartitionsDefinition({"scene": scenes, "shard": shards})
to_scene = dg.MultiToSingleDimensionPartitionMapping("scene")


#: The assets in the order they build on each other, and whether each is partitioned by shard too.
ASSETS = {
    "receptors": False,
    "meteorology_aggregate": False,
    "trajectories": True,
    "footprints": True,
    "background": False,
    "jacobian": False,
    "report": False,
}

#: Assets made in the run of another, when that is made: what they do is not worth a pod of its own.
MADE_WITH = {"report": "jacobian"}


def partition_keys(asset: str, scene: str) -> list[str]:
    """Return the keys of an asset's partitions of a scene."""
    return [f"{scene}|{shard}" for shard in SHARDS] if ASSETS[asset] else [scene]


def runs_of(assets: Sequence[str]) -> list[tuple[str, ...]]:
    """Return assets as the runs that make them: one each, but for those that are made in the run of another."""
    runs = {asset: (asset,) for asset in assets if MADE_WITH.get(asset) not in assets}
    for asset in assets:
        if (other := MADE_WITH.get(asset)) in runs:
            runs[other] = (*runs[other], asset)
    return list(runs.values())


def shards_of_run(context: dg.AssetExecutionContext) -> tuple[str, list[str]]:
    """Return the scene a run covers, and which of its shards.

    Raises
    ------
    IncompleteError
        If it covers several scenes.
    """
    keys = [key.split("|") for key in context.partition_keys]
    scenes_of_run = {scene for scene, _ in keys}
    if len(scenes_of_run) != 1:
        raise IncompleteError(
            f"a run covers the shards of one scene, not of {len(scenes_of_run)}: select one at a time"
        )
    return scenes_of_run.pop(), sorted(shard for _, shard in keys)


def scene_range(scene: str, shards: Sequence[str] = SHARDS) -> dict[str, str]:
    """Return the run tags that make one run of some shards of a scene, one after the other."""
    return {
        "dagster/asset_partition_range_start": f"{scene}|{shards[0]}",
        "dagster/asset_partition_range_end": f"{scene}|{shards[-1]}",
    }
