"""What a run covers: its assets, scene and shards, and what that scene asks of a cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import RETRY_NUMBER_TAG
from stilt_dagster.kubernetes.pod_sizes import overridden
from stilt_dagster.partitions import ASSETS
from stilt_dagster.science.costs.sizes import Load, Size, size_of
from stilt_dagster.science.scenes.receptors import SHARDS

#: Run tags: what a run covers, and its cores, which the queue counts.
SCENE_TAG, ASSET_TAG, CORES_TAG = "stilt/scene", "stilt/asset", "stilt/cores"

#: Run tags by which people find runs: the product of the scene's retrieval, its campaign, and its planned cost.
PRODUCT_TAG, CAMPAIGN_TAG, COST_TAG = "stilt/product", "stilt/campaign", "stilt/cost"


@dataclass(frozen=True)
class Coverage:
    """What a run covers.

    Attributes
    ----------
    assets : tuple of str
        Its assets, in the order they build on each other; none for runs of other jobs.
    scene : str
        The scene; empty if it is of none.
    share : float
        Share of the scene's shards.
    last_scene : str
        The last of a range of scenes; the scene itself in all but large backfills.
    """

    assets: tuple[str, ...]
    scene: str
    share: float
    last_scene: str


def coverage(run: dg.DagsterRun, assets: frozenset[dg.AssetKey] | None = None) -> Coverage:
    """Return what a run covers, from its selection and its tags alone.

    Parameters
    ----------
    run : DagsterRun
        The run.
    assets : frozenset of AssetKey, optional
        What its job makes, for a run that selects no assets.
    """
    keys = run.asset_selection or assets or frozenset()
    names = {key.to_user_string() for key in keys}
    tags = run.tags
    start = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition") or ""
    end = tags.get("dagster/asset_partition_range_end") or start
    scene, _, first = start.partition("|")
    last_scene, _, last = end.partition("|")
    share = 1.0
    if first.isdigit() and last.isdigit():
        share = max(int(last) - int(first) + 1, 1) / len(SHARDS)
    return Coverage(tuple(a for a in ASSETS if a in names), scene, share, last_scene)


def scene_of_run(run: dg.DagsterRun) -> str:
    """Return the scene a run was of; empty if none."""
    names = (SCENE_TAG, "dagster/partition", "dagster/asset_partition_range_start")
    return next((run.tags[name].partition("|")[0] for name in names if name in run.tags), "")


def load_of(instance: dg.DagsterInstance, scene: str) -> tuple[Load, dict[str, str]]:
    """Return what a scene asks of a cluster and the run tags it brings, as recorded when it was registered.

    Read from the event log, so that who launches runs needs no access to the store.
    """
    if not scene:
        return Load(), {}
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), asset_partitions=[scene])
    for record in instance.fetch_observations(query, limit=1).records:
        observation = record.asset_observation
        metadata = observation.metadata if observation else {}
        if "load" in metadata:
            return Load.from_dict(json.loads(str(metadata["load"].value))), json.loads(str(metadata["tags"].value))
    return Load(), {}


def size_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, covers: Coverage) -> Size:
    """Return the size of a run's pod: predicted from its scene, enlarged at each retry, unless tags say otherwise.

    Raises
    ------
    SceneError
        If a tag is not an amount.
    """
    load, scene_tags = load_of(instance, covers.scene)
    attempt = int(run.tags.get(RETRY_NUMBER_TAG, 0))
    sizes = [size_of(asset, load, covers.share, attempt) for asset in covers.assets or ("",)]
    size = Size(max(s.cpu for s in sizes), max(s.memory for s in sizes), max(s.disk for s in sizes))
    return overridden(size, {**scene_tags, **run.tags})
