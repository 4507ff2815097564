"""What Dagster recorded of many scenes, in a few queries: registrations, products, runs that failed or go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import DATA_VERSION_TAG, NOT_FINISHED_STATUSES
from stilt_dagster.kubernetes.run_coverage import coverage, scene_of_run
from stilt_dagster.operations.record import DELETED
from stilt_dagster.operations.run import RUNS
from stilt_dagster.partitions import ASSETS, partition_keys

#: Events read in one query, and failed runs looked at, the newest.
_AT_A_TIME, _FAILED = 500, 5000

#: More partitions than these are not named in a query: all of the asset's are read.
_NAMED = 2000

_MADE, _SEEN = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION


@dataclass(frozen=True)
class Event:
    """A recorded registration or materialization.

    Attributes
    ----------
    time : float
        When, s since 1970.
    version : str
        Of a materialization, what it was made of.
    metadata : mapping
        Its metadata, as plain values.
    """

    time: float
    version: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    def number(self, *names: str) -> float | None:
        """Return a number of the metadata, of the first of some names it has; None if it has none of them."""
        value = next((self.metadata[name] for name in names if name in self.metadata), None)
        return float(value) if isinstance(value, (int, float)) else None

    def json(self, name: str) -> dict[str, object]:
        """Return what the metadata holds as JSON; nothing if there is nothing, or it is damaged."""
        try:
            found = json.loads(str(self.metadata.get(name, "{}")))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Failed:
    """A run that failed.

    Attributes
    ----------
    run : str
        Its id.
    scene : str
        The scene.
    assets : tuple of str
        What it was to make, in the order they build on each other.
    ended : float
        When, s since 1970.
    """

    run: str
    scene: str
    assets: tuple[str, ...]
    ended: float


class Records:
    """What is recorded of some scenes.

    Parameters
    ----------
    instance : DagsterInstance
        Where it is recorded.
    scenes : sequence of str
        The scenes.

    Attributes
    ----------
    registered, finished : dict of str to Event
        By scene: the last registration, and the last materialization of its jacobian.
    """

    def __init__(self, instance: dg.DagsterInstance, scenes: Sequence[str]) -> None:
        self._instance = instance
        self._scenes = frozenset(scenes)
        self._numbers = {asset: self._latest(asset, _MADE) for asset in ASSETS}
        self._registrations = self._latest("receptors", _SEEN)
        self.registered = dict(self._events("receptors", _SEEN, self._registrations))
        made = dict(self._events("jacobian", _MADE, self._numbers["jacobian"]))
        self.finished = {scene: event for scene, event in made.items() if event.version != DELETED}

    def is_newest(self, scene: str) -> bool:
        """Return whether a scene's jacobian was made after all it is made of."""
        inputs = (
            self._numbers[asset].get(key, 0)
            for asset in ASSETS
            if asset not in ("jacobian", "report")
            for key in partition_keys(asset, scene)
        )
        return max(inputs) < self._numbers["jacobian"].get(scene, 0)

    def is_registered_since(self, scene: str) -> bool:
        """Return whether a scene was registered again after its jacobian was made."""
        return self._registrations.get(scene, 0) > self._numbers["jacobian"].get(scene, 0)

    def made(self, asset: str, scene: str) -> Event | None:
        """Return the last materialization of an asset of a scene; of shards, the newest."""
        numbers = {key: self._numbers[asset].get(key, 0) for key in partition_keys(asset, scene)}
        key = max(numbers, key=lambda k: numbers[k])
        return dict(self._events(asset, _MADE, {key: numbers[key]})).get(key) if numbers[key] else None

    def in_progress(self) -> set[str]:
        """Return the scenes of which a run is queued or goes on."""
        runs = self._instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
        return {scene_of_run(run) for run in runs} & self._scenes

    def failed(self) -> Iterator[Failed]:
        """Yield the runs of the scenes that failed, or were canceled, the newest first."""
        query = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
        for record in self._instance.get_run_records(query, limit=_FAILED):
            run = record.dagster_run
            scene = scene_of_run(run)
            if scene in self._scenes:
                assets = coverage(run).assets or dict(RUNS).get(run.job_name, ())
                # One that never started has no end; the time of its last change may be cut to seconds.
                changed = max(record.create_timestamp, record.update_timestamp).timestamp()
                ended = record.end_time or changed
                yield Failed(run.run_id, scene, assets, ended)

    def _latest(self, asset: str, kind: dg.DagsterEventType) -> Mapping[str, int]:
        keys = {key for scene in self._scenes for key in partition_keys(asset, scene)}
        if not keys:
            return {}
        return self._instance.event_log_storage.get_latest_storage_id_by_partition(
            dg.AssetKey(asset), kind, keys if len(keys) <= _NAMED else None
        )

    def _events(self, asset: str, kind: dg.DagsterEventType, numbers: Mapping[str, int]) -> Iterator[tuple[str, Event]]:
        """Yield events by partition, those of the scenes alone."""
        wanted = [number for key, number in numbers.items() if key.partition("|")[0] in self._scenes]
        fetch = self._instance.fetch_materializations if kind is _MADE else self._instance.fetch_observations
        for some in _chunks(wanted):
            query = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), storage_ids=some)
            for record in fetch(query, limit=len(some)).records:
                event = record.asset_materialization or record.asset_observation
                assert event is not None, "it was asked for"
                yield (
                    str(record.partition_key),
                    Event(
                        record.timestamp,
                        (event.tags or {}).get(DATA_VERSION_TAG, ""),
                        {name: value.value for name, value in event.metadata.items()},
                    ),
                )


def failure_reason(instance: dg.DagsterInstance, run: str) -> str:
    """Return in one line why a run failed, as its own page says it."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
    text = ""
    for record in instance.get_records_for_run(run, of_type=kinds, limit=20).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            error = data.error
            while told is None and error is not None and error.cause is not None:
                error = error.cause
            text = told or (error.message if error else "")
            break
        text = text or event.message or ""
    return " ".join(text.split()) or "its run says no reason"


def _chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    some = sorted(numbers)
    for start in range(0, len(some), _AT_A_TIME):
        yield some[start : start + _AT_A_TIME]
