"""The sensor that takes every registered scene to its jacobian, one asset after the other, without a person."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from stilt_dagster.automation.alerts import ALERTS
from stilt_dagster.automation.due import Step, next_steps
from stilt_dagster.automation.in_progress import scene_of_run, steps_in_progress
from stilt_dagster.automation.run_requests import AUTOMATION_TAG, run_request
from stilt_dagster.jobs import assemble, prepare, simulate
from stilt_dagster.kubernetes.run_coverage import load_of
from stilt_dagster.operations.campaigns.membership import campaign_tags
from stilt_dagster.operations.record import read_record
from stilt_dagster.operations.registration.register import registered_by_source
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.science.errors import UserError
from stilt_dagster.settings import is_automatic

#: Runs that failed in a row before the sensor asks for no more.
BREAKER = 20

#: Scenes a tick looks at: registered since the last, of finished runs since the last, and in turn of all.
REGISTERED, FINISHED, IN_TURN = 100, 200, 25

#: How long a scene's first run is left to the sensor or schedule that registered it, s.
FIRST_RUN_LEFT_TO_SOURCE = 600.0

#: How long a tick looks at scenes: Dagster ends it after 60 s, and a scene of 100,000 receptors takes two.
SECONDS = 20.0

#: Runs whose end was recorded a moment late are looked at twice rather than never.
_OVERLAP = timedelta(seconds=10)


@dataclass
class Cursor:
    """How far the sensor has looked.

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
    description="Takes every registered scene to its jacobian: a run for each asset, several for large scenes.",
)
def advance_scenes(
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
            "started. Fix the cause, then re-execute one of them: automation goes on when it succeeds"
        )
        ALERTS.error(message)
        return dg.SkipReason(message)
    cursor = _parse_cursor(context.cursor)
    scenes = cursor.left or list(dict.fromkeys(_scenes_to_look_at(instance, cursor)))
    engine = transport_engine.expected_version
    record = read_record(instance, scenes)
    in_progress = steps_in_progress(instance, scenes)
    tags_of_campaign = campaign_tags(store.store)
    requests = []
    end = time.monotonic() + SECONDS
    for k, name in enumerate(scenes):
        cursor.left = scenes[k:]
        if time.monotonic() > end:
            break
        if not instance.has_dynamic_partition("scenes", name):
            continue  # its partition was deleted: it is no scene until it is registered again
        try:
            scene = store.store.scene(name)
        except UserError as error:
            context.log.warning(f"scene {name} is skipped: {error}")
            continue
        load, tags = load_of(instance, name)
        requests += [
            run_request(step, {**tags, **tags_of_campaign(name)})
            for step in next_steps(scene, record, engine, load)
            if not (in_progress(step) or _is_asked_for(instance, step))
        ]
    else:
        cursor.left = []
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(asdict(cursor)))


def _parse_cursor(text: str | None) -> Cursor:
    """Return where the last look ended; one that is not understood begins anew, which costs only looks."""
    try:
        return Cursor(**json.loads(text)) if text else Cursor()
    except (ValueError, TypeError):
        return Cursor()


def _is_asked_for(instance: dg.DagsterInstance, step: Step) -> bool:
    """Return whether a source's sensor or a schedule registered the scene just now, and asks for this run itself."""
    return (
        step.asset == "receptors"
        and time.time() - registered_by_source(instance, step.scene) < FIRST_RUN_LEFT_TO_SOURCE
    )


def _scenes_to_look_at(instance: dg.DagsterInstance, cursor: Cursor) -> Iterator[str]:
    """Yield the scenes to look at, and move the cursor past them."""
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), after_storage_id=cursor.registered)
    for event in instance.fetch_observations(query, limit=REGISTERED, ascending=True).records:
        cursor.registered = event.storage_id
        if event.partition_key:
            yield event.partition_key
    since = datetime.fromtimestamp(cursor.finished, UTC) - _OVERLAP if cursor.finished else None
    done = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=since)
    for run in instance.get_run_records(done, limit=FINISHED, order_by="update_timestamp", ascending=True):
        cursor.finished = max(cursor.finished, run.update_timestamp.timestamp())
        if scene := scene_of_run(run.dagster_run):
            yield scene
    page = instance.get_paginated_dynamic_partitions("scenes", IN_TURN, ascending=True, cursor=cursor.turn or None)
    cursor.turn = page.cursor if page.has_more else ""
    yield from page.results


def _failed_in_a_row(instance: dg.DagsterInstance) -> dg.RunRecord | None:
    """Return the newest of the sensor's runs if so many failed in a row, whatever scene they were of, else None."""
    over = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    records = instance.get_run_records(
        dg.RunsFilter(statuses=over, tags={AUTOMATION_TAG: "advance_scenes"}), limit=BREAKER
    )
    failed = [r for r in records if r.dagster_run.status is dg.DagsterRunStatus.FAILURE]
    return failed[0] if len(failed) == BREAKER else None
