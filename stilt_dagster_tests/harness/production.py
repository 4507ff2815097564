"""Production on this machine: ``deploy/chart`` on a real control plane, and what it stands on (`surroundings`).

What the chart renders is applied, changed only where one machine differs: how pods find each other and the API, and
how long is waited. Webserver, daemon, code server and every run are pods of the node, each with its own rights.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from stilt_dagster.kubernetes.ready import ask
from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.gcs import GcsServer
from stilt_dagster_tests.harness.helm import render
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.process_node import ProcessNode
from stilt_dagster_tests.harness.processes import free_ports, wait_for
from stilt_dagster_tests.harness.surroundings import BUCKET, IMAGE, NAMESPACE, Google, Plain
from stilt_dagster_tests.harness.webserver import Refused, Webserver

__all__ = ["BUCKET", "IMAGE", "NAMESPACE", "Plain", "Production", "Refused"]

#: Something of the storage of runs, and of those of events and of sensors.
_SOME_RUN = "{ answer: runsOrError(limit: 1) { __typename ... on Error { message } } }"
_OTHER_STORAGES = """{
  answer: assetsOrError(limit: 1) {
    __typename ... on Error { message } ... on AssetConnection { nodes { assetMaterializations(limit: 1) { runId } } }
  }
  instance { daemonHealth { allDaemonStatuses { healthy } } }
}"""


class Production(Webserver):
    """A deployment.

    Parameters
    ----------
    directory : Path
        For logs and settings.
    changes : callable, optional
        Changes the instance's settings, those of ``deploy/chart/dagster.yaml``, in place.
    node : dict, optional
        Options of the node.
    max_cores : int, optional
        Cores of runs in progress, all together.
    surroundings : Google or Plain, optional
        What it stands on; Google's bucket, and a Postgres.
    """

    def __init__(
        self,
        directory: Path,
        changes: Callable[[dict[str, Any]], None] = lambda settings: None,
        node: dict[str, Any] | None = None,
        max_cores: int = 8,
        surroundings: Google | Plain | None = None,
    ) -> None:
        port, self._code_port = free_ports(2)
        super().__init__(port)
        self.directory = directory
        self._changes = changes
        self._node = {"cpu": "9", **(node or {})}  # 8 for runs, one for what stays
        self._max_cores = max_cores
        self._around = surroundings or Google()
        self._stack = ExitStack()

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
        self._around.start(self._stack, self.directory)
        self.node = self._stack.enter_context(
            ProcessNode(
                self.plane.kubeconfig,
                images=self._around.images,
                labels=self._around.labels,
                env={"PATH": self._around.path(), "HOME": os.environ.get("HOME", "/")},
                directory=self.directory / "node",
                **self._node,
            )
        )
        api = self.plane.client()
        self.core, self.batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self.rbac = client.RbacAuthorizationV1Api(api)
        objects = self._rendered()
        self.settings = next(o["data"] for o in objects if o["metadata"]["name"] == "stilt-settings")
        self.core.create_namespace({"metadata": {"name": NAMESPACE}})
        self._around.prepare(self.core)
        resources = DynamicClient(api).resources
        # Helm applies kinds in an order of its own too: what others need comes first.
        for manifest in sorted(objects, key=lambda o: o["kind"] == "Deployment"):
            if manifest["kind"] == "Deployment":
                self._localise(manifest)
            resource = resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
            resource.create(manifest, namespace=NAMESPACE if resource.namespaced else None)
        for hook in self.hooks:
            self._localise(hook)
        self.home = self.directory / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(self._instance)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "DAGSTER_HOME": str(self.home),
            **self.settings,
            **self._around.operator(objects),
        }
        wait_for("all of the deployment to be ready", self._is_ready, 240, every=0.5)
        # Ready, by the chart's own probe, means that sensors can be turned on and runs launched.
        reason = ask(f"http://127.0.0.1:{self.port}", timeout=60)
        assert not reason, reason
        return self

    def _rendered(self) -> list[dict[str, Any]]:
        """Return the chart's manifests, with what differs on one machine."""
        values = {
            "automation": False,
            "maxCores": self._max_cores,
            "network": {"apiServer": ["127.0.0.1/32"]},
            "quota": {"memoryPerCore": 200},  # what has no room is to be told so by the scheduler
            "settings": {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            "instance": {
                "run_launcher": {"config": {"load_incluster_config": False}},
                "run_coordinator": {"config": {"dequeue_interval_seconds": 1}},
                "run_monitoring": {"poll_interval_seconds": 2, "start_timeout_seconds": 60},
            },
        }
        rendered = render(*self._around.values(), values, kubernetes="1.20.2")
        self.hooks = [o for o in rendered if "helm.sh/hook" in str(o["metadata"])]  # what Helm runs at an upgrade
        objects = [o for o in rendered if o not in self.hooks]
        for manifest in objects:
            if manifest["metadata"]["name"] == "stilt-dagster-instance":
                settings = yaml.safe_load(manifest["data"]["dagster.yaml"])
                self._changes(settings)
                manifest["data"]["dagster.yaml"] = self._instance = yaml.safe_dump(settings)
            elif manifest["metadata"]["name"] == "stilt-workspace":
                server = {"host": "127.0.0.1", "port": self._code_port, "location_name": "stilt_dagster"}
                manifest["data"]["workspace.yaml"] = yaml.safe_dump({"load_from": [{"grpc_server": server}]})
        return objects

    def _localise(self, manifest: dict[str, Any]) -> None:
        """Give a component ports nobody else has, and, where it has a token, the API by a file."""
        spec = manifest["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        ports = {"0.0.0.0": "127.0.0.1", "3000": str(self.port), "4000": str(self._code_port)}
        container["args"] = [ports.get(word, word) for word in container["args"]]
        if spec["automountServiceAccountToken"]:
            kubeconfig = self.plane.kubeconfig_for(NAMESPACE, spec["serviceAccountName"])
            container["env"] = [*container.get("env", []), {"name": "KUBECONFIG", "value": str(kubeconfig)}]
        if "exec" in (probe := container.get("startupProbe", {})):
            probe["exec"]["command"] = [ports.get(word, word) for word in probe["exec"]["command"]]

    def pod_of_component(self, name: str) -> str:
        """Return the running pod of webserver (``web``), daemon or code server (``code``)."""

        def find() -> str | None:
            selector = f"app.kubernetes.io/name=stilt-dagster,app.kubernetes.io/component={name}"
            pods = self.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
            return next((p.metadata.name for p in pods if p.metadata.name in self.node.running()), None)

        return wait_for(f"the pod of {name}", find, 60)

    def kill_daemon(self) -> None:
        """Kill the daemon's container; the node starts it again."""
        self.node.kill_pod(self.pod_of_component("daemon"))

    def _is_ready(self) -> bool:
        """Return whether every Deployment has as many ready pods as it wants, as `helm --wait` asks."""
        found = client.AppsV1Api(self.core.api_client).list_namespaced_deployment(NAMESPACE).items
        return all((d.status.ready_replicas or 0) >= d.spec.replicas for d in found)

    def cli(self, *arguments: object) -> str:
        """Run ``stilt-dagster`` as an operator does."""
        from subprocess import run

        command = [sys.executable, "-m", "stilt_dagster.cli", *map(str, arguments)]
        done = run(command, env=self.env, cwd=self.directory, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

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

    @property
    def gcs(self) -> GcsServer:
        """The bucket's server, where it stands on Google."""
        assert isinstance(self._around, Google)
        return self._around.gcs

    @property
    def postgres(self) -> Postgres:
        """The database, where it is beside the cluster."""
        assert isinstance(self._around, Google)
        return self._around.postgres

    def objects(self, prefix: str) -> dict[str, str]:
        """Return the store's files below a prefix, and the state of each."""
        return self._around.objects(prefix)

    def fetch(self, name: str, path: Path) -> Path:
        """Copy a file of the store."""
        return self._around.fetch(name, path)

    def left_over(self) -> list[str]:
        """Return pods of runs that are not over, once the last have had a moment to be."""
        over = ("Succeeded", "Failed")

        def active() -> list[str]:
            pods = self.core.list_namespaced_pod(NAMESPACE, label_selector="job-name").items
            return [p.metadata.name for p in pods if p.status.phase not in over]

        for _ in range(100):
            if not active():
                return []
            time.sleep(0.1)
        return active()

    def wake(self) -> None:
        """Have the webserver replace connections that a restarted database has cut: one question fails for each."""

        def answers() -> bool:
            try:
                self.query("Runs", _SOME_RUN)
                self.query("AssetConnection", _OTHER_STORAGES)
            except (OSError, Refused):
                return False
            return True

        for _ in range(3):
            wait_for("the webserver", answers)
