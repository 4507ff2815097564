"""What a site sets once for all its array jobs: a small YAML file, such as ``deploy/slurm/slurm.yaml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from stilt_dagster.science.costs.sizes import MAX_CORES
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.validation import Hours, Spec, parse_yaml, read_text, validate
from stilt_dagster.slurm.scheduler import SlurmError

#: Options of sbatch that are what an array job is made of, and follow from the scene.
_OURS = frozenset(
    {
        "array", "chdir", "cpus-per-task", "dependency", "export", "job-name", "mem", "mem-per-cpu", "no-requeue",
        "nodes", "ntasks", "open-mode", "output", "parsable", "requeue", "signal", "time", "wrap",
    }
)  # fmt: skip

_OPTION = re.compile(r"--([a-z][a-z0-9-]{0,60})(=[^\s=][^\n\r\0]{0,300})?")


def _line(text: str) -> str:
    """Refuse what is more than a line of a script."""
    if not text.isprintable():
        raise ValueError(f"must be one line of printable characters (got {text!r:.80})")
    return text


def _option(text: str) -> str:
    """Refuse what is no option of sbatch, or is one that follows from the scene."""
    found = _OPTION.fullmatch(_line(text))
    if found is None:
        raise ValueError(f"must be an option of sbatch such as --exclude=node7 (got {text!r:.80})")
    if found[1] in _OURS:
        raise ValueError(f"--{found[1]} follows from the scene, or has a name of its own in this file")
    return text


def _absolute(text: str) -> str:
    if not _line(text).startswith("/"):
        raise ValueError(f"must be an absolute path, the same on every node (got {text!r:.80})")
    return text


#: A name of the cluster's, as sbatch takes it.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:&|*()\[\]-]{0,199}$")]

Line = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_line)]
Option = Annotated[str, Field(max_length=400), AfterValidator(_option)]
AbsolutePath = Annotated[str, Field(max_length=1000), AfterValidator(_absolute)]


class Site(Spec):
    """What a site sets; all of it may be left out."""

    partition: Name | None = Field(None, description="Partition of the jobs; the cluster's default without.")
    account: Name | None = Field(None, description="Account that is charged.")
    qos: Name | None = Field(None, description="Quality of service.")
    constraint: Name | None = Field(None, description="Features that nodes must have.")
    options: list[Option] = Field([], max_length=50, description="Other options of sbatch, such as --exclude=node7.")
    setup: list[Line] = Field([], max_length=100, description="Lines of bash before the work, such as module load.")
    image: AbsolutePath | None = Field(None, description="Apptainer image to work in; without, this Python is used.")
    program: Line | None = Field(
        None, description="What stilt-dagster is called on a node; in an image by that name, else as it runs here."
    )
    tasks: int = Field(len(SHARDS), ge=1, le=len(SHARDS), description="Most tasks of an array.")
    cpus: int = Field(MAX_CORES, ge=1, le=1024, description="Most CPUs of a task.")
    time_limit: Hours = Field(24.0, description="Longest time limit, h; what takes longer is requeued and goes on.")
    requeues: int = Field(
        10, ge=0, le=1000, description="How often a task may begin again before it fails, whatever ended it."
    )
    scratch: AbsolutePath | None = Field(
        None, description="Directory of each node for hycs_std's files; the job's own TMPDIR without."
    )


def read_site(path: Path) -> Site:
    """Read a site's file.

    Raises
    ------
    SlurmError
        One line naming the file, each field in error, and what is allowed.
    """
    text = read_text(path, SlurmError)
    data = parse_yaml(text, str(path), "what a site sets: partition, account, setup, ...", SlurmError)
    return validate(Site, data, str(path), SlurmError)
