"""Shards of a run done by an array job: what is to be done, and what came of it, by the parts in the store.

The run itself simulates nothing. It reports what a run that does the work itself would, from the indexes of parts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from stilt_dagster.resources.configurable import ShardWork, TransportEngine
from stilt_dagster.resources.stored_scene import OF_SHARDS, StoredScene
from stilt_dagster.science.errors import StoreError
from stilt_dagster.science.outcomes import PartSummary, Report
from stilt_dagster.science.part_index import is_current, remove_stale_parts
from stilt_dagster.slurm.shard_job import ShardJob
from stilt_dagster.slurm.site import Site, read_site

if TYPE_CHECKING:
    from stilt_dagster.science.batches import Batch
    from stilt_dagster.science.meteorology.description import Meteorology
    from stilt_dagster.science.part_pool import Progress

    Shards = Mapping[str, Sequence[Batch]]

    #: How the parts of batches ended; None where there is no good one.
    Found = dict[Batch, PartSummary | None]


class SlurmWork(ShardWork):
    """Shards are simulated and gridded by an array job of Slurm, which the run waits for."""

    site_file: str = Field("", description="What the site sets for array jobs, a YAML file; empty: Slurm's defaults.")

    def _site(self) -> Site:
        """Return what the site sets, as it is when a job may be submitted."""
        return read_site(Path(self.site_file)) if self.site_file else Site()

    def simulate(
        self,
        context: dg.AssetExecutionContext,
        scene: StoredScene,
        shards: Shards,
        meteorology: Meteorology,
        engine: TransportEngine,
        *,
        rerun: bool,
        report_progress: Progress,
    ) -> Report:
        """Have what of some shards is missing or failed simulated, and gridded as well.

        Parameters and what is returned are as of :meth:`ShardWork.simulate`. Receptors that fail in the job are failed;
        the next run has them tried again.

        Raises
        ------
        SlurmError
            If there is no Slurm here, it refuses the job, or the job ended before all was done.
        """
        start = time.monotonic()
        before = _simulated(scene, shards)
        todo = {b for b, part in before.items() if rerun or part is None or part.counts.get("failed")}
        with ShardJob(context, scene, shards, OF_SHARDS, self._site(), report_progress) as job:
            after = job.do(todo, lambda: _simulated(scene, shards), rerun=rerun)
        report = Report(seconds=time.monotonic() - start, cpu_seconds=_cpu_seconds(todo, before, after))
        for batch, part in after.items():
            assert part is not None, "the job did all"
            report.add_part(part)
            earlier = None if rerun else before[batch]
            kept = earlier.counts.get("ok", 0) if earlier else 0
            report.kept += kept
            report.made += len(batch.receptors) - kept
        remove_stale_parts(shards, scene.trajectories, ".parquet")
        with suppress(StoreError):  # the index only saves work
            for shard, members in shards.items():
                if members:
                    scene.trajectories(shard).save()
        return report

    def grid(
        self,
        context: dg.AssetExecutionContext,
        scene: StoredScene,
        shards: Shards,
        engine: TransportEngine,
        *,
        rerun: bool,
        report_progress: Progress,
    ) -> Report:
        """Have what of some shards' footprints is missing, or was made with other particles or settings, gridded.

        Parameters and what is returned are as of :meth:`simulate`. A job that simulates grids as well, so that in the
        same run nothing is left to do.

        Raises
        ------
        IncompleteError
            If trajectories are missing, or were made with other inputs.
        SlurmError
            As of :meth:`simulate`.
        """
        start = time.monotonic()
        rerun = rerun and not any(node.name == "trajectories" for node in context.job_def.nodes)
        before = _gridded(scene, shards)
        todo = {b for b, part in before.items() if rerun or part is None}
        with ShardJob(context, scene, shards, ("footprints",), self._site(), report_progress) as job:
            after = job.do(todo, lambda: _gridded(scene, shards), rerun=rerun)
        # All are done: they are read, for the sum of their influence.
        report = super().grid(context, scene, shards, engine, rerun=False, report_progress=lambda done, total: None)
        report.seconds = time.monotonic() - start
        report.cpu_seconds += _cpu_seconds(todo, before, after)
        report.made = sum(len(batch.receptors) for batch in todo)
        report.kept = report.receptors - report.made
        return report


def _simulated(scene: StoredScene, shards: Shards) -> Found:
    """Return how the simulations of shards ended."""
    from stilt_dagster.science.transport.trajectories import part_summary

    return {b: part_summary(scene.trajectories(b.shard), b) for members in shards.values() for b in members}


def _gridded(scene: StoredScene, shards: Shards) -> Found:
    """Return how the footprints of shards ended; of those of other simulations than there are, None.

    Raises
    ------
    IncompleteError
        If trajectories are missing, or were made with other inputs.
    """
    from stilt_dagster.science.footprints.footprints import part_summary, without_trajectories

    found: Found = {}
    for batch, particles in _simulated(scene, shards).items():
        if particles is None:
            raise without_trajectories(batch)
        part = part_summary(scene.footprints(batch.shard), batch, scene.spec)
        found[batch] = part if is_current(part, particles) else None
    return found


def _cpu_seconds(done: set[Batch], before: Found, after: Found) -> float:
    """Return the CPU that was spent on parts, s: an earlier try of a part is in what it says it took."""

    def spent(part: PartSummary | None) -> float:
        return part.effort.cpu_seconds if part is not None and part.effort is not None else 0.0

    return sum(max(spent(after[batch]) - spent(before[batch]), 0.0) for batch in done)
