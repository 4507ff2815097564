"""A node whose pods are local processes: it plays the kubelet on a real control plane.

Pods bound to it are run, reported, ended and removed as a kubelet does it, and it can be made to fail as nodes fail.
Not played: several containers, volumes other than in `containers`, limits of any resource (the scheduler packs by
requests), names or addresses of services, and probes but for a start-up probe that runs a command: what has started is
ready.

In Kubernetes 1.20 the Job controller makes a new pod for one that was deleted, whatever the Job's ``backoffLimit``;
from 1.26 on, it counts a deleted pod as failed. So the faults below leave a pod *Failed* before its object goes, which
also is what today's pod garbage collector and a node's graceful shutdown do. To delete a Job's pod through the API is
to ask 1.20 for another.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from stilt_dagster_tests.harness.containers import Command, NotYet, Resolver
from stilt_dagster_tests.harness.kubelet_api import KubeletApi
from stilt_dagster_tests.harness.processes import Process, wait_for

_TIMEOUT = (3, 20)
_HEARTBEAT = 5.0
_OUTAGE = (urllib3.exceptions.HTTPError, OSError, ValueError)

Object = dict[str, Any]


@dataclass(frozen=True)
class _Fault:
    """Why a pod ends other than by itself, as its status has it."""

    container_reason: str | None = None
    reason: str | None = None
    message: str | None = None


_SHUTDOWN = _Fault(None, "Terminated", "Pod was terminated in response to imminent node shutdown.")


class ProcessNode:
    """A node of a cluster.

    Parameters
    ----------
    kubeconfig : Path
        An administrator's.
    name : str, optional
        Its name.
    cpu, memory, ephemeral : str, optional
        What it declares to have, as quantities.
    labels : mapping, optional
        Besides those of system, architecture and host.
    taints : collection of dict, optional
        Its taints, as the API takes them.
    images : collection of str, optional
        Images it can pull; any by default. `images` may be changed later, and waiting pods are tried again.
    env : mapping, optional
        What images bring as environment; PATH, with this interpreter first, and HOME by default.
    directory : Path, optional
        Where logs and volumes are made; a temporary one by default.
    """

    def __init__(
        self,
        kubeconfig: Path,
        name: str = "node-1",
        cpu: str = "8",
        memory: str = "32Gi",
        ephemeral: str = "100Gi",
        labels: Mapping[str, str] | None = None,
        taints: Collection[Mapping[str, str]] = (),
        *,
        images: Collection[str] | None = None,
        env: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self._kubeconfig = kubeconfig
        self.images = None if images is None else set(images)
        self._api = _Api(kubeconfig)
        self._resources = {"cpu": cpu, "memory": memory, "ephemeral-storage": ephemeral, "pods": "500"}
        own = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": name}
        self._labels = {**own, **(labels or {})}
        self._taints = [dict(taint) for taint in taints]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self._env = {"PATH": path, "HOME": os.environ.get("HOME", "/")} if env is None else dict(env)
        self._temporary = directory is None
        self.directory = (directory or Path(tempfile.mkdtemp(prefix=f"{name}-"))).resolve()
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        self._pods: dict[str, _Pod] = {}
        self._server = KubeletApi(self.directory, self.log_file, self._runs)

    def __enter__(self) -> ProcessNode:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> ProcessNode:
        """Register it, and wait until the scheduler may use it."""
        self._server.start()
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": self._labels}}
        self._api.core.create_node(node)
        self._beat()
        self._api.core.patch_node(self.name, {"spec": {"taints": self._taints}})
        for work in (self._beat_on, self._follow):
            threading.Thread(target=work, name=f"{self.name}{work.__name__}", daemon=True).start()
        wait_for(f"node {self.name}", self._schedulable)
        return self

    def stop(self) -> None:
        """Kill what runs on it and leave the cluster as it is: the end of a test."""
        self._vanish()
        self._server.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def running(self) -> list[str]:
        """Return the names of pods whose process runs."""
        return sorted(pod.name for pod in list(self._pods.values()) if pod.alive())

    def pid(self, pod_name: str) -> int:
        """Return the process id of a running pod."""
        return self._pod(pod_name).process.pid

    def log_file(self, pod_name: str, namespace: str = "default") -> Path:
        """Return the file a pod's output is in; it stays when the pod goes."""
        return self.directory / "logs" / f"{namespace}_{pod_name}.log"

    def log(self, pod_name: str, namespace: str = "default") -> str:
        """Return what a pod has written so far."""
        path = self.log_file(pod_name, namespace)
        return path.read_text(errors="replace") if path.exists() else ""

    def kill_pod(self, pod_name: str) -> None:
        """Kill a pod's processes: exit code 137."""
        self._pod(pod_name).kill(_Fault())

    def oom_kill(self, pod_name: str) -> None:
        """Kill a pod's processes as the kernel does when memory runs out."""
        self._pod(pod_name).kill(_Fault("OOMKilled"))

    def evict(self, pod_name: str, message: str = "The node was low on resource: ephemeral-storage.") -> None:
        """Kill a pod as a node under pressure does: it stays, failed, with reason Evicted."""
        self._pod(pod_name).kill(_Fault(None, "Evicted", message))

    def sigterm_pod(self, pod_name: str, grace: float | None = None) -> None:
        """End a pod with notice, as a node that is to be shut down does: it stays, failed, whatever it exits with.

        Parameters
        ----------
        pod_name : str
            A running pod.
        grace : float, optional
            Seconds from SIGTERM to SIGKILL; the pod's own by default.
        """
        self._pod(pod_name).terminate(grace, _SHUTDOWN)

    def preempt(self, notice: float = 25) -> None:
        """Take the machine away, as a cloud does with a spot node: notice to its pods, then `lose`."""
        pods = [pod for pod in list(self._pods.values()) if pod.unfinished()]
        for pod in pods:
            pod.terminate(notice, _SHUTDOWN)
        with contextlib.suppress(TimeoutError):  # the machine goes, reported or not
            wait_for("the pods' end", lambda: not any(pod.unfinished() for pod in pods), notice + 2)
        self.lose()

    def lose(self) -> None:
        """Lose the node at once: its processes die unreported, its object goes, and then so do its pods.

        The last step is the pod garbage collector's, done here as versions from 1.26 on do it, and without its wait of
        a minute: pods that had not ended become *Failed*, their Jobs count them, the objects are removed.
        """
        self._vanish()
        cluster = _Api(self._kubeconfig)
        cluster.core.delete_node(self.name)
        orphans = [p for p in cluster.pods_of(self.name)["items"] if p["status"]["phase"] in ("Pending", "Running")]
        counts = [cluster.failures(pod) for pod in orphans]
        for pod in orphans:
            cluster.report(pod, {"phase": "Failed", "message": "PodGC: node no longer exists"})
        for pod, count in zip(orphans, counts, strict=True):
            with contextlib.suppress(TimeoutError):  # a pod that is already being deleted is not counted
                wait_for("the Job's count", partial(cluster.has_counted, pod, count), 5)
            cluster.remove(pod)

    def _vanish(self) -> None:
        self._api.closed.set()
        for pod in list(self._pods.values()):
            pod.kill(_Fault())

    def _pod(self, name: str) -> _Pod:
        found = [pod for pod in list(self._pods.values()) if pod.name == name and pod.alive()]
        if not found:
            raise KeyError(f"no pod {name} runs on {self.name}")
        return found[0]

    def _runs(self, name: str, namespace: str) -> bool:
        return any(p.alive() for p in list(self._pods.values()) if (p.name, p.namespace) == (name, namespace))

    def _schedulable(self) -> bool:
        taints = self._api.core.read_node(self.name).spec.taints or []
        return all(not taint.key.startswith("node.kubernetes.io/") for taint in taints)

    def _beat_on(self) -> None:
        while not self._api.closed.wait(_HEARTBEAT):
            with contextlib.suppress(client.ApiException, *_OUTAGE):
                self._beat()

    def _beat(self) -> None:
        """Tell that the node is well: its status, and its lease."""
        now = _now()
        ready = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "processes can be started",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }  # fmt: skip
        status = {
            "capacity": self._resources,
            "allocatable": self._resources,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.port}},
        }
        self._api.core.patch_node_status(self.name, {"status": status}, _request_timeout=_TIMEOUT)
        self._api.renew_lease(self.name)

    def _follow(self) -> None:
        """Take up pods until the node goes; what a watch misses, the list it begins with has."""
        while not self._api.closed.is_set():
            try:
                listing = self._api.pods_of(self.name)
                present = {pod["metadata"]["uid"] for pod in listing["items"]}
                for uid in self._pods.keys() - present:
                    self._gone(uid)
                for pod in listing["items"]:
                    self._see(pod)
                for event in self._api.changes(self.name, listing["metadata"]["resourceVersion"]):
                    if self._api.closed.is_set():
                        return
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._see(event["object"])
                    elif event["type"] == "DELETED":
                        self._gone(event["object"]["metadata"]["uid"])
                    else:  # ERROR: the version is too old
                        break
            except (client.ApiException, *_OUTAGE):
                self._api.closed.wait(0.2)

    def _see(self, manifest: Object) -> None:
        uid = manifest["metadata"]["uid"]
        pod = self._pods.get(uid)
        if pod is None:
            if manifest["status"]["phase"] in ("Succeeded", "Failed"):
                return
            pod = self._pods[uid] = _Pod(self, manifest)
            threading.Thread(target=pod.run, name=pod.name, daemon=True).start()
        if manifest["metadata"].get("deletionTimestamp"):
            pod.delete(manifest["metadata"].get("deletionGracePeriodSeconds") or 0)

    def _gone(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod:
            pod.forget()


class _Pod:
    """One pod and its process. `run` is its thread's; the other methods are called from outside."""

    def __init__(self, node: ProcessNode, manifest: Object) -> None:
        self.name: str = manifest["metadata"]["name"]
        self.namespace: str = manifest["metadata"]["namespace"]
        self._manifest = manifest
        self._node = node
        self._api = node._api
        self._directory = node.directory / "pods" / manifest["metadata"]["uid"]
        self._container = manifest["spec"]["containers"][0]
        self._lock = threading.Lock()
        self._ending = threading.Event()  # no process is started any more
        self._deleted = False
        self._grace = 0.0
        self._finished = False
        self._fault = _Fault()
        self._process: Process | None = None
        self._started = _now()
        self._restarts = 0
        self._last: Object = {}

    @property
    def process(self) -> Process:
        if self._process is None:
            raise KeyError(f"pod {self.name} has no process")
        return self._process

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def unfinished(self) -> bool:
        """Return whether its end is yet to be reported."""
        return not self._finished

    def kill(self, fault: _Fault) -> None:
        """Kill all of it."""
        with self._lock:
            self._fault = fault
            if fault.reason or self._api.closed.is_set():
                self._ending.set()
            if self._process:
                self._process.kill()

    def terminate(self, grace: float | None, fault: _Fault | None = None) -> None:
        """Send SIGTERM now, and SIGKILL to what is left of it later."""
        if grace is None:
            grace = self._manifest["spec"].get("terminationGracePeriodSeconds", 30)
        with self._lock:
            self._fault = fault or self._fault
            self._ending.set()
            if self._process:
                self._process.send(signal.SIGTERM)
                timer = threading.Timer(grace, self._process.kill)
                timer.daemon = True
                timer.start()

    def delete(self, grace: float) -> None:
        """Note that the pod is to go: its process first, then the object."""
        with self._lock:
            again, self._deleted = self._deleted, True
            finished = self._finished
        if finished and not again:
            threading.Thread(target=self._api.remove, args=(self._manifest,), daemon=True).start()
        elif not again or grace < self._grace:  # a later request may shorten the time
            self._grace = grace
            self.terminate(grace)

    def forget(self) -> None:
        """End what is left of it: the object is gone."""
        self._ending.set()
        with self._lock:
            if self._process:
                self._process.kill()
        if self._finished:
            shutil.rmtree(self._directory, ignore_errors=True)

    def run(self) -> None:
        """Start the process, follow it, report it."""
        while (command := self._prepare()) is not None:
            code, reason = self._execute(command)
            policy = self._manifest["spec"].get("restartPolicy", "Always")
            if self._ending.is_set() or policy == "Never" or (policy == "OnFailure" and code == 0):
                self._report_end(code, reason)
                break
            self._restarts += 1
            self._wait("CrashLoopBackOff", f"back-off restarting failed container {self._container['name']}")
            self._ending.wait(min(2 ** (self._restarts - 1), 10))
        with self._lock:
            self._finished = True
            deleted = self._deleted
        if deleted:
            self._api.remove(self._manifest)
        if self._manifest["metadata"]["uid"] not in self._node._pods:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _prepare(self) -> Command | None:
        """Return the command once all it needs is there; None if the pod is to end first."""
        told = ""
        while not self._ending.is_set():
            try:
                self._pull()
                return Resolver(self._manifest, self._directory, self._api.read, self._node._env).command()
            except NotYet as wait:
                reason = "ImagePullBackOff" if told in ("ErrImagePull", "ImagePullBackOff") else wait.reason
                if reason != told:
                    self._wait(reason, str(wait))
                    told = reason
            except (client.ApiException, *_OUTAGE):
                pass
            self._ending.wait(0.5)
        if self._fault.reason:
            self._report_end(137, None)
        return None

    def _pull(self) -> None:
        image, known = self._container.get("image", ""), self._node.images
        if known is not None and image not in known:
            raise NotYet("ErrImagePull", f'failed to pull image "{image}": not found')

    def _execute(self, command: Command) -> tuple[int, str | None]:
        """Run the process to its end, and return exit code and reason."""
        with self._lock:
            if self._ending.is_set():
                return 137, None
            self._fault = _Fault()
            log = self._node.log_file(self.name, self.namespace)
            begin = _now()
            try:
                process = self._process = Process(command.argv, log, command.env, command.cwd)
            except (OSError, IndexError, ValueError) as error:
                with log.open("a") as file:
                    file.write(f"cannot start {command.argv}: {error}\n")
                return 128, "StartError"
        ready = not command.start_up
        self._report("Running", {"running": {"startedAt": begin}}, ready)
        if not ready and self._starts_up(process, command):
            self._report("Running", {"running": {"startedAt": begin}}, ready=True)
        code = process.wait()
        reason = self._fault.container_reason or ("Completed" if code == 0 else "Error")
        self._last = {
            "terminated": {"exitCode": code, "reason": reason, "startedAt": begin, "finishedAt": _now()}
        }  # fmt: skip
        return code, reason

    def _starts_up(self, process: Process, command: Command) -> bool:
        """Return whether the start-up probe succeeds before the process ends; kill the process if it does not."""
        probe = self._container["startupProbe"]
        log = self._node.log_file(self.name, self.namespace).with_suffix(".probe.log")
        self._pause(process, probe.get("initialDelaySeconds", 0))
        for _ in range(probe.get("failureThreshold", 3)):
            if not process.alive():
                return False
            try:
                done = subprocess.run(
                    command.start_up, env=command.env, cwd=command.cwd, stdin=subprocess.DEVNULL, check=False,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=probe.get("timeoutSeconds", 1),
                )  # fmt: skip
                code, output = done.returncode, done.stdout
            except subprocess.TimeoutExpired:
                code, output = 124, b"the probe took too long\n"
            except OSError as error:
                code, output = 126, f"the probe cannot be run: {error}\n".encode()
            if code == 0:
                return True
            with log.open("ab") as file:
                file.write(output)
            self._pause(process, probe.get("periodSeconds", 10))
        process.kill()
        return False

    @staticmethod
    def _pause(process: Process, seconds: float) -> None:
        end = time.monotonic() + seconds
        while process.alive() and time.monotonic() < end:
            time.sleep(0.1)

    def _wait(self, reason: str, message: str) -> None:
        phase = "Running" if self._restarts else "Pending"
        self._report(phase, {"waiting": {"reason": reason, "message": message}}, ready=False)

    def _report_end(self, code: int, reason: str | None) -> None:
        good = code == 0 and not self._fault.reason
        state = self._last or {
            "terminated": {"exitCode": code, "reason": reason or "Error", "finishedAt": _now()}
        }  # fmt: skip
        self._report("Succeeded" if good else "Failed", state, ready=False)

    def _report(self, phase: str, state: Object, ready: bool) -> None:
        now = _now()
        conditions = [
            {"type": kind, "status": "True" if yes else "False", "lastTransitionTime": now}
            for kind, yes in (("Initialized", True), ("Ready", ready), ("ContainersReady", ready))
        ]
        container = {
            "name": self._container["name"],
            "image": self._container.get("image", ""),
            "imageID": "" if "waiting" in state else "process",
            "containerID": f"process://{self._process.pid}" if self._process else "",
            "ready": ready,
            "started": ready,
            "restartCount": self._restarts,
            "state": {"waiting": None, "running": None, "terminated": None, **state},
            "lastState": self._last if self._restarts else {},
        }
        self._api.report(
            self._manifest,
            {
                "phase": phase,
                "reason": self._fault.reason if phase == "Failed" else None,
                "message": self._fault.message if phase == "Failed" else None,
                "startTime": self._started,
                "hostIP": "127.0.0.1",
                "podIP": "127.0.0.1",
                "podIPs": [{"ip": "127.0.0.1"}],
                "conditions": conditions,
                "containerStatuses": [container],
            },
        )


class _Api:
    """What a node asks of the API server, in plain dictionaries; `closed` ends all waiting."""

    def __init__(self, kubeconfig: Path) -> None:
        settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
        settings.connection_pool_maxsize = 256
        api = client.ApiClient(settings)
        self.core = client.CoreV1Api(api)
        self._leases = client.CoordinationV1Api(api)
        self._jobs = client.BatchV1Api(api)
        self.closed = threading.Event()

    def pods_of(self, node: str) -> Object:
        """Return the list of the node's pods."""
        return self._json(self.core.list_pod_for_all_namespaces, field_selector=f"spec.nodeName={node}")

    def changes(self, node: str, version: str) -> Iterator[Object]:
        """Yield events after *version*, for half a minute at most."""
        response = self.core.list_pod_for_all_namespaces(
            field_selector=f"spec.nodeName={node}", watch=True, resource_version=version, timeout_seconds=30,
            _preload_content=False, _request_timeout=(3, 40),
        )  # fmt: skip
        rest = b""
        try:
            for chunk in response.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(json.loads, filter(None, lines))
        finally:
            response.close()

    def read(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object of a kind pods refer to, None if there is none."""
        calls = {
            "Secret": self.core.read_namespaced_secret,
            "ConfigMap": self.core.read_namespaced_config_map,
            "PersistentVolumeClaim": self.core.read_namespaced_persistent_volume_claim,
            "PersistentVolume": self.core.read_persistent_volume,
        }
        try:
            return self._json(calls[kind], *filter(None, (name, namespace)))
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise

    def report(self, pod: Object, status: Object) -> None:
        """Write a pod's status, however long the API server is away."""
        about = pod["metadata"]
        body = {"metadata": {"uid": about["uid"]}, "status": status}
        self._insist(
            lambda: self.core.patch_namespaced_pod_status(
                about["name"], about["namespace"], body, _preload_content=False, _request_timeout=_TIMEOUT
            )
        )

    def remove(self, pod: Object) -> None:
        """Remove a pod's object at once."""
        about = pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": about["uid"]}}
        self._insist(
            lambda: self.core.delete_namespaced_pod(
                about["name"], about["namespace"], body=options, _preload_content=False, _request_timeout=_TIMEOUT
            )
        )

    def failures(self, pod: Object) -> int | None:
        """Return how many failed pods the Job of a pod has counted; None without a Job that counts."""
        owners = pod["metadata"].get("ownerReferences") or []
        job = next((owner["name"] for owner in owners if owner["kind"] == "Job"), None)
        if job is None:
            return None
        try:
            found = self._json(self._jobs.read_namespaced_job, job, pod["metadata"]["namespace"])
        except client.ApiException:
            return None
        return int(found["status"].get("failed", 0))

    def has_counted(self, pod: Object, before: int | None) -> bool:
        """Return whether the pod's Job has counted more failures than *before*, or there is none to do so."""
        return before is None or self.failures(pod) != before

    def renew_lease(self, node: str) -> None:
        """Renew the node's lease, making it first."""
        spec = {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": _now()}
        lease = {"metadata": {"name": node}, "spec": spec}
        try:
            self._leases.patch_namespaced_lease(node, "kube-node-lease", lease, _request_timeout=_TIMEOUT)
        except client.ApiException as error:
            if error.status != 404:
                raise
            self._leases.create_namespaced_lease("kube-node-lease", lease, _request_timeout=_TIMEOUT)

    def _insist(self, call: Callable[[], object]) -> None:
        """Repeat a call until it is done, or can no longer be: the pod is gone, or this node is."""
        while not self.closed.is_set():
            try:
                call()
                return
            except client.ApiException as error:
                if error.status in (404, 409, 422):
                    return
            except _OUTAGE:
                pass
            self.closed.wait(0.2)

    @staticmethod
    def _json(call: Callable[..., Any], *args: str, **options: str) -> Object:
        response = call(*args, **options, _preload_content=False, _request_timeout=_TIMEOUT)
        return dict(json.loads(response.data))


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
