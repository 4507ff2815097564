"""Array jobs of scenes: what would be submitted to Slurm, as scripts, and submitting it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.operations.plan import plan_stored
from stilt_dagster.operations.work import require_work_may_begin
from stilt_dagster.resources.folders import Folder
from stilt_dagster.science.costs.plan import Concurrency
from stilt_dagster.science.costs.sizes import Load
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.slurm import scheduler
from stilt_dagster.slurm.array_job import ArrayJob, array_script, assembling_script, job_name, plan_array, require_plain
from stilt_dagster.slurm.scheduler import SlurmError

if TYPE_CHECKING:
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.slurm.site import Site


@dataclass(frozen=True)
class SceneJobs:
    """The jobs of a scene: an array, and what waits for its end.

    Attributes
    ----------
    array : ArrayJob
        What they are.
    script : str
        Of the array.
    assembling : str
        Of the job after it; empty where the array is not of all shards.
    """

    array: ArrayJob
    script: str
    assembling: str

    def write(self, directory: Path) -> list[Path]:
        """Write the scripts, each whole or not at all, and return where they are."""
        written = {f"stilt-{self.array.scene}.sbatch": self.script}
        if self.assembling:
            written[f"stilt-{self.array.scene}-assemble.sbatch"] = self.assembling
        for name, text in written.items():
            Folder.of(directory).write(name, text)
        return [directory / name for name in written]

    def submit(self) -> list[str]:
        """Submit the jobs, and return their ids.

        Raises
        ------
        SlurmError
            If Slurm refuses, or has jobs of the scene already.
        """
        if queued := scheduler.find(self.array.name):
            jobs = " ".join(queued)
            raise SlurmError(
                f"scene {self.array.scene} is queued or running already, as Slurm job {jobs}: wait for it, or end it "
                f"with `scancel {jobs}`, since two would do the same work twice"
            )
        submitted = [scheduler.submit(self.script)]
        if self.assembling:
            try:
                submitted.append(scheduler.submit(self.assembling, after=submitted[0]))
            except SlurmError as error:
                raise SlurmError(
                    f"job {submitted[0]} is submitted, but not the one that makes the jacobian of it: {error}; when it "
                    f"is done, run `stilt-dagster scene run {self.array.scene}`"
                ) from None
        return submitted


def plan_jobs(
    scene: StoredScene, site: Site, output: Path, shards: Sequence[str] = SHARDS, tasks: int = 0, meteorology: str = ""
) -> SceneJobs:
    """Return the jobs that do some shards of a scene.

    Parameters
    ----------
    scene : StoredScene
        A registered scene whose meteorology aggregate is there.
    site : Site
        What the site sets.
    output : Path
        Directory of logs; made when jobs are written or submitted.
    shards : sequence of str, optional
        The shards; all by default, and then what is made of all follows.
    tasks : int, optional
        Tasks of the array; as many as the plan needs by default.
    meteorology : str, optional
        Where archives of meteorology are, ``STILT_MET``.

    Raises
    ------
    IncompleteError
        If the meteorology aggregate is not there, or is of an earlier spec.
    BudgetError
        If the scene is planned to take more than its budget.
    SlurmError
        If it cannot be split as asked, or *output* is no directory sbatch can name.
    """
    require_work_may_begin(scene)
    require_plain(output)
    planned = plan_stored(scene, Concurrency(1)).limit
    load = Load.of(scene.spec)
    if planned.cpu_hours:
        load = replace(load, cpu_seconds=planned.cpu_hours * 3600)
    receptors = Counter(scene.spec.receptor_list.shards)
    root = scene.store.root
    job = plan_array(scene.id, job_name(scene.id, root), load, receptors, shards, site, tasks)
    settings = {"STILT_MET": meteorology} if meteorology else {}
    assembling = ""
    if tuple(shards) == SHARDS:
        assembling = assembling_script(job, site, output, root, settings)
    return SceneJobs(job, array_script(job, site, output, root, settings), assembling)
