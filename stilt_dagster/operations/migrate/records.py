"""What an instance recorded before there were versions: made good where the files are those that would be made now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import DATA_VERSION_TAG
from stilt_dagster.operations.record import Record, current_versions, read_record
from stilt_dagster.operations.status import scene_status
from stilt_dagster.partitions import ASSETS
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import StoreError

#: What Dagster records of its own where an asset tells no version: nothing, or a hash of run ids.
_OTHER = re.compile(r"|[0-9a-f]{64}")

#: Made again of what is there in seconds, at the next run: the jacobian of that time does not say its version either.
_CHEAP = ("jacobian", "report")

#: Scenes whose materializations are looked up at a time.
_SCENES = 200


def scenes_without_versions(instance: dg.DagsterInstance, scenes: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield scenes that have materializations without a version, and how many; two queries an asset for 200 scenes."""
    names = list(scenes)
    for first in range(0, len(names), _SCENES):
        some = names[first : first + _SCENES]
        record = read_record(instance, some)
        for scene in some:
            if count := sum(len(keys) for keys in _unversioned(record, scene).values()):
                yield scene, count


def record_versions(instance: dg.DagsterInstance, scene: StoredScene) -> int:
    """Record again, with its version, each materialization without one whose files are what would be made now.

    The receptor table of that time says no version either: it is written anew, if its receptors are the spec's.

    Returns
    -------
    int
        Materializations recorded.
    """
    _write_receptors(scene.store, scene)
    status, wanted = scene_status(scene), current_versions(scene)
    count = 0
    for asset, keys in _unversioned(read_record(instance, [scene.id]), scene.id).items():
        if status.assets.get(asset, {}).get("state") != "ready":
            continue
        for key in keys:
            query = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key])
            [last] = instance.fetch_materializations(query, limit=1).records
            assert last.asset_materialization is not None
            event = dg.AssetMaterialization(
                asset, partition=key, metadata=_metadata(last), tags={DATA_VERSION_TAG: wanted[asset]}
            )
            instance.report_runless_asset_event(event)
            count += 1
    return count


def _metadata(last: dg.EventLogRecord) -> Mapping[str, dg.MetadataValue]:  # type: ignore[type-arg]
    assert last.asset_materialization is not None
    return last.asset_materialization.metadata


def _unversioned(record: Record, scene: str) -> dict[str, list[str]]:
    """Return partitions of a scene whose last materialization has no version, by asset, in the order they are made."""
    return {
        asset: [k for k, made in record[asset].items() if k.split("|")[0] == scene and _OTHER.fullmatch(made.version)]
        for asset in ASSETS
        if asset not in _CHEAP
    }


def _write_receptors(store: Store, scene: StoredScene) -> None:
    """Write a receptor table that says no version anew, if its receptors are the spec's."""
    import pyarrow.parquet as pq

    from stilt_dagster.science.scenes.receptor_table import stored_receptors, stored_version

    folder, name = store.folder("receptors"), f"{scene.id}.parquet"
    if folder.open(name, stored_version, whole=False) != "":
        return
    table = folder.open(name, lambda source: pq.read_table(source, columns=["receptor"]), whole=True)
    if table is None or table.column("receptor").to_pylist() != scene.spec.receptor_ids:
        return
    with store.scratch() as scratch:
        path = scratch / name
        try:
            made = stored_receptors(scene.spec, current_versions(scene)["receptors"])
            pq.write_table(made, path, compression="zstd")
        except OSError as error:
            raise StoreError(f"cannot write receptors: {error}; free space, or set STILT_STORE") from error
        folder.put(path, name)
