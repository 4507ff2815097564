"""Deleting scenes: the partition first, then the spec, then the files, so that no partition is left without a spec."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from stilt_dagster.io_managers.aggregate_files import remove_aggregate
from stilt_dagster.kubernetes.dagster_internals import DATA_VERSION_TAG, NOT_FINISHED_STATUSES
from stilt_dagster.kubernetes.run_coverage import SCENE_TAG
from stilt_dagster.operations.record import DELETED, read_record
from stilt_dagster.partitions import ASSETS
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import SceneError

#: Names of each asset's files of a scene; those of trajectories and footprints are folders, aggregates have several.
_FILES = {
    "receptors": ("{}.parquet",),
    "background": ("{}.parquet",),
    "jacobian": ("{}.nc",),
    "report": ("{}.html",),
}


@dataclass(frozen=True)
class Deleted:
    """What was deleted of a scene.

    Attributes
    ----------
    scene : str
        The scene.
    files : int
        Files of its products.
    """

    scene: str
    files: int


def delete_scene(instance: dg.DagsterInstance, store: Store, scene: str, *, keep_files: bool = False) -> Deleted:
    """Delete a scene: its partition, its spec, and unless they are to be kept the files of its products.

    Parameters
    ----------
    instance : DagsterInstance
        Where its partition and its materializations are recorded.
    store : Store
        Where its spec and files are.
    scene : str
        The scene; what an earlier deletion has left of it is deleted, too.
    keep_files : bool
        Leave the files of its products, which a scene registered with the same spec takes up again.

    Returns
    -------
    Deleted

    Raises
    ------
    SceneError
        If there is no such scene, or a run of it is in progress.
    """
    has_partition = instance.has_dynamic_partition("scenes", scene)
    if not (store.has_scene(scene) or has_partition):
        raise SceneError(f"scene {scene} is not registered: there is nothing to delete")
    require_no_run(instance, scene)
    if has_partition:
        instance.delete_dynamic_partition("scenes", scene)
    store.remove_scene(scene)
    if keep_files:
        return Deleted(scene, 0)
    _void_materializations(instance, scene)
    return Deleted(scene, _remove_files(store, scene))


def require_no_run(instance: dg.DagsterInstance, scene: str) -> None:
    """Refuse while a run of a scene is in progress.

    Raises
    ------
    SceneError
        Naming the run.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES))):
        names = (SCENE_TAG, "dagster/partition", "dagster/asset_partition_range_start")
        if any(run.tags.get(name, "").partition("|")[0] == scene for name in names):
            raise SceneError(f"run {run.run_id} of scene {scene} is in progress: terminate it, or wait for its end")


def _remove_files(store: Store, scene: str) -> int:
    count = 0
    for asset, sharded in ASSETS.items():
        if sharded:
            count += store.folder(asset, scene).remove_all()
            continue
        if asset == "meteorology_aggregate":
            count += remove_aggregate(store, scene)
            continue
        folder = store.folder(asset)
        for name in (pattern.format(scene) for pattern in _FILES[asset]):
            if folder.has(name):
                folder.remove(name)
                count += 1
    store.folder("logs", scene).remove_all()  # of array jobs; they are no products
    return count


def _void_materializations(instance: dg.DagsterInstance, scene: str) -> None:
    """Record that what was materialized is gone, so that a scene registered again under this id is made anew."""
    record = read_record(instance, [scene])
    for asset, partitions in record.items():
        for key, made in partitions.items():
            if made.version != DELETED:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        asset,
                        partition=key,
                        description="its files were deleted with the scene",
                        tags={DATA_VERSION_TAG: DELETED},
                    )
                )
