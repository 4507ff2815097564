"""The harness keeps its word: what the other tests take for a cluster and a database behaves as these do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from kubernetes import client

from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.process_node import ProcessNode
from stilt_dagster_tests.harness.processes import wait_for

pytestmark = pytest.mark.cluster

FOREVER = "while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("plane"))
    with plane:
        yield plane


@pytest.fixture(scope="module")
def node(plane: ControlPlane) -> Iterator[ProcessNode]:
    """A node all tests share; those that break theirs have one of their own."""
    with ProcessNode(plane.kubeconfig, cpu="4", images={"stilt"}) as node:
        yield node


class Cluster:
    """The few calls the tests make."""

    def __init__(self, plane: ControlPlane) -> None:
        api = plane.client()
        self.core = client.CoreV1Api(api)
        self.batch = client.BatchV1Api(api)

    def job(self, name: str, script: str, node: ProcessNode | None = None, **container: Any) -> None:
        """Make a Job as Dagster makes them: one pod, no second try."""
        container = {"name": "run", "image": "stilt", "command": ["sh", "-c", script], **container}
        pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
        if "volumes" in container:
            pod["volumes"] = container.pop("volumes")
        if node:
            pod["nodeSelector"] = {"kubernetes.io/hostname": node.name}
        spec = {"backoffLimit": 0, "template": {"spec": pod}}
        self.batch.create_namespaced_job("default", {"metadata": {"name": name}, "spec": spec})

    def pods(self, job: str) -> list[Any]:
        return list(self.core.list_namespaced_pod("default", label_selector=f"job-name={job}").items)

    def ended(self, job: str) -> str:
        """Wait for a Job's end, and return its condition."""

        def conditions() -> list[str]:
            status = self.batch.read_namespaced_job_status(job, "default").status
            return [c.type for c in status.conditions or [] if c.status == "True"]

        return wait_for(f"job {job}", conditions)[0]

    def running(self, job: str, node: ProcessNode) -> str:
        """Wait until a Job's pod is reported to run and has written something, and return its name."""

        def find() -> str | None:
            for pod in self.pods(job):
                if pod.status.phase == "Running" and node.log(pod.metadata.name):
                    return str(pod.metadata.name)
            return None

        return wait_for(f"a pod of {job}", find)

    def end_of(self, job: str) -> Any:
        """Return how the container of a Job's one pod ended, with the pod's status."""
        (pod,) = self.pods(job)
        return pod.status.container_statuses[0].state.terminated, pod.status

    def waiting(self, job: str, reason: str) -> str:
        """Wait until a Job's pod waits for *reason*, and return the message."""

        def find() -> str | None:
            for pod in self.pods(job):
                for container in pod.status.container_statuses or []:
                    if container.state.waiting and container.state.waiting.reason == reason:
                        return container.state.waiting.message or reason
            return None

        return wait_for(f"{job} to be {reason}", find)


@pytest.fixture(scope="module")
def cluster(plane: ControlPlane) -> Cluster:
    return Cluster(plane)


