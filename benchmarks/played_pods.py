"""Pods that are played: nodes on a real control plane whose pods run nothing, but tell what a run tells.

What is real: the nodes' objects, scheduling, every status a pod goes through, and the rows of its run in the event log,
which are those a real pod of the same asset has written, with the run, partitions and versions of the one it plays.
What is not: the process, its CPU, and its time, which is slept.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import urllib3
from dagster._core.events.log import EventLogEntry
from dagster._serdes import deserialize_value, serialize_value
from kubernetes import client, config
from sqlalchemy import create_engine

from stilt_dagster.kubernetes.run_coverage import coverage

_TIMEOUT = (5, 60)
_OUTAGE = (client.ApiException, urllib3.exceptions.HTTPError, OSError, ValueError)
_HEARTBEAT = 10.0

#: Played runs that write their rows at a time.
_WRITERS = 6

Object = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row a real run wrote, as text; the shard it is of, if it is of one."""

    text: str
    shard: str | None


@dataclass(frozen=True)
class Recording:
    """What the pod of an asset's run writes into the event log.

    Attributes
    ----------
    run, scene : str
        Whose it is.
    first : tuple of Row
        Up to the start of its step.
    rest : tuple of Row
        From there to its end.
    versions : tuple of str
        The versions its rows name.
    """

    run: str
    scene: str
    first: tuple[Row, ...]
    rest: tuple[Row, ...]
    versions: tuple[str, ...]

    @classmethod
    def of(cls, instance: dg.DagsterInstance, run: dg.DagsterRun, versions: Iterable[str]) -> Recording:
        """Read the rows of a real run that its pod wrote: those before were the daemon's and the webserver's."""
        entries = [c.event_log_entry for c in instance.get_records_for_run(run.run_id, limit=5000).records]
        begin = next(i for i, e in enumerate(entries) if e.message.startswith("Started process for run"))
        rows = [Row(serialize_value(e), _shard(e)) for e in entries[begin:]]
        at = next(i for i, e in enumerate(entries[begin:]) if e.dagster_event and e.dagster_event.is_step_start) + 1
        return cls(run.run_id, coverage(run).scene, tuple(rows[:at]), tuple(rows[at:]), tuple(versions))


def _shard(entry: EventLogEntry) -> str | None:
    event = entry.dagster_event
    if event is None or not event.is_step_materialization or "|" not in (event.partition or ""):
        return None
    return str(event.partition).partition("|")[2]


def pooled(instance: dg.DagsterInstance, url: str) -> dg.DagsterInstance:
    """Let the driver keep its connections, as a hundred played pods in one process should; Dagster keeps none."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_size=_WRITERS + 4, max_overflow=20)
    storages: tuple[Any, ...] = instance.event_log_storage, instance.run_storage
    for storage in storages:
        storage._engine = engine
    return instance


class Refused(Exception):
    """The run is one its asset fails."""


class Killed(Exception):
    """The pod was killed."""


class Player:
    """Writes what a run's pod would.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are.
    recordings : mapping of str to Recording
        By asset.
    versions : callable
        Returns the versions of a scene, in the order of the recordings' own.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        recordings: Mapping[str, Recording],
        versions: Callable[[str], tuple[str, ...]],
    ) -> None:
        self.instance = instance
        self._recordings = recordings
        self._versions = versions
        self._turn = threading.Semaphore(_WRITERS)
        self.rows = 0

    def begin(self, run: dg.DagsterRun) -> float:
        """Write the rows up to the start of the step; return when the run was reported started.

        Raises
        ------
        Refused
            If the run covers several scenes, as its asset would.
        """
        first, last = (run.tags.get(f"dagster/asset_partition_range_{side}", "|") for side in ("start", "end"))
        if first.partition("|")[0] != last.partition("|")[0]:
            raise Refused(f"a run covers the shards of one scene, not {first} to {last}")
        recording = self._recording(run)
        return self._write(run, recording, recording.first)

    def end(self, run: dg.DagsterRun) -> None:
        """Write the rows from the step to the end, materializations of the run's own shards among them."""
        recording = self._recording(run)
        tags = run.tags
        first, last = (
            tags.get(f"dagster/asset_partition_range_{side}", tags.get("dagster/partition", "")).partition("|")[2]
            for side in ("start", "end")
        )
        rows = [r for r in recording.rest if r.shard is None or not first or first <= r.shard <= last]
        self._write(run, recording, rows)

    def _recording(self, run: dg.DagsterRun) -> Recording:
        (asset,) = coverage(run).assets
        return self._recordings[asset]

    def _write(self, run: dg.DagsterRun, recording: Recording, rows: Iterable[Row]) -> float:
        scene = coverage(run).scene
        names = {recording.run: run.run_id, recording.scene: scene}
        names |= dict(zip(recording.versions, self._versions(scene), strict=True))
        started = 0.0
        with self._turn:
            for row in rows:
                text = row.text
                for old, new in names.items():
                    text = text.replace(old, new)
                entry = deserialize_value(text, EventLogEntry)._replace(timestamp=time.time())
                self.instance.handle_new_event(entry)
                self.rows += 1
                event = entry.dagster_event
                if event is not None and event.event_type is dg.DagsterEventType.RUN_START:
                    started = time.time()
        return started


