"""Schedules: domains that are run for the newest hour their meteorology has."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from stilt_dagster.automation.due import next_steps
from stilt_dagster.automation.run_requests import run_request
from stilt_dagster.jobs import prepare
from stilt_dagster.kubernetes.dagster_internals import cron_string_iterator, is_valid_cron_string
from stilt_dagster.kubernetes.run_coverage import load_of
from stilt_dagster.operations.campaigns.membership import campaign_tags
from stilt_dagster.operations.record import read_record
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.store import Store
from stilt_dagster.science.costs.budget import BudgetError
from stilt_dagster.science.errors import SceneError, UserError
from stilt_dagster.science.meteorology.sources import SOURCES
from stilt_dagster.science.scenes.loading import parse_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.validation import parse_yaml
from stilt_dagster.settings import deployed_domains, is_automatic

#: How long after an hour it has meteorology, h, where the source does not say so.
_LAG = 48

_CRON = "0 * * * *"


def due_domains(store: Store, now: dt.datetime) -> Iterator[Scene | UserError]:
    """Yield the scene of each domain that is due at an hour; of one that is not usable, its error.

    A domain is ``domains/<name>.yaml`` in the store, or a file of the deployment's ``STILT_DOMAINS``, which goes before
    one of that name in the store: a stiltctl domain file, or a scene without a time, with ``cron`` (UTC, every hour by
    default) and ``lag_hours`` if it likes.

    Parameters
    ----------
    store : Store
        The store.
    now : datetime
        UTC; scenes are of its hour, less the archive's publication lag.
    """
    hour = now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    folders = [store.folder("domains"), *([Folder.of(Path(deployed))] if (deployed := deployed_domains()) else [])]
    found = {name: folder for folder in folders for name in folder.names() if name.endswith((".yaml", ".yml"))}
    for name, folder in sorted(found.items()):
        where = f"domains/{name}"
        try:
            data = parse_yaml(folder.read(name) or "", where, "a domain", SceneError)
            cron, lag = data.pop("cron", _CRON), data.pop("lag_hours", None)
            if not isinstance(cron, str) or not is_valid_cron_string(cron):
                raise SceneError(f"{where}: cron {cron!r} is no cron line, such as '0 */6 * * *'")
            if next(cron_string_iterator(hour.timestamp(), cron, "UTC")) != hour:
                continue
            if lag is None:
                met = data.get("meteorology")
                source = data.get("meteorology_model") or (met.get("source") if isinstance(met, dict) else None)
                lag = _publication_lag(source)
            if isinstance(lag, bool) or not isinstance(lag, (int, float)) or not 0 <= lag <= 24 * 366:
                raise SceneError(f"{where}: lag_hours must be a number of hours (got {lag!r})")
            if data.get("time") is not None:
                raise SceneError(f"{where}: time: a domain has none, it is run for the newest hour: remove it")
            data["time"] = (hour - dt.timedelta(hours=lag)).replace(minute=0).isoformat()
            yield parse_scene(data, where, None, name.rsplit(".", 1)[0])
        except UserError as error:
            yield error


def _publication_lag(source: object) -> int:
    """Return how long after an hour a source has it, h; of several, all of them."""
    known = [SOURCES.get(str(name)) for name in (source if isinstance(source, list) else [source])]
    return max((_LAG if s is None or s.publication_lag is None else s.publication_lag for s in known), default=_LAG)


@dg.schedule(
    cron_schedule=_CRON,
    execution_timezone="UTC",
    job=prepare,
    default_status=dg.DefaultScheduleStatus.RUNNING if is_automatic() else dg.DefaultScheduleStatus.STOPPED,
    description="Registers a scene of each domain that is due, for the newest hour its meteorology has.",
)
def domains(
    context: dg.ScheduleEvaluationContext, store: StoreResource, transport_engine: TransportEngine
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Register the scenes of domains, and ask for their first runs."""
    instance, skipped, asked = context.instance, [], 0
    try:
        tags_of_campaign = campaign_tags(store.store)
        for scene in due_domains(store.store, context.scheduled_execution_time):
            if isinstance(scene, UserError):
                skipped.append(str(scene))
                context.log.error(str(scene))
                continue
            try:
                register_scene(instance, store.store, scene, source="domains")
            except (SceneError, BudgetError) as error:
                skipped.append(str(error))
                continue
            load, tags = load_of(instance, scene.id)
            record = read_record(instance, [scene.id])
            for step in next_steps(scene, record, transport_engine.expected_version, load):
                if step.asset == "receptors":
                    asked += 1
                    yield run_request(step, {**tags, **tags_of_campaign(scene.id)})
    except UserError as error:
        skipped.append(str(error))
    if not asked:
        yield dg.SkipReason("; ".join(skipped) or "no domain is due")
