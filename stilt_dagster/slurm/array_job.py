"""The array job of some shards of a scene: its tasks, how large they are, and the scripts sbatch takes.

Each task is one ``srun`` step, since steps are what Slurm signals at the time limit and when a grace time begins. The
step publishes what is finished; the script around it, which such a signal leaves alone, puts the task back into the
queue.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from stilt_dagster.resources.stored_scene import OF_SCENES, OF_SHARDS
from stilt_dagster.science.costs.sizes import MIB, Load, cores_for, runs_for, size_of
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.validation import digest
from stilt_dagster.slurm.scheduler import SlurmError
from stilt_dagster.slurm.site import Site

#: The time limit over what is planned: nodes differ, and the plan of a first scene is of another machine.
MARGIN = 2.0

#: Seconds every task has besides: for starting on a busy file system, and for what it publishes in the end.
START = 900

#: Seconds before the time limit at which a task is told to end. Slurm may say so a minute earlier.
NOTICE = 120

#: CPU of reading all parts once over that of making them, at most.
READING = 0.02


#: Paths that mean the same to sbatch, which fills in what follows a %, and to a shell.
_PLAIN = re.compile(r"/[^%\"\\\x00-\x1f]*")


@dataclass(frozen=True)
class Request:
    """What a task asks Slurm for.

    Attributes
    ----------
    cpus : int
        CPUs.
    memory : int
        Bytes.
    seconds : int
        Time limit, s.
    """

    cpus: int
    memory: int
    seconds: int

    @property
    def time(self) -> str:
        """The time limit as sbatch takes it, in whole minutes."""
        minutes = math.ceil(self.seconds / 60)
        return f"{minutes // 1440}-{minutes // 60 % 24:02d}:{minutes % 60:02d}:00"


@dataclass(frozen=True)
class ArrayJob:
    """The array job of a scene.

    Attributes
    ----------
    scene : str
        The scene.
    name : str
        What its jobs are called.
    tasks : tuple of tuple of str
        The shards of each task.
    request : Request
        What each task asks for.
    assembling : Request
        What the job after it asks for, which makes of all shards what is made of them.
    """

    scene: str
    name: str
    tasks: tuple[tuple[str, ...], ...]
    request: Request
    assembling: Request


def job_name(scene: str, store: str) -> str:
    """Return what a scene's jobs are called: as no other's, and no other store's."""
    return f"stilt-{scene}-{digest(store)[:6]}"


def require_plain(output: Path) -> None:
    """Refuse a directory of logs that sbatch would take for another.

    Raises
    ------
    SlurmError
        Naming it.
    """
    if not _PLAIN.fullmatch(str(output)):
        raise SlurmError(
            f"sbatch cannot name logs in {str(output)!r}: give another directory, without %, quotes and \\"
        )


def plan_array(
    scene: str, name: str, load: Load, receptors: Mapping[str, int], shards: Sequence[str], site: Site, tasks: int = 0
) -> ArrayJob:
    """Return the array job of some shards of a scene.

    Parameters
    ----------
    scene : str
        Its id.
    name : str
        What its jobs are called, see :func:`job_name`.
    load : Load
        What it asks for; its CPU as planned.
    receptors : mapping of str to int
        Receptors of each shard.
    shards : sequence of str
        Shards, ascending.
    site : Site
        What the site sets.
    tasks : int, optional
        Tasks; by default as few as finish in about half an hour within the site's CPUs of a task.

    Raises
    ------
    SlurmError
        If there are more tasks than shards, or than the site allows.
    """
    share = sum(receptors.get(shard, 0) for shard in shards) / load.receptors
    most = min(len(shards), site.tasks)
    if tasks > most:
        raise SlurmError(f"--tasks must be at most {most}, the shards asked for and the site's tasks (got {tasks})")
    wanted = replace(load, cpu_seconds=load.cpu_seconds * share)
    parts = _split(shards, tasks or min(most, runs_for(wanted, len(SHARDS), site.cpus)))
    # Shards differ, most of all those of small scenes; all tasks of an array ask for the same.
    largest = max(1, *(sum(receptors.get(shard, 0) for shard in part) for part in parts)) / load.receptors
    cpus = cores_for(load.cpu_seconds * largest, site.cpus)
    memory = max(size_of(asset, load, largest, most=cpus).memory for asset in OF_SHARDS)
    return ArrayJob(
        scene,
        name,
        parts,
        Request(cpus, memory, _limit(load.cpu_seconds * largest / cpus, site)),
        Request(1, max(size_of(asset, load).memory for asset in OF_SCENES), _limit(load.cpu_seconds * READING, site)),
    )


