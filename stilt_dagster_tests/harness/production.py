"""Production on this machine: ``deploy/dagster.yaml`` on a real control plane, Postgres and object storage.

Webserver and daemon run as processes with the rights of their own service account; every run is a pod of the node.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.gcs import GcsServer
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.process_node import ProcessNode
from stilt_dagster_tests.harness.processes import Process, free_ports, wait_for

NAMESPACE, BUCKET, IMAGE = "stilt", "stilt-test", "stilt-dagster:test"

_WORKSPACE = ("-w", str(ROOT / "workspace.yaml"))

#: The job each asset is part of.
_JOBS = {
    "receptors": "prepare",
    "meteorology_aggregate": "prepare",
    "trajectories": "simulate",
    "footprints": "simulate",
    "jacobian": "assemble",
}

#: What the daemon may do in its namespace, and nothing else.
RULES = [
    {"apiGroups": ["batch"], "resources": ["jobs", "jobs/status"], "verbs": ["create", "get", "list", "delete"]},
    {"apiGroups": [""], "resources": ["pods", "pods/log", "events"], "verbs": ["get", "list", "delete"]},
]

RUNS = """
query Runs($filter: RunsFilter) {
  runsOrError(filter: $filter, limit: 2000) { ... on Runs { results {
    runId status startTime endTime assetSelection { path } tags { key value }
  } } }
}"""

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""

BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""

_START_SENSOR = "mutation Start($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
_STOP_SENSOR = "mutation Stop($id: String) { stopSensor(id: $id) { __typename } }"
_SENSOR = (
    "query Sensor($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState { id } } } }"
)

#: Something of the storages of runs, events and sensors.
_EVERY_STORAGE = """{
  runsOrError(limit: 1) { __typename }
  assetsOrError(limit: 1) { ... on AssetConnection { nodes { assetMaterializations(limit: 1) { runId } } } }
  instance { daemonHealth { allDaemonStatuses { healthy } } }
}"""

MESSAGES = """
query Messages($runId: ID!) {
  logsForRun(runId: $runId) { ... on EventConnection { events {
    __typename ... on MessageEvent { message level } ... on RunFailureEvent { error { message } }
    ... on EngineEvent { error { message } } ... on ExecutionStepFailureEvent { error { message cause { message } } }
  } } }
}"""


class Production:
    """A deployment.

    Parameters
    ----------
    directory : Path
        For logs and settings.
    changes : callable, optional
        Changes the settings of ``deploy/dagster.yaml`` in place.
    node : dict, optional
        Options of the node.
    env : dict, optional
        Besides what production sets; for all processes and pods.
    """

    def __init__(
        self,
        directory: Path,
        changes: Callable[[dict[str, Any]], None] = lambda settings: None,
        node: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._changes = changes
        self._node = {"cpu": "8", **(node or {})}
        self._extra = env or {}
        self._stack = ExitStack()
        self._daemon: Process | None = None

    def __enter__(self) -> Production:
        try:
            return self._start()
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _start(self) -> Production:
        self.plane = self._stack.enter_context(ControlPlane(self.directory / "plane"))
        self.gcs = self._stack.enter_context(GcsServer(BUCKET))
        self.postgres = self._stack.enter_context(Postgres())
        self.node = self._stack.enter_context(
            ProcessNode(
                self.plane.kubeconfig,
                images={IMAGE},
                labels={"cloud.google.com/gke-spot": "true"},
                directory=self.directory / "node",
                **self._node,
            )
        )
        api = self.plane.client()
        self.core, self.batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self.rbac = client.RbacAuthorizationV1Api(api)
        self.settings = {
            "STILT_STORE": f"gs://{BUCKET}/store",
            "STILT_BUCKET": BUCKET,
            "STILT_IMAGE": IMAGE,
            "STILT_NAMESPACE": NAMESPACE,
            "STILT_MAX_CORES": "8",
            "STILT_AUTOMATION": "off",
            "STORAGE_EMULATOR_HOST": self.gcs.url,
            **{k: v for k, v in self.postgres.env.items() if not k.endswith("PASSWORD")},
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            **self._extra,
        }
        self._make_namespace()
        kubeconfig = self.plane.kubeconfig_for(NAMESPACE, "stilt-daemon")
        self.home = self.directory / "home"
        self.home.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "DAGSTER_HOME": str(self.home),
            **self.settings,
            **self.postgres.env,
        }
        self._write_settings(kubeconfig)
        self.port = free_ports(1)[0]
        self._process("webserver", ["-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port), *_WORKSPACE])
        wait_for("the webserver", self._answers, 120)
        self.start_daemon()
        return self

    def _process(self, name: str, arguments: list[str]) -> Process:
        process = Process([sys.executable, *arguments], self.directory / f"{name}.log", cwd=ROOT, env=self.env)
        self._stack.callback(process.stop)
        return process

    def start_daemon(self) -> None:
        """Start the daemon."""
        self._daemon = self._process("daemon", ["-m", "dagster._daemon", "run", *_WORKSPACE])

    def kill_daemon(self) -> None:
        """Kill the daemon, as when its pod is lost."""
        assert self._daemon is not None
        self._daemon.kill()

    def _make_namespace(self) -> None:
        self.core.create_namespace({"metadata": {"name": NAMESPACE}})
        for account in ("stilt-daemon", "stilt-run"):
            self.core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": account}})
        self.rbac.create_namespaced_role(NAMESPACE, {"metadata": {"name": "stilt-daemon"}, "rules": RULES})
        subject = {"kind": "ServiceAccount", "name": "stilt-daemon", "namespace": NAMESPACE}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "stilt-daemon"}
        binding = {"metadata": {"name": "stilt-daemon"}, "subjects": [subject], "roleRef": role}
        self.rbac.create_namespaced_role_binding(NAMESPACE, binding)
        data = {"metadata": {"name": "stilt-settings"}, "data": self.settings}
        self.core.create_namespaced_config_map(NAMESPACE, data)
        password = {"DAGSTER_POSTGRES_PASSWORD": self.postgres.env["DAGSTER_POSTGRES_PASSWORD"]}
        self.core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "stilt-postgres"}, "stringData": password})

    def _write_settings(self, kubeconfig: Path) -> None:
        """Write ``deploy/dagster.yaml`` with what differs on one machine: how to reach the API, and less patience."""
        settings = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
        launcher = settings["run_launcher"]["config"]
        launcher |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
        settings["run_coordinator"]["config"]["dequeue_interval_seconds"] = 1
        settings["run_monitoring"] |= {"poll_interval_seconds": 2, "start_timeout_seconds": 60}
        self._changes(settings)
        text = yaml.safe_dump(settings)
        (self.home / "dagster.yaml").write_text(text)
        data = {"metadata": {"name": "stilt-dagster-instance"}, "data": {"dagster.yaml": text}}
        self.core.create_namespaced_config_map(NAMESPACE, data)

    def _answers(self) -> bool:
        try:
            return bool(self.query("{ version }"))
        except (OSError, urllib.error.URLError):
            return False

    def cli(self, *arguments: object) -> str:
        """Run ``stilt-dagster`` as an operator does."""
        from subprocess import run

        command = [sys.executable, "-m", "stilt_dagster.cli", *map(str, arguments)]
        done = run(command, env=self.env, cwd=self.directory, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def query(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the webserver's GraphQL."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        url = f"http://127.0.0.1:{self.port}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
        assert "errors" not in found, found["errors"]
        return found["data"]

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
        launched = self.query(LAUNCH, {"params": params})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, scenes: list[str], assets: tuple[str, ...] = tuple(_JOBS)) -> str:
        """Materialize assets of scenes, as the UI's backfill does; return the backfill's id."""
        by_scene = {"ranges": [{"start": s, "end": s} for s in scenes]}
        by_shard = {"ranges": [{"start": f"{s}|00", "end": f"{s}|15"} for s in scenes]}
        sharded = {"trajectories", "footprints"}
        wanted = [{"assetKey": {"path": [a]}, "partitions": by_shard if a in sharded else by_scene} for a in assets]
        launched = self.query(BACKFILL, {"params": {"partitionsByAssets": wanted}})["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def runs(self, **conditions: Any) -> list[dict[str, Any]]:
        """Return runs, newest first; their tags as a mapping."""
        found = self.query(RUNS, {"filter": conditions})["runsOrError"]["results"]
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
        events = self.query(MESSAGES, {"runId": run_id})["logsForRun"]["events"]
        return [text for e in events for text in (e.get("message"), (e.get("error") or {}).get("message")) if text]

    def cancel(self, run_id: str) -> None:
        """Cancel a run, as the UI's button does."""
        self.query(f'mutation {{ terminateRun(runId: "{run_id}") {{ __typename }} }}')

    def job_of(self, run_id: str) -> Any:
        """Return a run's Job, or None."""
        jobs = self.batch.list_namespaced_job(NAMESPACE, label_selector=f"dagster/run-id={run_id}").items
        return jobs[0] if jobs else None

    def pod_of(self, run_id: str, timeout: float = 60) -> str:
        """Wait for a run's running pod; return its name."""

        def find() -> str | None:
            pods = self.core.list_namespaced_pod(NAMESPACE, label_selector=f"dagster/run-id={run_id}").items
            return next((p.metadata.name for p in pods if p.status.phase == "Running"), None)

        return wait_for(f"a pod of run {run_id}", find, timeout)

    def objects(self, prefix: str) -> dict[str, str]:
        """Return the store's objects below a prefix, and the generation of each."""
        url = f"{self.gcs.url}/storage/v1/b/{BUCKET}/o?prefix=store/{prefix}&maxResults=5000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            items = json.load(answer).get("items", [])
        return {item["name"].removeprefix("store/"): item["generation"] for item in items}

    def fetch(self, name: str, path: Path) -> Path:
        """Copy an object of the store."""
        quoted = urllib.parse.quote(f"store/{name}", safe="")
        with urllib.request.urlopen(f"{self.gcs.url}/storage/v1/b/{BUCKET}/o/{quoted}?alt=media", timeout=60) as answer:
            path.write_bytes(answer.read())
        return path

    def left_over(self) -> list[str]:
        """Return pods that are not over, once the last have had a moment to be."""
        over = ("Succeeded", "Failed")

        def active() -> list[str]:
            pods = self.core.list_namespaced_pod(NAMESPACE).items
            return [p.metadata.name for p in pods if p.status.phase not in over]

        for _ in range(100):
            if not active():
                return []
            time.sleep(0.1)
        return active()

    def switch(self, sensor: str, on: bool) -> None:
        """Turn a sensor on or off."""
        selector = {"repositoryLocationName": "stilt_dagster", "repositoryName": "__repository__", "sensorName": sensor}
        if on:
            self.query(_START_SENSOR, {"s": selector})
            return
        state = self.query(_SENSOR, {"s": selector})["sensorOrError"]["sensorState"]["id"]
        self.query(_STOP_SENSOR, {"id": state})

    def wake(self) -> None:
        """Have the webserver replace connections that a restarted database has cut: one question fails for each."""

        def answers() -> bool:
            try:
                self.query(_EVERY_STORAGE)
            except OSError:
                return False
            return True

        for _ in range(3):
            wait_for("the webserver", answers)
