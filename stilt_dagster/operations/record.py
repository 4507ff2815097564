"""What Dagster recorded of scenes: the last materialization of each of their partitions, and its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import DATA_VERSION_TAG
from stilt_dagster.partitions import ASSETS, partition_keys
from stilt_dagster.resources.stored_scene import StoredScene, missing
from stilt_dagster.science import versions

#: Version recorded of products whose files were deleted.
DELETED = "deleted"


@dataclass(frozen=True)
class Materialized:
    """The last materialization of a partition.

    Attributes
    ----------
    version : str
        What it was made of.
    number : int
        Its place in the event log.
    """

    version: str = ""
    number: int = 0


#: Last materializations: by asset, then by partition key.
Record = Mapping[str, Mapping[str, Materialized]]


def read_record(instance: dg.DagsterInstance, scenes: Iterable[str]) -> Record:
    """Return the last materializations of some scenes, two queries an asset."""
    by_scene = sorted(scenes)
    log, kind = instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
    record: dict[str, dict[str, Materialized]] = {}
    for asset in ASSETS:
        keys = [key for scene in by_scene for key in partition_keys(asset, scene)]
        name = dg.AssetKey(asset)
        numbers = log.get_latest_storage_id_by_partition(name, kind, set(keys)) if keys else {}
        tags = log.get_latest_tags_by_partition(name, kind, [DATA_VERSION_TAG], keys) if keys else {}
        record[asset] = {k: Materialized(tags.get(k, {}).get(DATA_VERSION_TAG, ""), n) for k, n in numbers.items()}
    return record


def current_versions(scene: StoredScene) -> dict[str, str]:
    """Return what each product of a scene would be recorded to be made of now, by asset.

    Raises
    ------
    IncompleteError
        If there is no meteorology aggregate.
    """
    if scene.aggregate is None:
        raise missing("meteorology_aggregate", scene.id)
    return {
        "receptors": versions.receptors_version(scene.spec),
        "meteorology_aggregate": versions.meteorology_version(scene.aggregate.key, scene.aggregate.sha256),
        "trajectories": scene.versions.trajectories,
        "footprints": scene.versions.footprints,
        "background": scene.versions.background,
        "jacobian": scene.versions.jacobian,
        "report": scene.versions.report,
    }
