"""What of scenes is in progress: runs that are not over, and backfills."""

from collections.abc import Callable

import dagster as dg

from stilt_dagster.automation.due import Step
from stilt_dagster.kubernetes.dagster_internals import NOT_FINISHED_STATUSES, BulkActionStatus
from stilt_dagster.kubernetes.run_coverage import ASSET_TAG, SCENE_TAG, scene_of_run

__all__ = ["scene_of_run", "steps_in_progress"]


def steps_in_progress(instance: dg.DagsterInstance, scenes: list[str]) -> Callable[[Step], bool]:
    """Return a function that says whether a step is part of a run that is not over, or of a backfill to come."""
    tags: dict[str, str | list[str]] = {SCENE_TAG: scenes}
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags=tags)) if scenes else []
    backfilled = _in_backfill(instance)

    def holds(step: Step) -> bool:
        # Two runs of the same shards would be right in the end, and paid for twice.
        return (step.scene, step.asset) in backfilled or any(
            scene_of_run(run) == step.scene
            and step.asset in run.tags.get(ASSET_TAG, "").split(",")
            and _overlap(run, step)
            for run in runs
        )

    return holds


def _overlap(run: dg.DagsterRun, step: Step) -> bool:
    """Return whether a run covers shards of a step; what names no range covers them all."""
    start, end = (run.tags.get(f"dagster/asset_partition_range_{side}", "") for side in ("start", "end"))
    if not (start and end and step.shards):
        return True
    return start.partition("|")[2] <= step.shards[1] and step.shards[0] <= end.partition("|")[2]


def _in_backfill(instance: dg.DagsterInstance) -> set[tuple[str, str]]:
    """Return the scenes and assets of backfills in progress."""
    found: set[tuple[str, str]] = set()
    for backfill in instance.get_backfills(status=BulkActionStatus.REQUESTED):
        data = backfill.asset_backfill_data
        for asset in data.target_subset.asset_keys if data else ():
            subset = data.target_subset.get_partitions_subset(asset)
            name = asset.to_user_string()
            found |= {(key.partition("|")[0], name) for key in subset.get_partition_keys()}
    return found
