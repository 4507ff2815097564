"""Slurm's own commands, as a user types them: submit, cancel, find, and how the tasks of a job are.

Scripts go to ``sbatch`` by standard input, so that no argument holds more than an option, and no shell is between. It
hands its environment on to the job, and so gets none of Dagster's secrets.
Accounting is not needed: the controller knows a job for some minutes after its end, and ``sacct`` is asked only then.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from stilt_dagster.science.errors import UserError
from stilt_dagster.settings import job_environment

#: Ids of jobs, and of tasks of arrays.
_JOB = re.compile(r"[1-9]\d{0,9}(_\d{1,7})?")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

#: What Slurm's commands say when no controller answers.
_UNREACHABLE = re.compile(
    r"unable to contact slurm controller|connection refused|socket timed out"
    r"|transport endpoint|zero bytes were transmitted|slurm backup controller",
    re.I,
)

#: What they say where nobody has told them of a cluster.
_NO_CLUSTER = re.compile(r"could not establish a conf", re.I)

#: What they say of a job that is too long ago, or never was.
_UNKNOWN = re.compile(r"invalid job id specified", re.I)

#: Seconds a command may take; Slurm's own tries end before.
_TIMEOUT = 120

#: States of tasks that are not over; ``COMPLETING`` ones may come back, if Slurm was told so.
_UNFINISHED = frozenset(
    {
        "PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
        "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
    }
)  # fmt: skip


class SlurmError(UserError):
    """Slurm is not here, does not answer, or refuses what it is told."""


class SlurmUnavailable(SlurmError):
    """Slurm's controller does not answer: what was to be done may be done later."""


@dataclass(frozen=True)
class Task:
    """How a task of a job is.

    Attributes
    ----------
    index : int or None
        Its number in the array; None of a job that is none.
    state : str
        As Slurm calls it: ``PENDING``, ``RUNNING``, ``COMPLETED``, ``FAILED``, ``TIMEOUT``, ``CANCELLED``, ...
    exit_code : int
        Of its script, as a shell gives it; 0 until it ends.
    restarts : int
        How often it was requeued.
    reason : str
        Why it waits, or ended; ``None`` where Slurm has nothing to say.
    """

    index: int | None
    state: str
    exit_code: int = 0
    restarts: int = 0
    reason: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether it is over, well or not."""
        return self.state not in _UNFINISHED


def submit(script: str, *, after: str = "") -> str:
    """Submit a batch script, and return the job's id.

    Parameters
    ----------
    script : str
        The script, with its ``#SBATCH`` lines.
    after : str, optional
        A job whose end, well or not, it waits for; of an array the end of all tasks.

    Returns
    -------
    str
        The id, of an array that of the whole.

    Raises
    ------
    SlurmUnavailable
        If no controller answers.
    SlurmError
        If there is no Slurm here, or it refuses the job.
    """
    dependency = [f"--dependency=afterany:{_checked(after)}"] if after else []
    try:
        printed = _run(["sbatch", "--parsable", *dependency], script)
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(
            f"sbatch did not end in {_TIMEOUT} s: see with `squeue --me` whether the job was accepted before you "
            "submit it again"
        ) from None
    return _checked(printed.split(";")[0])  # behind it stands the cluster, where there are several


def check(script: str = "#!/bin/sh\n#SBATCH --output=/dev/null\nexit 0\n") -> None:
    """Ask whether a job would be accepted; none is submitted.

    Parameters
    ----------
    script : str, optional
        Its script; one of nothing but the cluster's defaults without.

    Raises
    ------
    SlurmError
        If there is no Slurm here, it does not answer, or would refuse.
    """
    _ask(["sbatch", "--test-only"], script)


def cancel(job: str) -> None:
    """End a job, or a task of an array; one that is over stays as it is.

    Raises
    ------
    SlurmError
        If Slurm does not answer, or refuses.
    """
    try:
        _ask(["scancel", _checked(job)])
    except _UnknownJob:
        return


def find(name: str) -> list[str]:
    """Return the ids of this user's jobs of a name that are queued or running, sorted; of arrays those of the whole.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    if not _NAME.fullmatch(name):
        raise SlurmError(f"{name!r} is not the name of a job: letters, digits, '.', '_' and '-' only")
    printed = _ask(["squeue", "--noheader", "--me", "--array", f"--name={name}", "--format=%F"])
    return sorted({_checked(word) for word in printed.split()}, key=int)