@dataclass
class Life:
    """What became of a pod: times are seconds since 1970, 0 for what never was."""

    run: dg.DagsterRun
    node: str
    created: float
    bound: float
    running: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    outcome: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


#: Plays a run between the first of its rows and the last: sleeps on the life's event, and raises Killed if it is set.
Work = Callable[[Life], None]


class PlayedNodes:
    """Nodes, and all of their pods.

    Parameters
    ----------
    kubeconfig : Path
        An administrator's.
    namespace : str
        Where pods are.
    player : Player
        Writes their rows.
    count, cpu, memory : int
        How many nodes, cores of each, GiB of each.
    start : float
        From a pod's being reported running to the first row it writes, s.
    work : Work
        What a run does.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        player: Player,
        count: int,
        cpu: int = 32,
        memory: int = 128,
        start: float = 0.0,
        work: Work = lambda life: None,
    ) -> None:
        settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
        settings.connection_pool_maxsize = 64
        api = client.ApiClient(settings)
        self._core, self._leases = client.CoreV1Api(api), client.CoordinationV1Api(api)
        self._namespace, self._player = namespace, player
        self._start, self.work = start, work
        self._names = [f"played-{k:02d}" for k in range(count)]
        amounts = {"cpu": str(cpu), "memory": f"{memory}Gi", "ephemeral-storage": "1000Gi", "pods": "110"}
        self._amounts = amounts
        self._closed = threading.Event()
        self.lives: dict[str, Life] = {}

    def __enter__(self) -> PlayedNodes:
        labels = {
            "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "cloud.google.com/gke-spot": "true",
        }  # fmt: skip
        for name in self._names:
            own = {**labels, "kubernetes.io/hostname": name}
            self._core.create_node({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": own}})
            self._beat(name)
            self._core.patch_node(name, {"spec": {"taints": []}})
        for target in (self._beat_on, self._follow):
            threading.Thread(target=target, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for life in list(self.lives.values()):
            life.stop.set()

    def busy(self) -> list[Life]:
        """Return the pods whose step is under way."""
        return [life for life in list(self.lives.values()) if life.started and not life.ended]

    def _beat_on(self) -> None:
        while not self._closed.wait(_HEARTBEAT):
            for name in self._names:
                with suppress(*_OUTAGE):
                    self._beat(name)

    def _beat(self, name: str) -> None:
        now = _now()
        ready = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }  # fmt: skip
        status = {"capacity": self._amounts, "allocatable": self._amounts, "conditions": [ready]}
        self._core.patch_node_status(name, {"status": status}, _request_timeout=_TIMEOUT)
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
        lease = {"metadata": {"name": name}, "spec": spec}
        try:
            self._leases.patch_namespaced_lease(name, "kube-node-lease", lease, _request_timeout=_TIMEOUT)
        except client.ApiException as error:
            if error.status != 404:
                raise
            self._leases.create_namespaced_lease("kube-node-lease", lease, _request_timeout=_TIMEOUT)

    def _follow(self) -> None:
        while not self._closed.is_set():
            with suppress(*_OUTAGE):
                listing = json.loads(
                    self._core.list_namespaced_pod(
                        self._namespace, _preload_content=False, _request_timeout=_TIMEOUT
                    ).data
                )
                for pod in listing["items"]:
                    self._see(pod)
                for event in self._changes(listing["metadata"]["resourceVersion"]):
                    if self._closed.is_set():
                        return
                    if event["type"] == "ERROR":
                        break
                    if event["type"] != "DELETED":
                        self._see(event["object"])

    def _changes(self, version: str) -> Iterator[Object]:
        response = self._core.list_namespaced_pod(
            self._namespace, watch=True, resource_version=version, timeout_seconds=300,
            _preload_content=False, _request_timeout=(3, 310),
        )  # fmt: skip
        rest = b""
        try:
            for chunk in response.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(json.loads, filter(None, lines))
        finally:
            response.close()

    def _see(self, pod: Object) -> None:
        about = pod["metadata"]
        if pod["spec"].get("nodeName") not in self._names:
            return
        life = self.lives.get(about["uid"])
        if life is None and pod["status"]["phase"] == "Pending":
            run = self._player.instance.get_run_by_id(about["labels"]["dagster/run-id"])
            assert run is not None
            created = dt.datetime.fromisoformat(about["creationTimestamp"]).timestamp()
            life = self.lives[about["uid"]] = Life(run, pod["spec"]["nodeName"], created, time.time())
            threading.Thread(target=self._play, args=(pod, life), daemon=True).start()
        elif life is not None and about.get("deletionTimestamp"):
            life.stop.set()
            with suppress(*_OUTAGE):
                self._core.delete_namespaced_pod(about["name"], self._namespace, grace_period_seconds=0)

    def _play(self, pod: Object, life: Life) -> None:
        begin = _now()
        self._report(pod, "Running", {"running": {"startedAt": begin}})
        life.running = time.time()
        try:
            if life.stop.wait(self._start):
                raise Killed
            life.started = self._player.begin(life.run)
            self.work(life)
            life.ended = time.time()
            self._player.end(life.run)
            life.outcome, code = "Succeeded", 0
        except Killed:
            life.ended = time.time()
            life.outcome, code = "Failed", 137
        except Refused as reason:
            self._player.instance.report_run_failed(life.run, str(reason))
            life.ended = time.time()
            life.outcome, code = "Failed", 1
        ended = {
            "exitCode": code, "reason": "Error" if code else "Completed", "startedAt": begin, "finishedAt": _now(),
        }  # fmt: skip
        self._report(pod, life.outcome, {"terminated": ended})

    def _report(self, pod: Object, phase: str, state: Object) -> None:
        ready, now = phase == "Running", _now()
        kinds = {"Initialized": True, "Ready": ready, "ContainersReady": ready}
        conditions = [
            {"type": kind, "status": "True" if yes else "False", "lastTransitionTime": now}
            for kind, yes in kinds.items()
        ]
        spec = pod["spec"]["containers"][0]
        container = {
            "name": spec["name"], "image": spec["image"], "imageID": "played", "containerID": "played://0",
            "ready": ready, "started": ready, "restartCount": 0,
            "state": {"running": None, "terminated": None, **state},
        }  # fmt: skip
        status = {"phase": phase, "startTime": now, "conditions": conditions, "containerStatuses": [container]}
        while not self._closed.is_set():
            try:
                self._core.patch_namespaced_pod_status(
                    pod["metadata"]["name"], self._namespace, {"status": status},
                    _preload_content=False, _request_timeout=_TIMEOUT,
                )  # fmt: skip
                return
            except client.ApiException as error:
                if error.status in (404, 409, 422):
                    return
            except _OUTAGE:
                pass
            self._closed.wait(0.2)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
