"""The queue of runs: one run an asset, and so many at a time that their cores stay under a cap."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import (
    ACTIVE_RUN_STATUSES,
    NOT_FINISHED_STATUSES,
    PRIORITY_TAG,
    WILL_RETRY_TAG,
    QueuedRunCoordinator,
    RunQueueConfig,
    SubmitRunContext,
    TagConcurrencyLimitsCounter,
)
from stilt_dagster.kubernetes.run_coverage import (
    ASSET_TAG,
    CORES_TAG,
    COST_TAG,
    PRODUCT_TAG,
    SCENE_TAG,
    coverage,
    load_of,
    size_of_run,
)
from stilt_dagster.kubernetes.run_splitting import AFTER_TAG, WAITS_TAG, split
from stilt_dagster.partitions import runs_of
from stilt_dagster.science.errors import UserError

#: Queued runs looked at in one round; more are looked at in the next.
_HEAD = 200

_LOG = logging.getLogger("dagster.daemon.CoreQueue")


class _Once(logging.Filter):
    """Drops a line that says what the last one said: Dagster says it at every look. Warnings pass."""

    _last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        is_new, self._last = line != self._last, line
        return is_new or record.levelno > logging.INFO


_ONCE = _Once()


class CoreQueue(QueuedRunCoordinator):
    """Queues runs as ``QueuedRunCoordinator`` does, counting cores, and makes one run of each asset.

    A run of several assets, such as two selected together in the UI, becomes one run for each; a later one waits in
    the queue until the one before it has succeeded, and is canceled if that fails for good.

    Parameters
    ----------
    max_cores : int
        Cores that runs in progress may ask for together; a run larger than this runs alone. 0: no cap.
    **settings
        Of ``QueuedRunCoordinator``; its limits hold as well.
    """

    def __init__(self, max_cores: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.max_cores = max_cores
        self._waiting = ""  # the run the log last said waits for cores
        logging.getLogger("dagster.daemon.QueuedRunCoordinatorDaemon").addFilter(_ONCE)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the settings of ``QueuedRunCoordinator`` and this one's own."""
        own = dg.Field(
            dg.IntSource, is_required=False, default_value=0, description="Cores of runs in progress; 0: no cap."
        )
        return {**super().config_type(), "max_cores": own}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> CoreQueue:
        """Make one of ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue a run; of several assets, the runs that make them, of which the first is returned."""
        run = context.dagster_run
        if run.status is not dg.DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        made_by_job = None
        if not run.asset_selection and context.workspace is not None:
            made_by_job = frozenset(context.workspace.asset_graph.get_materialization_asset_keys_for_job(run.job_name))
        covers = coverage(run, made_by_job)
        if len(runs_of(covers.assets)) < 2 and covers.scene == covers.last_scene:
            return self._submit(run, context, made_by_job)
        runs = split(self._instance, run, covers, context.workspace)
        for one in runs:
            if one.status is dg.DagsterRunStatus.NOT_STARTED:
                self._submit(one, context, made_by_job)
        return self._current(runs[0])

    def _submit(
        self, run: dg.DagsterRun, context: SubmitRunContext, made_by_job: frozenset[dg.AssetKey] | None
    ) -> dg.DagsterRun:
        covers = coverage(run, made_by_job)
        try:
            size = size_of_run(self._instance, run, covers)
        except UserError as error:
            self._instance.report_run_failed(run, str(error))
            return self._current(run)
        recorded = load_of(self._instance, covers.scene)[1]
        found_by = {name: recorded[name] for name in (PRODUCT_TAG, COST_TAG) if name in recorded}
        own = {SCENE_TAG: covers.scene, ASSET_TAG: ",".join(covers.assets), CORES_TAG: f"{size.cpu:g}"}
        tags = {**found_by, **own}
        self._instance.add_run_tags(run.run_id, {name: value for name, value in tags.items() if value})
        return super().submit_run(SubmitRunContext(self._current(run), workspace=context.workspace))

    def _current(self, run: dg.DagsterRun) -> dg.DagsterRun:
        found = self._instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def get_run_queue_config(self) -> RunQueueConfig:
        """Return the limits of this round: Dagster's own, and what follows from cores and from runs that wait.

        Dagster asks before each look at its queue, and counts runs. So the head of the queue is walked here as Dagster
        will walk it, to see how many more of its runs have room. That number goes into a limit on the tag every run of
        this queue has; ``max_concurrent_runs``, which Dagster names in the UI and in its log, stays what was set.
        """
        limits = super().get_run_queue_config()
        self._release()
        waits = {"key": WAITS_TAG, "value": "yes", "limit": 0}
        limits = limits._replace(tag_concurrency_limits=[*(limits.tag_concurrency_limits or []), waits])
        if not self.max_cores:
            return limits
        running = self._instance.get_runs(dg.RunsFilter(statuses=ACTIVE_RUN_STATUSES))
        n = self._with_room(running, limits)
        counted = sum(CORES_TAG in run.tags for run in running)
        # With no room, 0: whatever is queued, or ends, before Dagster looks.
        room = {"key": CORES_TAG, "limit": counted + n if n else 0}
        return limits._replace(tag_concurrency_limits=[*limits.tag_concurrency_limits, room])

    def _with_room(self, running: Sequence[dg.DagsterRun], limits: RunQueueConfig) -> int:
        """Return how many runs of the queue's head may start."""
        cores = sum(map(_cores, running))
        busy = bool(running)
        counter = TagConcurrencyLimitsCounter(list(limits.tag_concurrency_limits or []), list(running))
        n = 0
        waiting = None
        for run in self._head():
            if counter.is_blocked(run):
                continue
            if busy and cores + _cores(run) > self.max_cores:
                waiting = run  # nothing overtakes it, or a large run would wait for ever
                break
            counter.update_counters_with_launched_item(run)
            cores, n, busy = cores + _cores(run), n + 1, True
        self._log_waiting(waiting, cores, len(running) + n)
        return n

    def _log_waiting(self, waiting: dg.DagsterRun | None, cores: float, runs: int) -> None:
        """Log which run waits for cores, once for each."""
        last, self._waiting = self._waiting, waiting.run_id if waiting else ""
        if waiting and waiting.run_id != last:
            queued = self._instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
            _LOG.info(
                f"{runs} runs have {cores:g} of at most {self.max_cores} cores: of {queued} queued, run "
                f"{waiting.run_id} ({waiting.tags.get(ASSET_TAG, waiting.job_name)} of "
                f"{waiting.tags.get(SCENE_TAG, '-')}), which asks for {_cores(waiting):g}, is next, and waits"
            )

    def _head(self) -> Iterator[dg.DagsterRun]:
        queued = self._instance.get_runs(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), limit=_HEAD, ascending=True
        )
        yield from sorted(queued, key=_priority, reverse=True)

    def _release(self) -> None:
        """Let go of runs that wait for one that has succeeded; cancel those that wait for one that failed for good."""
        waiting = self._instance.get_runs(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={WAITS_TAG: "yes"}), limit=_HEAD, ascending=True
        )
        states = (
            {
                run.run_id: run.status
                for run in self._instance.get_runs(dg.RunsFilter(run_ids=[run.tags[AFTER_TAG] for run in waiting]))
            }
            if waiting
            else {}
        )
        for run in waiting:
            before = run.tags[AFTER_TAG]
            state = states.get(before)
            if state in NOT_FINISHED_STATUSES:
                continue
            outcome = "done" if state is dg.DagsterRunStatus.SUCCESS else self._outcome(before)
            if outcome == "done":
                self._instance.add_run_tags(run.run_id, {WAITS_TAG: "no"})
            elif outcome == "failed":
                self._instance.report_run_canceled(
                    run, f"The run it builds on, {before}, did not succeed: fix its cause, and materialize this again."
                )

    def _outcome(self, run_id: str) -> str:
        """Return ``done``, ``pending`` or ``failed`` of a run and its retries."""
        group = self._instance.get_run_group(run_id) if self._instance.has_run(run_id) else None
        runs = list(group[1]) if group else []
        if any(run.status is dg.DagsterRunStatus.SUCCESS for run in runs):
            return "done"
        retried = {run.parent_run_id for run in runs}
        last = [run for run in runs if run.run_id not in retried]
        goes_on = any(not run.is_finished or run.tags.get(WILL_RETRY_TAG) == "true" for run in last)
        return "pending" if goes_on else "failed"


def _cores(run: dg.DagsterRun) -> float:
    return float(run.tags.get(CORES_TAG, 1))


def _priority(run: dg.DagsterRun) -> int:
    try:
        return int(run.tags.get(PRIORITY_TAG, 0))
    except ValueError:
        return 0