def tasks(job: str) -> list[Task]:
    """Return how the tasks of a job are, in their order; none if nobody knows the job any more.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    try:
        printed = _ask(["scontrol", "show", "job", "--oneliner", _checked(job)])
    except _UnknownJob:
        return _accounted(job)
    found = [task for line in printed.splitlines() if line.strip() for task in _parse(line)]
    return sorted(found, key=lambda task: -1 if task.index is None else task.index)


class _UnknownJob(Exception):
    """The controller does not know a job."""


def _checked(job: str) -> str:
    if not _JOB.fullmatch(job):
        raise SlurmError(f"{job!r} is not the id of a Slurm job: it is a number, such as 4711 or 4711_3")
    return job


def _parse(line: str) -> Iterator[Task]:
    """Yield the tasks of a line of ``scontrol show job``: one, or those of an array that have not begun."""
    values = dict(re.findall(r"(\w+)=(\S*)", line))
    code, _, number = values.get("ExitCode", "0:0").partition(":")
    exit_code = int(code) or (128 + int(number) if int(number or 0) else 0)
    for index in _indices(values.get("ArrayTaskId", "")):
        yield Task(
            index, values.get("JobState", ""), exit_code, int(values.get("Restarts", 0)), values.get("Reason", "")
        )


def _indices(text: str) -> Iterator[int | None]:
    """Yield the numbers of ``0-3,7`` or ``0-6:2%4``; None where there are none."""
    if not text or text == "N/A":
        yield None
        return
    for part in text.partition("%")[0].split(","):
        found = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?", part)
        if found is None:
            raise SlurmError(f"scontrol names tasks in a way that is not known: {text!r:.80}")
        yield from range(int(found[1]), int(found[2] or found[1]) + 1, int(found[3] or 1))


def _accounted(job: str) -> list[Task]:
    """Return what the accounting database knows of a job; nothing where there is none."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}"]
    try:
        printed = _ask([*command, "--format=JobID,State,ExitCode"])
    except (SlurmError, _UnknownJob):
        return []
    found = []
    for line in printed.splitlines():
        name, state, code = [*line.split("|"), "", ""][:3]
        _, _, indices = name.partition("_")
        number = code.partition(":")[0]
        for index in _indices(indices.strip("[]")):
            found.append(Task(index, state.partition(" ")[0], int(number) if number.isdigit() else 0))
    return sorted(found, key=lambda task: -1 if task.index is None else task.index)


def _ask(command: list[str], script: str = "") -> str:
    try:
        return _run(command, script)
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"{command[0]} did not end in {_TIMEOUT} s: try again when Slurm answers") from None


def _run(command: list[str], script: str = "") -> str:
    """Run one of Slurm's commands, and return what it prints."""
    try:
        # Names of Slurm's, options, and ids that were checked; no shell.
        done = subprocess.run(
            command,
            input=script,
            capture_output=True,
            text=True,
            env=job_environment(),
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise SlurmError(
            f"{command[0]} is not on PATH: run this where Slurm's commands are, such as a login node"
        ) from None
    except OSError as error:
        raise SlurmError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout.strip()
    said = " ".join(re.sub(rf"^{command[0]}: (error: )?", "", line) for line in done.stderr.splitlines() if line)
    said = said[:400] or f"exit code {done.returncode}"
    if _UNKNOWN.search(said):
        raise _UnknownJob(said)
    if _NO_CLUSTER.search(said):
        raise SlurmError(
            f"{command[0]} knows no Slurm cluster: run this on a login node, or set SLURM_CONF to its configuration"
        )
    if _UNREACHABLE.search(said):
        raise SlurmUnavailable(f"Slurm's controller does not answer {command[0]}: {said}; try again when it is up")
    raise SlurmError(f"{command[0]} refused: {said}")
