"""Partitions: scenes, which come and go, and their shards.

``receptors``, ``meteorology_aggregate`` and ``jacobian`` are partitioned by scene; ``trajectories`` and ``footprints``
by scene and shard. A run covers one shard, or a range of shards of a scene.
"""

from __future__ import annotations

import json

import dagster as dg

from stilt_dagster.cluster.sizes import Load
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import IncompleteError, SceneError
from stilt_dagster.science.receptors import SHARDS
from stilt_dagster.science.scene import Scene

scenes = dg.DynamicPartitionsDefinition(name="scenes")
shards = dg.StaticPartitionsDefinition(list(SHARDS))
scene_by_shard = dg.MultiPartitionsDefinition({"scene": scenes, "shard": shards})
to_scene = dg.MultiToSingleDimensionPartitionMapping("scene")


def register_scene(
    instance: dg.DagsterInstance, store: Store, scene: Scene, *, replace: bool = False, source: str = ""
) -> bool:
    """Write a scene's spec, then add its partition, then note it: so there is no partition without a spec.

    The note, an observation of ``receptors``, tells automation of a new or changed scene, and whoever launches its
    runs how large they are.

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
    source : str
        The sensor or schedule that registers it, and asks for its first run.

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
    if not (known and has_partition and is_noted(instance, scene.id)):
        instance.report_runless_asset_event(_note(scene, source))
    return not (known and has_partition)


def is_noted(instance: dg.DagsterInstance, scene: str) -> bool:
    """Return whether a scene's registration was noted."""
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), asset_partitions=[scene])
    return bool(instance.fetch_observations(query, limit=1).records)


def registered_by_source(instance: dg.DagsterInstance, scene: str) -> float:
    """Return when a sensor or schedule registered a scene last, s since 1970; 0 if a person did."""
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), asset_partitions=[scene])
    for record in instance.fetch_observations(query, limit=1).records:
        if record.asset_observation and "source" in record.asset_observation.metadata:
            return record.timestamp
    return 0.0


def _note(scene: Scene, source: str) -> dg.AssetObservation:
    layers = 1 if scene.footprint.time_integrate else abs(scene.transport.n_hours)
    load = Load(
        receptors=len(scene.receptor_list),
        numpar=scene.transport.numpar,
        hours=abs(scene.transport.n_hours),
        cpu_seconds=round(scene.predicted_cpu, 1),
        cells=layers * scene.footprint.grid.ny * scene.footprint.grid.nx,
        source=scene.meteorology.source or "",
        background=scene.background is not None,
    )
    return dg.AssetObservation(
        asset_key="receptors",
        partition=scene.id,
        description="registered",
        metadata={
            "receptors": load.receptors,
            "predicted CPU of hycs_std, h": round(load.cpu_seconds / 3600, 2),
            "load": json.dumps(load.to_dict()),
            "tags": json.dumps(scene.tags),
            **({"source": source} if source else {}),
        },
    )


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
