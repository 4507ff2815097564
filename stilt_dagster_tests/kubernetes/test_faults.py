"""What spot nodes, kernels and servers do to a run: the scene completes, with only the unfinished done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stilt_dagster_tests.harness.process_node import ProcessNode
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.production import IMAGE, NAMESPACE, Production
from stilt_dagster_tests.kubernetes.conftest import LONG, arrays, equal

pytestmark = pytest.mark.cluster

Register = Callable[..., str]
Local = Callable[..., dict[str, np.ndarray]]


class Attempt:
    """A run of trajectories of a scene, some of whose parts are finished."""

    def __init__(self, production: Production, scene: str) -> None:
        self.production = production
        self.scene = scene
        for assets in (("receptors",), ("meteorology_aggregate",)):
            production.wait_run(production.launch(*assets, scene=scene), "SUCCESS")
        self.run = production.launch("trajectories", scene=scene)
        self.pod = production.pod_of(self.run)
        self.kept = wait_for("three parts", self._some, 120)

    def _some(self) -> dict[str, str] | None:
        objects = self.production.objects(f"trajectories/{self.scene}/")
        parts = {name: digest for name, digest in objects.items() if "/part-" in name}  # the index is written again
        return parts if len(parts) >= 3 else None

    def retried(self) -> dict[str, Any]:
        """Wait until a later run has done what this one did not; return it."""

        def again() -> dict[str, Any] | None:
            runs = self.production.runs(tags=[{"key": "stilt/scene", "value": self.scene}])
            later = [r for r in runs if r["tags"].get("dagster/root_run_id") == self.run]
            return next((r for r in later if r["status"] == "SUCCESS"), None)

        return wait_for("the retry", again, 200, every=0.5)

    def check(self, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
        """Check that finished parts were kept, and that the scene's jacobian is that of an undisturbed run."""
        parts = self.production.objects(f"trajectories/{self.scene}/")
        assert {name: parts.get(name) for name in self.kept} == self.kept, "finished parts are not done again"
        for asset in ("footprints", "jacobian"):
            self.production.wait_run(self.production.launch(asset, scene=self.scene), "SUCCESS")
        found = arrays(self.production.fetch(f"jacobian/{self.scene}.nc", tmp_path / "jacobian.nc"))
        assert equal(found, expected)
        assert not self.production.left_over()


@pytest.fixture
def attempt(production: Production, register: Register) -> Attempt:
    return Attempt(production, register(**LONG))


_SLOW = [pytest.param(how, marks=pytest.mark.slow) for how in ("oom_kill", "evict")]


@pytest.mark.parametrize("how", ["kill_pod", "sigterm_pod", *_SLOW])
def test_a_pod_that_is_taken_away(
    how: str, attempt: Attempt, production: Production, local: Local, tmp_path: Path
) -> None:
    memory = _memory(production, attempt.run)
    getattr(production.node, how)(attempt.pod)
    again = attempt.retried()
    # In case memory was why, of which Dagster is not told.
    assert _memory(production, again["runId"]) == pytest.approx(1.5 * memory, rel=0.01)
    attempt.check(local(**LONG), tmp_path)


def _memory(production: Production, run: str) -> int:
    limits = production.job_of(run).spec.template.spec.containers[0].resources.limits
    return int(limits["memory"].removesuffix("Mi"))


@pytest.fixture
def second_node(production: Production) -> Iterator[ProcessNode]:
    """Another node, and the first closed to new pods."""
    body = {"spec": {"unschedulable": True}}
    with ProcessNode(
        production.plane.kubeconfig,
        "node-2",
        images={IMAGE},
        labels={"cloud.google.com/gke-spot": "true"},
        directory=production.directory / "node-2",
    ) as node:
        production.core.patch_node(production.node.name, body)
        yield node
        production.core.patch_node(production.node.name, {"spec": {"unschedulable": None}})


@pytest.mark.slow
def test_a_lost_node(
    second_node: ProcessNode, attempt: Attempt, production: Production, local: Local, tmp_path: Path
) -> None:
    production.core.patch_node(production.node.name, {"spec": {"unschedulable": None}})
    second_node.lose()
    attempt.retried()
    attempt.check(local(**LONG), tmp_path)


def test_a_restarted_api_server_neither_fails_nor_doubles_a_run(
    attempt: Attempt, production: Production, local: Local, tmp_path: Path
) -> None:
    production.plane.restart_api_server(down=8)  # several looks of the monitor
    assert production.wait_run(attempt.run)["status"] == "SUCCESS"
    runs = production.runs(tags=[{"key": "stilt/scene", "value": attempt.scene}])
    assert len([r for r in runs if r["assets"] == ["trajectories"]]) == 1
    attempt.check(local(**LONG), tmp_path)


@pytest.mark.slow
def test_a_restarted_database(attempt: Attempt, production: Production, local: Local, tmp_path: Path) -> None:
    production.postgres.restart()

    def done() -> bool:
        try:
            runs = production.runs(tags=[{"key": "stilt/scene", "value": attempt.scene}])
        except OSError:  # a connection the webserver kept: it makes a new one on the next question
            return False
        return any(r["status"] == "SUCCESS" and r["assets"] == ["trajectories"] for r in runs)

    wait_for("trajectories, by this run or another", done, 240, every=1)
    production.wake()
    attempt.check(local(**LONG), tmp_path)


@pytest.mark.slow
def test_a_store_that_does_not_answer_for_a_while(
    attempt: Attempt, production: Production, local: Local, tmp_path: Path
) -> None:
    production.gcs.stop()
    time.sleep(12)
    production.gcs.start()
    assert production.wait_run(attempt.run, timeout=240)["status"] == "SUCCESS"
    attempt.check(local(**LONG), tmp_path)


@pytest.mark.slow
def test_a_run_launched_twice(attempt: Attempt, production: Production, local: Local, tmp_path: Path) -> None:
    """A second pod of a run that has one: what a controller does that lost sight of the first."""
    job = production.job_of(attempt.run)
    spec = production.batch.api_client.sanitize_for_serialization(job.spec.template.spec)
    labels = {"dagster/run-id": attempt.run}
    production.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "twin", "labels": labels}, "spec": spec})

    def over() -> str | None:
        phase = production.core.read_namespaced_pod_status("twin", NAMESPACE).status.phase
        return phase if phase in ("Succeeded", "Failed") else None

    wait_for("the twin's end", over, 120)
    assert production.wait_run(attempt.run)["status"] == "SUCCESS"
    attempt.check(local(**LONG), tmp_path)


@pytest.mark.slow
def test_a_daemon_that_is_killed(attempt: Attempt, production: Production, local: Local, tmp_path: Path) -> None:
    production.kill_daemon()
    queued = production.launch("receptors", scene=attempt.scene)
    assert production.wait_run(queued)["status"] == "SUCCESS"
    assert production.wait_run(attempt.run)["status"] == "SUCCESS"
    attempt.check(local(**LONG), tmp_path)