def test_a_job_runs_with_its_environment_and_volumes(cluster: Cluster, node: ProcessNode) -> None:
    """All that a run's pod is given reaches the process, and nothing of this one's does."""
    cluster.core.create_namespaced_secret("default", {"metadata": {"name": "s"}, "stringData": {"PASSWORD": "hidden"}})
    cluster.core.create_namespaced_config_map("default", {"metadata": {"name": "c"}, "data": {"A": "text", "B": "b"}})
    cluster.job(
        "whole",
        'cat "$1"; echo; cat "$2/A"; echo; env | sort',
        args=["sh", "/etc/c/B", "$(WHERE)"],
        env=[
            {"name": "WHERE", "value": "/etc/c"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "JOB", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASSWORD"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
            {"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
        ],
        envFrom=[{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}, "prefix": "C_"}],
        resources={"requests": {"cpu": "1500m"}},
        volumes=[{"name": "c", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}],
        volumeMounts=[{"name": "c", "mountPath": "/etc/c"}, {"name": "tmp", "mountPath": "/scratch"}],
    )
    assert cluster.ended("whole") == "Complete"
    (pod,) = cluster.pods("whole")
    first, second, *lines = node.log(pod.metadata.name).splitlines()
    assert (first, second) == ("b", "text")
    env = dict(line.split("=", 1) for line in lines)
    assert env.pop("WHERE").endswith("/volumes/c")
    for shells in ("PWD", "_", "SHLVL", "OLDPWD", "PATH", "HOME"):
        env.pop(shells, None)
    assert env == {
        "POD": pod.metadata.name, "HOSTNAME": pod.metadata.name, "JOB": "whole", "KEY": "hidden", "CORES": "2",
        "PASSWORD": "hidden", "C_B": "b", "C_A": "text",
    }  # fmt: skip
    served = cluster.core.read_namespaced_pod_log(pod.metadata.name, "default", tail_lines=1, _preload_content=False)
    assert served.data.decode() == lines[-1] + "\n"


def test_a_failing_job_reports_its_exit_code(cluster: Cluster, node: ProcessNode) -> None:
    cluster.job("fails", "exit 3")
    assert cluster.ended("fails") == "Failed"
    assert cluster.end_of("fails")[0].exit_code == 3


@pytest.mark.parametrize(
    ("fault", "code", "container", "pod"),
    [
        ("kill_pod", 137, "Error", None),
        ("oom_kill", 137, "OOMKilled", None),
        ("evict", 137, "Error", "Evicted"),
        ("sigterm_pod", 0, "Completed", "Terminated"),
    ],
)
def test_a_pod_that_is_ended_fails_its_job(
    cluster: Cluster, node: ProcessNode, fault: str, code: int, container: str, pod: str | None
) -> None:
    """Whoever ends it, and even if it takes the notice well."""
    job = fault.replace("_", "-")
    cluster.job(job, f"trap 'exit 0' TERM; echo up; {FOREVER}")
    getattr(node, fault)(cluster.running(job, node))
    assert cluster.ended(job) == "Failed"
    terminated, status = cluster.end_of(job)
    assert (terminated.exit_code, terminated.reason, status.reason) == (code, container, pod)


def runs(pid: str) -> bool:
    """Return whether a process does more than wait to be reaped."""
    try:
        return "State:\tZ" not in Path("/proc", pid, "status").read_text()
    except OSError:
        return False


def test_a_deleted_pod_is_told_and_then_killed(cluster: Cluster, node: ProcessNode) -> None:
    """It hears SIGTERM, has its grace period, and takes its children with it."""
    script = f"sleep 1000 & echo $!; trap 'echo told' TERM; {FOREVER}"
    spec = {"containers": [{"name": "run", "image": "stilt", "command": ["sh", "-c", script]}]}
    cluster.core.create_namespaced_pod("default", {"metadata": {"name": "stubborn"}, "spec": spec})
    wait_for("output", lambda: node.log("stubborn"))
    start = time.monotonic()
    cluster.core.delete_namespaced_pod("stubborn", "default", grace_period_seconds=1)

    def is_gone() -> bool:
        return not cluster.core.list_namespaced_pod("default", field_selector="metadata.name=stubborn").items

    wait_for("deletion", is_gone)
    assert 1 <= time.monotonic() - start < 5
    child, told = node.log("stubborn").split()
    assert told == "told"
    wait_for("the child's end", lambda: not runs(child))


def test_a_pod_is_ready_once_its_start_up_probe_succeeds(cluster: Cluster, node: ProcessNode) -> None:
    """And one whose probe never does is started again."""
    for name, place, threshold in (("late", "late", 1000), ("never", "nowhere", 3)):
        container = {
            "name": "run", "image": "stilt", "command": ["sh", "-c", f"echo up; {FOREVER}"],
            "env": [{"name": "PLACE", "value": place}],
            "startupProbe": {
                "exec": {"command": ["sh", "-c", 'test -e "$1/$PLACE" || { echo waits; exit 1; }', "sh", "/mnt"]},
                "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": threshold,
            },
            "volumeMounts": [{"name": "mnt", "mountPath": "/mnt"}],
        }  # fmt: skip
        spec = {"containers": [container], "volumes": [{"name": "mnt", "emptyDir": {}}]}
        cluster.core.create_namespaced_pod("default", {"metadata": {"name": name}, "spec": spec})

    def status(name: str) -> Any:
        [container] = cluster.core.read_namespaced_pod(name, "default").status.container_statuses or [None]
        return container

    wait_for("a restart", lambda: (found := status("never")) and found.restart_count > 0)
    assert not status("never").ready
    waits = status("late")
    assert (waits.ready, waits.started, waits.restart_count) == (False, False, 0)
    assert waits.state.running
    uid = cluster.core.read_namespaced_pod("late", "default").metadata.uid
    (node.directory / "pods" / uid / "volumes" / "mnt" / "late").touch()
    wait_for("readiness", lambda: status("late").ready)
    assert status("late").restart_count == 0
    for name in ("late", "never"):
        cluster.core.delete_namespaced_pod(name, "default", grace_period_seconds=1)


def test_the_scheduler_refuses_what_is_too_big(cluster: Cluster, node: ProcessNode) -> None:
    cluster.job("big", "exit 0", resources={"requests": {"cpu": "5"}})

    def message() -> str | None:
        for pod in cluster.pods("big"):
            for condition in pod.status.conditions or []:
                if condition.type == "PodScheduled" and condition.status == "False":
                    return str(condition.message)
        return None

    assert "Insufficient cpu" in wait_for("the scheduler", message)
    assert cluster.pods("big")[0].status.phase == "Pending"


def test_a_pod_waits_for_its_secret_and_its_image(cluster: Cluster, node: ProcessNode) -> None:
    """As an operator meets them: the reason is in the status, and supplying what is missing is enough."""
    secret = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "x"}}}
    cluster.job("late", "exit 0", env=[secret])
    cluster.job("unknown", "exit 0", image="unknown")
    assert cluster.waiting("late", "CreateContainerConfigError") == 'secret "late" not found'
    assert "unknown" in cluster.waiting("unknown", "ImagePullBackOff")
    cluster.core.create_namespaced_secret("default", {"metadata": {"name": "late"}, "stringData": {"x": "y"}})
    assert node.images is not None
    node.images.add("unknown")
    assert {cluster.ended("late"), cluster.ended("unknown")} == {"Complete"}


