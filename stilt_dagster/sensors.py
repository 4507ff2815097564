"""Sensors: the chain of a scene's assets, carried on without a human, and the alert when it stops."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunRecord, RunsFilter
from dagster._core.storage.tags import WILL_RETRY_TAG

from stilt_dagster.chain import Step, next_steps, read_record
from stilt_dagster.cluster.runs import ASSET_TAG, SCENE_TAG, load_of
from stilt_dagster.jobs import assemble, prepare, simulate
from stilt_dagster.partitions import registered_by_source
from stilt_dagster.resources import StoreResource, TransportEngine
from stilt_dagster.science.errors import UserError
from stilt_dagster.settings import is_automatic

#: Run tag of runs the chain asked for.
CHAIN_TAG = "stilt/chain"

#: Runs of the chain that failed in a row before it asks for no more.
BREAKER = 20

#: Scenes a tick looks at: registered since the last, of finished runs since the last, and in turn of all.
REGISTERED, FINISHED, IN_TURN = 100, 200, 25

#: How long a scene's first run is left to the sensor or schedule that registered it, s.
HANDS_OFF = 600.0

#: How long a tick looks at scenes: Dagster ends it after 60 s, and a scene of 100,000 receptors takes two.
SECONDS = 20.0

#: Runs whose end was noted a moment late are looked at twice rather than never.
_OVERLAP = timedelta(seconds=10)

#: The job each asset is a part of: a run selects one asset of it.
JOB_OF = {
    "receptors": prepare,
    "meteorology_aggregate": prepare,
    "trajectories": simulate,
    "footprints": simulate,
    "background": assemble,
    "jacobian": assemble,
}

_LOG = logging.getLogger("stilt_dagster.alert")


@dataclass
class Position:
    """How far the chain has looked.

    Attributes
    ----------
    registered : int
        Place in the event log of the last registration seen.
    finished : float
        When the last run seen had finished, s since 1970.
    turn : str
        Where the round of all scenes is.
    left : list of str
        Scenes the last look had no time for.
    """

    registered: int = 0
    finished: float = 0.0
    turn: str = ""
    left: list[str] = field(default_factory=list)


@dg.sensor(
    jobs=[prepare, simulate, assemble],
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING if is_automatic() else dg.DefaultSensorStatus.STOPPED,
    description="Carries every registered scene on to its jacobian: a run for each asset, several for large scenes.",
)
def carry_on(
    context: dg.SensorEvaluationContext, store: StoreResource, transport_engine: TransportEngine
) -> dg.SensorResult | dg.SkipReason:
    """Ask for the runs that are due of scenes that are new or have moved, and of some others in turn.

    A run is asked for once: if it fails, after the retries the instance gives it, the scene stays where it is until
    its spec or an upstream asset changes, or a person materializes it.
    """
    instance = context.instance
    if (failed := _failed_in_a_row(instance)) is not None:
        message = (
            f"ALERT: the last {BREAKER} runs failed, the newest of them {failed.dagster_run.run_id}: nothing more is "
            "started. Mend the cause, then re-execute one of them: the chain goes on when it succeeds"
        )
        _LOG.error(message)
        return dg.SkipReason(message)
    position = Position(**json.loads(context.cursor)) if context.cursor else Position()
    scenes = position.left or list(dict.fromkeys(_moved(instance, position)))
    engine = transport_engine.open().version
    record = read_record(instance, scenes)
    under_way = _under_way(instance, scenes)
    requests = []
    end = time.monotonic() + SECONDS
    for k, name in enumerate(scenes):
        position.left = scenes[k:]
        if time.monotonic() > end:
            break
        try:
            scene = store.store.scene(name)
        except UserError as error:
            context.log.warning(f"scene {name} is left alone: {error}")
            continue
        load, tags = load_of(instance, name)
        requests += [
            run_request(step, tags)
            for step in next_steps(scene, record, engine, load)
            if not (under_way(step) or _is_asked_for(instance, step))
        ]
    else:
        position.left = []
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(asdict(position)))


def _is_asked_for(instance: dg.DagsterInstance, step: Step) -> bool:
    """Return whether a source's sensor or a schedule registered the scene just now, and asks for this run itself."""
    return step.asset == "receptors" and time.time() - registered_by_source(instance, step.scene) < HANDS_OFF