def array_script(
    job: ArrayJob,
    site: Site,
    output: Path,
    store: str,
    settings: Mapping[str, str],
    assets: Sequence[str] = OF_SHARDS,
) -> str:
    """Return the script of an array job.

    Parameters
    ----------
    job : ArrayJob
        The job.
    site : Site
        What the site sets.
    output : Path
        Directory of the logs, on a file system of all nodes.
    store : str
        The store, which all nodes see.
    settings : mapping of str to str
        Other variables of stilt-dagster, which the script exports; no secrets.
    assets : sequence of str, optional
        What of :data:`~stilt_dagster.resources.stored_scene.OF_SHARDS` to make.
    """
    shards = " ".join(f'"{_range(part)}"' for part in job.tasks)
    options = {"array": f"0-{len(job.tasks) - 1}", "output": output / f"stilt-{job.scene}-%A_%a.log"}
    chosen = "" if tuple(assets) == OF_SHARDS else f" --assets {','.join(assets)}"
    work = f'--shards "${{shards[SLURM_ARRAY_TASK_ID]}}"{chosen} --workers {job.request.cpus}'
    names = [f"shards=({shards})", f'what="scene {job.scene}, shards ${{shards[SLURM_ARRAY_TASK_ID]}}"']
    return _script(job, job.request, options, site, {"STILT_STORE": store, **settings}, names, work)


def assembling_script(job: ArrayJob, site: Site, output: Path, store: str, settings: Mapping[str, str]) -> str:
    """Return the script of the job after an array, see :func:`array_script`."""
    options = {"output": output / f"stilt-{job.scene}-%j.log"}
    made = ",".join(OF_SCENES)
    names = [f'what="scene {job.scene}, {made}"']
    return _script(job, job.assembling, options, site, {"STILT_STORE": store, **settings}, names, f"--assets {made}")


def _script(
    job: ArrayJob,
    request: Request,
    options: Mapping[str, object],
    site: Site,
    environment: Mapping[str, str],
    names: Sequence[str],
    work: str,
) -> str:
    """Return a script that does *work* of a scene, and begins again when it was told to end."""
    given = {
        "job-name": job.name, **options, "open-mode": "append", "nodes": 1, "ntasks": 1, "cpus-per-task": request.cpus,
        "mem": f"{math.ceil(request.memory / MIB)}M", "time": request.time, "signal": f"TERM@{NOTICE}",
        "partition": site.partition, "account": site.account, "qos": site.qos, "constraint": site.constraint,
    }  # fmt: skip
    lines = [f"--{name}={_word(value)}" for name, value in given.items() if value is not None]
    exported = {**environment, **({"TMPDIR": site.scratch} if site.scratch else {})}
    return _TEXT.format(
        options="\n".join(f"#SBATCH {line}" for line in [*lines, "--requeue", *site.options]),
        setup="".join(f"{line}\n" for line in site.setup),
        exports="\n".join(f"export {name}={shlex.quote(value)}" for name, value in exported.items()),
        names="\n".join(names),
        requeues=site.requeues,
        scene=job.scene,
        cpus=request.cpus,
        command=_command(site, exported.values()),
        work=work,
    )


_TEXT = """\
#!/bin/bash
{options}

{setup}{exports}
{names}
if [ "${{SLURM_RESTART_COUNT:-0}}" -gt {requeues} ]; then
  echo "error: $what: requeued $SLURM_RESTART_COUNT times and not done; what is finished is kept:" \\
    "raise time_limit, cpus or requeues of the site, and submit it again" >&2
  exit 1
fi
srun --ntasks=1 --cpus-per-task={cpus} {command} \\
  scene work {scene} {work}
code=$?
# Done, receptors that failed for good, wrong input: another try would come to the same. The rest was ended or killed.
if [ "$code" -le 2 ]; then exit "$code"; fi
# Not if it was cancelled, or Slurm itself has put it back into the queue.
if [ "$(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID")" = RUNNING ]; then
  echo "$what: ended with code $code, goes back into the queue" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def _command(site: Site, values: Iterable[str]) -> str:
    """Return what stilt-dagster is called on a node: in an image, which sees the directories the job is told of."""
    if site.image is None:
        return site.program or f"{shlex.quote(sys.executable)} -m stilt_dagster.cli"
    seen = "".join(f" --bind {shlex.quote(value)}" for value in values if value.startswith("/"))
    return f"apptainer exec{seen} {shlex.quote(site.image)} {site.program or 'stilt-dagster'}"


def _word(value: object) -> str:
    """Return the value of an option as sbatch reads it from a script: in quotes where it has blanks."""
    text = str(value)
    return f'"{text}"' if re.search(r"\s", text) else text


def _range(shards: Sequence[str]) -> str:
    """Return shards as ``--shards`` takes them."""
    first, last = shards[0], shards[-1]
    return f"{first}-{last}" if int(last) - int(first) == len(shards) - 1 else ",".join(shards)


def _split(shards: Sequence[str], tasks: int) -> tuple[tuple[str, ...], ...]:
    """Return shards in so many runs of neighbours, as even as may be."""
    edges = [round(k * len(shards) / tasks) for k in range(tasks + 1)]
    return tuple(tuple(shards[a:b]) for a, b in pairwise(edges))


def _limit(seconds: float, site: Site) -> int:
    """Return the time limit of what is planned to take so long, s."""
    return math.ceil(min(MARGIN * seconds + START, site.time_limit * 3600))
