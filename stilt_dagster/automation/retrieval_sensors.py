"""Sensors on new retrievals: one a source, which registers scenes of what landed and asks for their first runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import dagster as dg

from stilt_dagster.automation.due import next_steps
from stilt_dagster.automation.external_assets import is_code_server
from stilt_dagster.automation.run_requests import run_request
from stilt_dagster.jobs import prepare
from stilt_dagster.kubernetes.run_coverage import load_of
from stilt_dagster.operations.campaigns.membership import campaign_tags
from stilt_dagster.operations.ingest.scan import scan
from stilt_dagster.operations.ingest.sources import Source, load_sources
from stilt_dagster.operations.record import read_record
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.resources.granules import stamp
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import UserError
from stilt_dagster.science.validation import without_query
from stilt_dagster.settings import is_automatic

#: How long a tick begins new files: Dagster ends it after 60 s, and an orbit takes ten.
SECONDS = 25.0

_LINES = 10
_LOG = logging.getLogger("stilt_dagster")


def retrieval_sensors(url: str) -> list[dg.SensorDefinition]:
    """Return a sensor for each source of a store, when a code server asks for the code location.

    Run pods and the command line need none, and do not read the store for them. A source that is not usable is left
    out, and said so.
    """
    if not is_code_server():
        return []
    try:
        sources = list(load_sources(Store(url)))
    except UserError as error:
        _LOG.error("sources of retrievals are not watched: %s", error)
        return []
    for source in sources:
        if isinstance(source, UserError):
            _LOG.error("a source of retrievals is not watched: %s", source)
    return [build_retrieval_sensor(source) for source in sources if isinstance(source, Source)]


def build_retrieval_sensor(source: Source) -> dg.SensorDefinition:
    """Return the sensor of a source."""

    @dg.sensor(
        name=f"retrievals_{source.name.replace('-', '_')}",
        job=prepare,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING if is_automatic() else dg.DefaultSensorStatus.STOPPED,
        description=f"Makes scenes of {source.product} granules that land in {without_query(source.uri)}.",
    )
    def watch(
        context: dg.SensorEvaluationContext, store: StoreResource, transport_engine: TransportEngine
    ) -> dg.SensorResult | dg.SkipReason:
        instance, place = context.instance, store.store

        def started(scenes: Sequence[str]) -> set[str]:
            return set(read_record(instance, scenes)["receptors"]) if scenes else set()

        try:
            found = scan(
                instance, place, source, seconds=SECONDS, max_scenes=source.max_scenes, started=started, by_sensor=True
            )
        except UserError as error:
            return dg.SkipReason(f"source {source.name}: {error}")
        for line in found.lines()[:_LINES]:
            context.log.info(line)
        if (more := len(found.lines()) - _LINES) > 0:
            context.log.info(f"and {more} more")
        due = list(dict.fromkeys([*found.new, *found.replaced, *found.unrequested]))
        record, engine = read_record(instance, due), transport_engine.expected_version
        requests, tags_of_campaign = [], campaign_tags(place)
        for name in due:
            load, tags = load_of(instance, name)
            steps = next_steps(place.scene(name), record, engine, load)
            tags = {**tags, **tags_of_campaign(name)}
            requests += [run_request(step, tags) for step in steps if step.asset == "receptors"]
        cursor = {"modified": stamp(found.newest[0]), "key": found.newest[1]} if found.newest[1] else None
        if not requests:
            return dg.SkipReason("; ".join([found.summary(), *found.lines()[:_LINES]]))
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor) if cursor else context.cursor)

    return watch
