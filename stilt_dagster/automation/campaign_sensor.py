"""The sensor on campaigns: records how far each is, and starts the runs somebody asked for."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field

import dagster as dg

from stilt_dagster.automation.due import next_steps
from stilt_dagster.automation.in_progress import steps_in_progress
from stilt_dagster.automation.run_requests import run_request
from stilt_dagster.jobs import assemble, prepare, simulate
from stilt_dagster.kubernetes.run_coverage import CAMPAIGN_TAG, load_of
from stilt_dagster.operations.campaigns.definition import Campaign, load_campaigns
from stilt_dagster.operations.campaigns.events import Launch, last_launch, record_progress
from stilt_dagster.operations.campaigns.progress import Progress, campaign_progress
from stilt_dagster.operations.record import read_record
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import UserError

#: Scenes of a campaign whose specs a tick opens, and how long it opens them, s: Dagster ends a tick after 60 s.
SCENES, SECONDS = 100, 20.0

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass
class Cursor:
    """What the sensor has seen.

    Attributes
    ----------
    ended : float
        When the last run seen ended, s since 1970.
    files : dict of str to str
        The state of each campaign's file.
    counts : dict of str to list of int
        Of each campaign: scenes that are done, and that failed, as last recorded.
    turns : dict of str to str
        Of each campaign that was launched: the last scene looked at.
    over : dict of str to int
        Of each campaign: the last launch that has nothing left to start.
    """

    ended: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    turns: dict[str, str] = field(default_factory=dict)
    over: dict[str, int] = field(default_factory=dict)


# It starts nothing by itself, so it runs from the start: what it starts, a person has asked for.
@dg.sensor(
    jobs=[prepare, simulate, assemble],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records how far campaigns are, and starts the runs of those that were launched.",
)
def campaigns(
    context: dg.SensorEvaluationContext, store: StoreResource, transport_engine: TransportEngine
) -> dg.SensorResult | dg.SkipReason:
    """Record the progress of campaigns of which scenes have ended, and ask for what is due of launched ones.

    A campaign is looked at when a run has ended or its file has changed since the last look, or when it is launched.
    """
    instance, place = context.instance, store.store
    cursor = _parse_cursor(context.cursor)
    requests: list[dg.RunRequest] = []
    try:
        files = {name: state for name, state in place.folder("campaigns").states().items() if name.endswith(".yaml")}
        if not files:
            return dg.SkipReason("there are no campaigns")
        engine, ended = transport_engine.expected_version, _last_end(instance)
        is_new = (ended, files) != (cursor.ended, cursor.files)
        for campaign in load_campaigns(place):
            if not isinstance(campaign, Campaign):
                context.log.warning(str(campaign))
                continue
            launch = last_launch(instance, campaign.name)
            if launch is not None and cursor.over.get(campaign.name, 0) >= launch.number:
                launch = None
            if not (is_new or launch):
                continue
            try:
                progress = campaign_progress(instance, place, campaign, engine)
            except UserError as error:
                context.log.warning(f"campaign {campaign.name}: {error}")
                continue
            counts = [progress.counts["done"], progress.counts["failed"]]
            if counts != cursor.counts.get(campaign.name, [0, 0]):
                record_progress(instance, progress)
                cursor.counts[campaign.name] = counts
            if launch is not None:
                requests += _requests(context, place, launch, progress, engine, cursor)
        cursor.ended, cursor.files = ended, files
    except UserError as error:
        return dg.SkipReason(str(error))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "no launched campaign has a run that is due",
        cursor=json.dumps(asdict(cursor)),
    )


def _requests(
    context: dg.SensorEvaluationContext,
    store: Store,
    launch: Launch,
    progress: Progress,
    engine: str,
    cursor: Cursor,
) -> list[dg.RunRequest]:
    """Return the requests of what is due of a launched campaign; move the cursor past the scenes looked at."""
    instance, campaign = context.instance, progress.campaign
    registered = set(instance.get_dynamic_partitions("scenes"))
    left = [
        scene
        for scene in progress.scenes
        if scene.scene in registered.intersection(launch.scenes)
        and scene.state != "done"
        and scene.failed_at < launch.time
    ]
    if not left:
        cursor.over[campaign] = launch.number
        cursor.turns.pop(campaign, None)
        return []
    if _advances(instance):
        # The other sensor asks for all that is due, once; what failed since, it never asks for again.
        left = [scene for scene in left if scene.state == "failed"]
    turn = cursor.turns.get(campaign, "")
    names = sorted((scene.scene for scene in left), key=lambda name: (name <= turn, name))[:SCENES]
    record, in_progress = read_record(instance, names), steps_in_progress(instance, names)
    requests, end = [], time.monotonic() + SECONDS
    for name in names:
        if time.monotonic() > end:
            break
        cursor.turns[campaign] = name
        try:
            scene = store.scene(name)
        except UserError as error:
            context.log.warning(f"scene {name} is skipped: {error}")
            continue
        load, tags = load_of(instance, name)
        requests += [
            run_request(step, {**tags, CAMPAIGN_TAG: campaign}, "campaigns", f"launch-{launch.number}")
            for step in next_steps(scene, record, engine, load)
            if not in_progress(step)
        ]
    return requests


def _advances(instance: dg.DagsterInstance) -> bool:
    """Return whether the sensor that takes scenes to their jacobians is on."""
    return any(state.is_running for state in instance.all_instigator_state() if state.name == "advance_scenes")


def _last_end(instance: dg.DagsterInstance) -> float:
    """Return when the last run ended, s since 1970; 0 if none has."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_ENDED), limit=1, order_by="update_timestamp")
    return records[0].update_timestamp.timestamp() if records else 0.0


def _parse_cursor(text: str | None) -> Cursor:
    """Return what was seen; where that is not understood it is seen anew, which costs a look."""
    try:
        return Cursor(**json.loads(text)) if text else Cursor()
    except (ValueError, TypeError):
        return Cursor()
