"""What Dagster recorded of scenes: the last materialization of each of their partitions, and its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import DATA_VERSION_TAG
from stilt_dagster.partitions import ASSETS, partition_keys

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
