"""A Dagster webserver, asked by GraphQL as its own pages ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from stilt_dagster_tests.harness.processes import wait_for

#: The job each asset is part of.
_JOBS = {
    "receptors": "prepare",
    "meteorology_aggregate": "prepare",
    "trajectories": "simulate",
    "footprints": "simulate",
    "jacobian": "assemble",
    "report": "assemble",
}

RUNS = """
query Runs($filter: RunsFilter) {
  answer: runsOrError(filter: $filter, limit: 2000) { __typename ... on Error { message } ... on Runs { results {
    runId status startTime endTime assetSelection { path } tags { key value }
  } } }
}"""

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  answer: launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""

BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  answer: launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on Error { message }
  }
}"""

CANCEL = """
mutation Cancel($runId: String!) {
  answer: terminateRun(runId: $runId) {
    __typename ... on Error { message } ... on TerminateRunFailure { message }
  }
}"""

_SENSOR = """
query Sensor($s: SensorSelector!) {
  answer: sensorOrError(sensorSelector: $s) {
    __typename ... on Error { message } ... on Sensor { sensorState { id status } }
  }
}"""

_START_SENSOR = """
mutation Start($s: SensorSelector!) {
  answer: startSensor(sensorSelector: $s) {
    __typename ... on Error { message } ... on Sensor { sensorState { status } }
  }
}"""

_STOP_SENSOR = """
mutation Stop($id: String) {
  answer: stopSensor(id: $id) {
    __typename ... on Error { message } ... on StopSensorMutationResult { instigationState { status } }
  }
}"""

MESSAGES = """
query Messages($runId: ID!) {
  answer: logsForRun(runId: $runId) { __typename ... on Error { message } ... on EventConnection { events {
    __typename ... on MessageEvent { message level } ... on RunFailureEvent { error { message } }
    ... on EngineEvent { error { message } } ... on ExecutionStepFailureEvent { error { message cause { message } } }
  } } }
}"""


class Refused(Exception):
    """GraphQL answered with something else than what was asked for; the message says with what."""


class Webserver:
    """What can be done with a webserver of this machine.

    Parameters
    ----------
    port : int
        Where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expected: str, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the webserver's GraphQL, and return what it says.

        Parameters
        ----------
        expected : str
            The type the answer must be of: Dagster reports what it cannot do as an answer of another type.
        query : str
            Its one field, or the one that matters, is named ``answer`` and asks for ``__typename``.
        variables : dict, optional
            Of the query.

        Raises
        ------
        Refused
            If the answer is of another type.
        OSError
            If there is no answer.
        """
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        url = f"http://127.0.0.1:{self.port}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                found = json.load(response)
        except urllib.error.HTTPError as error:
            raise OSError(f"{expected} was asked for: {error}: {error.read().decode(errors='replace')}") from error
        if "errors" in found:
            raise Refused(f"{expected} was asked for: {found['errors']}")
        answer: dict[str, Any] = found["data"]["answer"]
        if answer["__typename"] != expected:
            raise Refused(f"{expected} was asked for: {answer}")
        return answer

    def launch(self, *assets: str, scene: str, shards: tuple[str, str] | None = None, **tags: str) -> str:
        """Materialize assets of a scene in one run, as the UI's button does; return the run's id."""
        job = _JOBS[assets[0]]
        where = {"dagster/partition": scene}
        if job == "simulate":
            first, last = shards or ("00", "15")
            where = {
                "dagster/asset_partition_range_start": f"{scene}|{first}",
                "dagster/asset_partition_range_end": f"{scene}|{last}",
            }
        params = {
            "selector": {
                "repositoryLocationName": "stilt_dagster",
                "repositoryName": "__repository__",
                "jobName": job,
                "assetSelection": [{"path": [asset]} for asset in assets],
            },
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in {**where, **tags}.items()]},
        }
        return str(self.query("LaunchRunSuccess", LAUNCH, {"params": params})["run"]["runId"])

    def backfill(self, scenes: list[str], assets: tuple[str, ...] = tuple(_JOBS)) -> str:
        """Materialize assets of scenes, as the UI's backfill does; return the backfill's id."""
        by_scene = {"ranges": [{"start": s, "end": s} for s in scenes]}
        by_shard = {"ranges": [{"start": f"{s}|00", "end": f"{s}|15"} for s in scenes]}
        sharded = {"trajectories", "footprints"}
        wanted = [{"assetKey": {"path": [a]}, "partitions": by_shard if a in sharded else by_scene} for a in assets]
        params = {"partitionsByAssets": wanted}
        return str(self.query("LaunchBackfillSuccess", BACKFILL, {"params": params})["backfillId"])

    def runs(self, **conditions: Any) -> list[dict[str, Any]]:
        """Return runs, newest first; their tags as a mapping."""
        found: list[dict[str, Any]] = self.query("Runs", RUNS, {"filter": conditions})["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
            run["assets"] = [key["path"][-1] for key in run["assetSelection"] or []]
        return found

    def run(self, run_id: str) -> dict[str, Any]:
        """Return one run."""
        (found,) = self.runs(runIds=[run_id])
        return found

    def wait_run(self, run_id: str, *statuses: str, timeout: float = 180) -> dict[str, Any]:
        """Wait until a run is in one of some states; return it."""
        wanted = statuses or ("SUCCESS", "FAILURE", "CANCELED")

        def ready() -> dict[str, Any] | None:
            run = self.run(run_id)
            return run if run["status"] in wanted else None

        return wait_for(f"run {run_id} to be {wanted}", ready, timeout)

    def messages(self, run_id: str) -> list[str]:
        """Return what a run's page says."""
        events = self.query("EventConnection", MESSAGES, {"runId": run_id})["events"]
        return [text for e in events for text in (e.get("message"), (e.get("error") or {}).get("message")) if text]

    def cancel(self, run_id: str) -> None:
        """Cancel a run, as the UI's button does."""
        self.query("TerminateRunSuccess", CANCEL, {"runId": run_id})

    def switch(self, sensor: str, on: bool) -> None:
        """Turn a sensor on or off."""
        selector = {"repositoryLocationName": "stilt_dagster", "repositoryName": "__repository__", "sensorName": sensor}
        if on:
            state = self.query("Sensor", _START_SENSOR, {"s": selector})["sensorState"]
        else:
            running = self.query("Sensor", _SENSOR, {"s": selector})["sensorState"]["id"]
            state = self.query("StopSensorMutationResult", _STOP_SENSOR, {"id": running})["instigationState"]
        assert state["status"] == ("RUNNING" if on else "STOPPED"), state
