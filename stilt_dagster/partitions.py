"""Partitions: scenes, which come and go, and their shards.

``receptors``, ``meteorology_aggregate`` and ``jacobian`` are partitioned by scene; ``trajectories`` and ``footprints``
by scene and shard. A run covers one shard, or a range of shards of a scene.
"""

from __future__ import annotations

import dagster as dg

from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import IncompleteError, SceneError
from stilt_dagster.science.receptors import SHARDS
from stilt_dagster.science.scene import Scene

scenes = dg.DynamicPartitionsDefinition(name="scenes")
shards = dg.StaticPartitionsDefinition(list(SHARDS))
scene_by_shard = dg.MultiPartitionsDefinition({"scene": scenes, "shard": shards})
to_scene = dg.MultiToSingleDimensionPartitionMapping("scene")


def register_scene(instance: dg.DagsterInstance, store: Store, scene: Scene, *, replace: bool = False) -> bool:
    """Write a scene's spec, then add its partition: so there is no partition without a spec.

    Parameters
    ----------
    instance : DagsterInstance
        Where partitions are kept.
    store : Store
        Where specs are kept.
    scene : Scene
        The scene.
    replace : bool
        Take another spec's place.

    Returns
    -------
    bool
        Whether anything was new.

    Raises
    ------
    SceneError
        If another spec has the id; it names the fields that differ.
    """
    known = store.has_scene(scene.id)
    if known and (different := store.scene(scene.id).differences(scene)):
        if not replace:
            raise SceneError(
                f"scene {scene.id} is registered with other settings ({', '.join(different[:6])}): "
                "give another id, or use --replace"
            )
        known = False
    if not known:
        store.write_scene(scene)
    has_partition = instance.has_dynamic_partition("scenes", scene.id)
    if not has_partition:
        instance.add_dynamic_partitions("scenes", [scene.id])
    return not (known and has_partition)


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


def scene_range(scene: str) -> dict[str, str]:
    """Return the run tags that make one run of all shards of a scene."""
    return {
        "dagster/asset_partition_range_start": f"{scene}|{SHARDS[0]}",
        "dagster/asset_partition_range_end": f"{scene}|{SHARDS[-1]}",
    }