def test_running_pods_outlast_the_api_server(plane: ControlPlane, cluster: Cluster, node: ProcessNode) -> None:
    """One ends during the outage, one after it; neither is run twice, nor is either's end lost."""
    cluster.job("during", "echo up; sleep 0.5; echo done")
    cluster.job("after", "echo up; sleep 3; echo done")
    pods = [cluster.running(job, node) for job in ("during", "after")]
    plane.restart_api_server(down=1)
    assert [cluster.ended(job) for job in ("during", "after")] == ["Complete", "Complete"]
    assert [node.log(pod) for pod in pods] == ["up\ndone\n", "up\ndone\n"]
    cluster.job("next", "exit 0")
    assert cluster.ended("next") == "Complete"


@pytest.mark.parametrize("way", ["lose", "preempt"])
def test_a_job_fails_with_its_node(plane: ControlPlane, cluster: Cluster, way: str) -> None:
    """And gets no second pod. A preempted pod hears of it first."""
    with ProcessNode(plane.kubeconfig, way) as node:
        cluster.job(way, f"trap 'echo told; exit 0' TERM; echo up; {FOREVER}", node)
        pod = cluster.running(way, node)
        getattr(node, way)()
        assert cluster.ended(way) == "Failed"
        assert node.log(pod) == ("up\n" if way == "lose" else "up\ntold\n")
    assert [p.status.phase for p in cluster.pods(way)] == ([] if way == "lose" else ["Failed"])
    assert way not in [n.metadata.name for n in cluster.core.list_node().items]


def test_many_pods_are_packed_and_all_end(cluster: Cluster, node: ProcessNode) -> None:
    """More than fit at once: never more cores are in use than the node has."""
    spec: dict[str, Any] = {
        "parallelism": 60, "completions": 60, "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "run", "image": "stilt", "command": ["sleep", "0.2"], "resources": {"requests": {"cpu": "200m"}}},
        ]}},
    }  # fmt: skip
    cluster.batch.create_namespaced_job("default", {"metadata": {"name": "many"}, "spec": spec})
    most = 0

    def succeeded() -> bool:
        nonlocal most
        most = max(most, len(node.running()))
        return bool(cluster.batch.read_namespaced_job_status("many", "default").status.succeeded == 60)

    wait_for("60 pods", succeeded, 40)
    assert 1 < most <= 20


def test_a_service_account_may_do_what_it_was_given(plane: ControlPlane, cluster: Cluster) -> None:
    """RBAC is real: nothing at first, then what a role grants."""
    cluster.core.create_namespaced_service_account("default", {"metadata": {"name": "runner"}})
    api = plane.client(plane.kubeconfig_for("default", "runner"))
    with pytest.raises(client.ApiException) as refused:
        client.BatchV1Api(api).list_namespaced_job("default")
    assert refused.value.status == 403
    rbac = client.RbacAuthorizationV1Api(plane.client())
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}
    rbac.create_namespaced_role("default", {"metadata": {"name": "runner"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "runner", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "runner"}
    rbac.create_namespaced_role_binding(
        "default", {"metadata": {"name": "runner"}, "subjects": [subject], "roleRef": role}
    )

    def allowed() -> bool:
        try:
            return client.BatchV1Api(api).list_namespaced_job("default") is not None
        except client.ApiException:
            return False

    assert wait_for("the role", allowed)


def test_nothing_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """Not even a grandchild, and not even if that process is killed."""
    code = (
        "import time, pathlib; from stilt_dagster_tests.harness.processes import Process;"
        f"log = pathlib.Path({str(tmp_path / 'log')!r});"
        "Process(['sh', '-c', 'sleep 1000 & echo $! $$; wait'], log); time.sleep(1000)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    log = tmp_path / "log"
    pids = wait_for("output", lambda: log.read_text().split() if log.exists() else None)
    assert all(map(runs, pids))
    starter.kill()
    starter.wait()
    wait_for("their end", lambda: not any(map(runs, pids)))


def test_postgres_keeps_its_data_through_a_crash() -> None:
    """Connections are cut, as they are when the server's pod moves; what was committed is there again."""
    postgres = Postgres()
    with postgres:
        postgres.execute("CREATE TABLE kept (x int)")
        postgres.execute("INSERT INTO kept VALUES (1)")
        connection = psycopg2.connect(postgres.url.replace("+psycopg2", ""))
        postgres.restart(immediate=True)
        with pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert postgres.execute("SELECT x FROM kept") == [(1,)]
