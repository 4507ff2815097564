"""The array job of a run: found by its name or submitted, waited for, and cancelled with the run.

Its name says what it makes: scene, store, versions, shards. So what a killed run has left in the queue is found by the
next run of the same shards, and nothing is submitted twice.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import dagster as dg

from stilt_dagster.resources.folders import store_errors
from stilt_dagster.science.costs.sizes import Load
from stilt_dagster.science.errors import StoreError, counted
from stilt_dagster.science.validation import digest
from stilt_dagster.slurm import scheduler, waiting
from stilt_dagster.slurm.array_job import array_script, job_name, plan_array, require_plain
from stilt_dagster.slurm.scheduler import SlurmError, Task

if TYPE_CHECKING:
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.batches import Batch
    from stilt_dagster.science.outcomes import PartSummary
    from stilt_dagster.science.part_pool import Progress
    from stilt_dagster.slurm.site import Site

T = TypeVar("T")

#: What is made, and what the names of its part files end with.
_ENDINGS = {"trajectories": ".parquet", "footprints": ".nc"}

#: Seconds between two looks for progress.
_LOOK_EVERY = 30.0

#: Seconds within which parts of tasks that ended well are seen: a shared file system may show them late.
_SEEN_WITHIN = 60.0


class ShardJob:
    """What a run has done by Slurm.

    Parameters
    ----------
    context : AssetExecutionContext
        Of the run. Where that is cancelled, its jobs are; where it is killed, or its server stops, they go on.
    scene : StoredScene
        The scene.
    shards : mapping of str to sequence of Batch
        Whole shards of it.
    assets : sequence of str
        What the job makes: ``footprints``, after ``trajectories`` or alone.
    site : Site
        What the site sets.
    report_progress : callable
        Told of receptors done and in all.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        scene: StoredScene,
        shards: Mapping[str, Sequence[Batch]],
        assets: Sequence[str],
        site: Site,
        report_progress: Progress,
    ) -> None:
        self._context, self._scene, self._shards, self._assets = context, scene, shards, assets
        self._site, self._logs = site, logs_of(scene)
        self._report_progress = report_progress
        made = [scene.store.root, scene.versions.trajectories, scene.versions.footprints, list(shards), list(assets)]
        self._name = f"stilt-{scene.id}-{digest(made)[:12]}"
        self._jobs: list[str] = []
        self._ended: list[Task] = []

    def __enter__(self) -> ShardJob:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt | dg.DagsterExecutionInterruptedError):
            self._interrupted()

    def do(
        self,
        todo: Collection[Batch],
        look: Callable[[], Mapping[Batch, PartSummary | None]],
        *,
        rerun: bool,
    ) -> Mapping[Batch, PartSummary | None]:
        """Have some batches done, by what is in the queue already, or by a job of their shards.

        Parameters
        ----------
        todo : collection of Batch
            What is to be done.
        look : callable
            Gives how the parts of all batches are; None where there is no good one.
        rerun : bool
            Parts there are do not count: they are removed before the job, so that what it, requeued or found by
            another run, still has to do is what is missing.

        Returns
        -------
        mapping of Batch to PartSummary
            How the parts of all batches are.

        Raises
        ------
        SlurmError
            If there is no Slurm here, it refuses the job, or the job ended before all was done.
        """
        if not todo:
            return look()
        left = todo
        of_scene = job_name(self._scene.id, self._scene.store.root)  # what a person has submitted
        for name in (self._name_of(rerun=True), self._name_of(rerun=False), of_scene):
            for job in self._ask(partial(scheduler.find, name)):
                self._tell(f"Slurm job {job} is in the queue for this already: waiting for it")
                found = self._await(job, todo, look)
                # What failed in it was tried, as what failed in a job of this run's own would be.
                if not rerun or name == self._name_of(rerun=True):
                    left, rerun = [b for b, part in found.items() if part is None], False
        if left:
            name = self._name_of(rerun=rerun)
            script = self._script(name, left)
            if rerun:  # a job that would be refused costs no parts
                self._ask(partial(scheduler.check, script))
                self._remove_parts()
            job = self._ask(partial(waiting.submit_once, name, script))
            receptors = counted(sum(len(b.receptors) for b in left), "receptor")
            self._tell(f"Slurm job {job}: {receptors} of {counted(len(_shards_of(left)), 'shard')}; logs: {self._logs}")
            self._await(job, left, look)
        found = look()
        self._record()
        if lost := [b for b, part in found.items() if part is None]:
            raise self._unfinished(lost)
        return found

    def _ask(self, question: Callable[[], T]) -> T:
        """Ask the controller before the run's own job is submitted, until it answers."""
        return waiting.patiently(question, self._tell, "no job of this run is submitted before it does")

    def _script(self, name: str, left: Collection[Batch]) -> str:
        """Return the script of a job that does some batches."""
        scene, receptors = self._scene, Counter[str]()
        for batch in left:
            receptors[batch.shard] += len(batch.receptors)
        load, shards = Load.of(scene.spec), sorted(receptors)
        require_plain(self._logs)
        with store_errors("write", self._logs):
            self._logs.mkdir(parents=True, exist_ok=True)
        job = plan_array(scene.id, name, load, receptors, shards, self._site)
        return array_script(job, self._site, self._logs, scene.store.root, {}, self._assets)

    def _name_of(self, *, rerun: bool) -> str:
        """Return the job's name; of one that makes everything again another."""
        return f"{self._name}-all" if rerun else self._name

    def _await(
        self, job: str, todo: Collection[Batch], look: Callable[[], Mapping[Batch, PartSummary | None]]
    ) -> Mapping[Batch, PartSummary | None]:
        """Wait for a job that does some batches; return how the parts of all batches are then."""
        self._jobs.append(job)
        self._ended = waiting.wait(job, self._tell, self._progress_of(todo))
        ended_well = all(task.state in ("COMPLETED", "FAILED") and task.exit_code in (0, 1) for task in self._ended)
        late = time.monotonic() + (_SEEN_WITHIN if ended_well else 0.0)
        while True:
            self._scene.relist()
            found = look()
            if all(part is not None for part in found.values()) or time.monotonic() >= late:
                return found
            time.sleep(5.0)

    def _progress_of(self, todo: Collection[Batch]) -> Callable[[], None]:
        """Return what reports progress now and then: by the parts that were written since, which it lists."""
        asset, scene = self._assets[0], self._scene
        folders = {shard: scene.store.folder(asset, scene.id, shard) for shard in _shards_of(todo)}
        before = {shard: folder.states() for shard, folder in folders.items()}
        total = sum(len(b.receptors) for members in self._shards.values() for b in members)
        kept = total - sum(len(b.receptors) for b in todo)
        looked = time.monotonic()

        def look() -> None:
            nonlocal looked
            if time.monotonic() - looked < _LOOK_EVERY:
                return
            looked = time.monotonic()
            with suppress(StoreError):  # a job goes on without being looked at
                now = {shard: folder.states() for shard, folder in folders.items()}
                names = {b: f"{b.name}{_ENDINGS[asset]}" for b in todo}
                written = (
                    b for b, name in names.items() if now[b.shard].get(name) not in (None, before[b.shard].get(name))
                )
                self._report_progress(kept + sum(len(b.receptors) for b in written), total)

        return look

    def _remove_parts(self) -> None:
        """Remove the parts of all shards."""
        for asset in self._assets:
            for shard, members in self._shards.items():
                folder = getattr(self._scene, asset)(shard)
                present = set(folder.names())
                for name in sorted(present & {f"{b.name}{_ENDINGS[asset]}" for b in members}):
                    folder.remove(name)
                folder.save()

    def _tell(self, line: str) -> None:
        """Say a line in the run's log, and to the person who waits for the run, if it is one of a command."""
        self._context.log.info(line)
        if self._is_in_foreground:
            print(line, file=sys.stderr)

    @property
    def _is_in_foreground(self) -> bool:
        """Whether the run is a command's own, so that nothing else would go on with it."""
        return self._context.run.remote_job_origin is None

    def _interrupted(self) -> None:
        """Cancel what is in the queue, if it was the run that was to end and not its server."""
        run = self._context.instance.get_run_by_id(self._context.run.run_id)
        cancelled = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
        if not self._is_in_foreground and run is not None and run.status not in cancelled:
            self._tell("interrupted: what is in Slurm's queue goes on, the next run of these shards waits for it")
            return
        try:
            for name in (self._name_of(rerun=True), self._name_of(rerun=False)):
                for job in scheduler.find(name):
                    scheduler.cancel(job)
                    self._tell(f"Slurm job {job} is cancelled; parts that are finished are kept")
        except SlurmError as error:
            self._tell(f"{error}; to end the job: scancel --me --name={self._name}")

    def _record(self) -> None:
        """Record the jobs with the materialization."""
        if self._jobs:
            jobs = {"stilt/slurm_job": ", ".join(self._jobs), "stilt/slurm_logs": str(self._logs)}
            self._context.add_output_metadata(jobs)

    def _unfinished(self, lost: Sequence[Batch]) -> SlurmError:
        """Return the error of a job that ended before all was done."""
        shards = _shards_of(lost)
        return SlurmError(
            f"{counted(sum(len(b.receptors) for b in lost), 'receptor')} of {', '.join(self._assets)} in shard"
            f"{'' if len(shards) == 1 else 's'} {', '.join(shards)} of scene {self._scene.id} are not done: Slurm job "
            f"{self._jobs[-1]} ended ({waiting.summary(self._ended)}), its logs are {self._logs}; fix the cause and "
            "materialize again: only what is missing is submitted"
        )


def logs_of(scene: StoredScene) -> Path:
    """Return where the logs of a scene's jobs are: in its store, or beside the user's other files if that is remote."""
    place = scene.store.directory or Path.home() / "stilt-dagster"
    return place / "logs" / scene.id


def _shards_of(batches: Collection[Batch]) -> list[str]:
    return sorted({batch.shard for batch in batches})
