"""The queue as Dagster's daemon walks it: which runs start, and what an operator reads of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.test_utils import instance_for_test
from dagster._core.utils import make_new_run_id
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from stilt_dagster.kubernetes.run_coverage import ASSET_TAG, CORES_TAG, SCENE_TAG

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("stilt_dagster"), "__repository__"), "simulate"
)
QUEUED, STARTED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED


class Queue:
    """An instance whose runs are queued for 8 cores, and the daemon that looks at them."""

    def __init__(self, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
        self.instance = instance
        self._caplog = caplog
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)

    def add(self, cores: float, status: dg.DagsterRunStatus = QUEUED, **tags: str) -> str:
        tags = {SCENE_TAG: "valley", ASSET_TAG: "trajectories", CORES_TAG: f"{cores:g}", **tags}
        run = dg.DagsterRun("simulate", make_new_run_id(), status=status, tags=tags, remote_job_origin=ORIGIN)
        return self.instance.add_run(run).run_id

    def end(self, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        assert run
        self.instance.report_run_canceled(run)

    def look(self) -> list[str]:
        """Return the runs the daemon would start now."""
        config = self.instance.get_concurrency_config()
        return [run.run_id for run in self._daemon._get_runs_to_dequeue(self.instance, config, None)]

    def said(self) -> list[str]:
        """Return what has been logged since this was last asked."""
        lines = [r.getMessage() for r in self._caplog.records if r.name.startswith("dagster.daemon")]
        self._caplog.clear()
        return lines


@pytest.fixture
def queue(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[Queue]:
    config = {"max_cores": 8, "max_concurrent_runs": getattr(request, "param", 200)}
    coordinator = {"module": "stilt_dagster.kubernetes.run_queue", "class": "CoreQueue", "config": config}
    caplog.set_level(logging.INFO, "dagster.daemon")
    with instance_for_test({"run_coordinator": coordinator}) as instance:
        yield Queue(instance, caplog)


def maximum(queue: Queue) -> int:
    """Return the cap on runs the UI shows."""
    coordinator = queue.instance.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    return coordinator.get_run_queue_config().max_concurrent_runs


def test_an_idle_queue_says_nothing(queue: Queue) -> None:
    for _ in range(5):
        assert queue.look() == []
    queue.add(4, STARTED)
    for _ in range(5):
        assert queue.look() == []
    assert queue.said() == []
    assert maximum(queue) == 200


def test_runs_that_wait_for_cores_are_named_once(queue: Queue) -> None:
    """The line says what is in use, of how much, how many wait and which is next; no made-up number of runs."""
    first, second = queue.add(5, STARTED), queue.add(3, STARTED)
    third, fourth = queue.add(2), queue.add(4)
    for _ in range(5):
        assert queue.look() == []
    lines = queue.said()
    [line] = [text for text in lines if "cores" in text]
    assert "2 runs have 8 of at most 8 cores" in line
    assert f"of 2 queued, run {third} (trajectories of valley), which asks for 2, is next, and waits" in line
    assert len(lines) == len(set(lines)), "nothing is said at every look"
    assert not [text for text in lines if "Maximum" in text]
    assert maximum(queue) == 200
    queue.end(second)
    assert queue.look() == [third]
    [line] = [text for text in queue.said() if "cores" in text]
    assert "2 runs have 7 of at most 8 cores" in line
    assert f"run {fourth}" in line
    queue.end(first)
    assert queue.look() == [third, fourth]
    assert not [text for text in queue.said() if "cores" in text]


def test_runs_start_in_order_while_they_have_room(queue: Queue) -> None:
    """Nothing overtakes a large run, priority does, and a run larger than all there is runs alone."""
    small, large, late = queue.add(4), queue.add(8), queue.add(1)
    assert queue.look() == [small]
    urgent = queue.add(2, **{"dagster/priority": "5"})
    assert queue.look() == [urgent, small]
    for run in (urgent, small):
        queue.end(run)
    huge = queue.add(64, **{"dagster/priority": "9"})
    assert queue.look() == [huge]
    queue.end(huge)
    assert queue.look() == [large]
    queue.end(large)
    assert queue.look() == [late]


@pytest.mark.parametrize("queue", [2], indirect=True)
def test_a_cap_on_runs_is_named_where_it_is_one(queue: Queue) -> None:
    queue.add(1, STARTED)
    running = queue.add(1, STARTED)
    waiting = queue.add(1)
    for _ in range(5):
        assert queue.look() == []
    assert queue.said() == ["2 runs are currently in progress. Maximum is 2, won't launch more."]
    queue.end(running)
    assert queue.look() == [waiting]