def run_request(step: Step, tags: dict[str, str]) -> dg.RunRequest:
    """Return the request of a step's run: the same key as long as nothing has changed."""
    return dg.RunRequest(
        run_key=step.key,
        job_name=JOB_OF[step.asset].name,
        asset_selection=[dg.AssetKey(step.asset)],
        tags={**tags, **step.partition, SCENE_TAG: step.scene, ASSET_TAG: step.asset, CHAIN_TAG: "carry_on"},
    )


def _moved(instance: dg.DagsterInstance, position: Position) -> Iterator[str]:
    """Yield the scenes to look at, and move the position past them."""
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), after_storage_id=position.registered)
    for event in instance.fetch_observations(query, limit=REGISTERED, ascending=True).records:
        position.registered = event.storage_id
        if event.partition_key:
            yield event.partition_key
    since = datetime.fromtimestamp(position.finished, UTC) - _OVERLAP if position.finished else None
    done = RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=since)
    for run in instance.get_run_records(done, limit=FINISHED, order_by="update_timestamp", ascending=True):
        position.finished = max(position.finished, run.update_timestamp.timestamp())
        if scene := scene_of_run(run.dagster_run):
            yield scene
    page = instance.get_paginated_dynamic_partitions("scenes", IN_TURN, ascending=True, cursor=position.turn or None)
    position.turn = page.cursor if page.has_more else ""
    yield from page.results


def scene_of_run(run: dg.DagsterRun) -> str:
    """Return the scene a run was of; empty if none."""
    names = (SCENE_TAG, "dagster/partition", "dagster/asset_partition_range_start")
    return next((run.tags[name].partition("|")[0] for name in names if name in run.tags), "")


def _under_way(instance: dg.DagsterInstance, scenes: list[str]) -> Callable[[Step], bool]:
    """Return what tells whether a step is under way: part of a run that is not over, or of a backfill to come."""
    tags: dict[str, str | list[str]] = {SCENE_TAG: scenes}
    runs = instance.get_runs(RunsFilter(statuses=NOT_FINISHED_STATUSES, tags=tags)) if scenes else []
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
    """Return the scenes and assets of backfills under way."""
    found: set[tuple[str, str]] = set()
    for backfill in instance.get_backfills(status=BulkActionStatus.REQUESTED):
        data = backfill.asset_backfill_data
        for asset in data.target_subset.asset_keys if data else ():
            subset = data.target_subset.get_partitions_subset(asset)
            name = asset.to_user_string()
            found |= {(key.partition("|")[0], name) for key in subset.get_partition_keys()}
    return found


def _failed_in_a_row(instance: dg.DagsterInstance) -> RunRecord | None:
    """Return the newest of the chain's runs if so many failed in a row, whatever scene they were of, else None."""
    over = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    records = instance.get_run_records(RunsFilter(statuses=over, tags={CHAIN_TAG: "carry_on"}), limit=BREAKER)
    failed = [r for r in records if r.dagster_run.status is dg.DagsterRunStatus.FAILURE]
    return failed[0] if len(failed) == BREAKER else None


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING if is_automatic() else dg.DefaultSensorStatus.STOPPED,
    description="Logs an error line that starts with ALERT when a scene stops: its run failed and is not retried.",
)
def alert(context: dg.RunFailureSensorContext) -> None:
    """Say which scene stopped where, and why, for whatever watches the logs."""
    run = context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return
    asset = run.tags.get(ASSET_TAG, run.job_name)
    message = (
        f"ALERT: scene {scene_of_run(run) or '-'} stopped at {asset}, run {run.run_id}: {context.failure_event.message}"
    )
    context.log.error(message)
    _LOG.error(message)


SENSORS = (carry_on, alert)
