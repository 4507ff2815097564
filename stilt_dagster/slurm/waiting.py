"""Waiting for a job: how its tasks are, a line now and then, and patience with a controller that does not answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from stilt_dagster.slurm import scheduler
from stilt_dagster.slurm.scheduler import SlurmError, SlurmUnavailable, Task

T = TypeVar("T")

#: Seconds between two questions to the controller: a short job is seen to end soon, a long one costs little.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0

#: Seconds between two lines on tasks, and on a controller that does not answer: each line is an event.
_LINE_EVERY, _COMPLAINT_EVERY = 60.0, 600.0


def summary(tasks: Iterable[Task]) -> str:
    """Return how many tasks are in which state, and why those wait that do: ``3 COMPLETED, 1 PENDING (Resources)``."""
    states = Counter(
        f"{task.state} ({task.reason})" if task.state == "PENDING" and task.reason not in ("", "None") else task.state
        for task in tasks
    )
    return ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "states Slurm no longer knows"


def patiently(ask: Callable[[], T], tell: Callable[[str], None], meanwhile: str) -> T:
    """Ask the controller until it answers; return what it says.

    Parameters
    ----------
    ask : callable
        Asks.
    tell : callable
        Called with a line now and then where there is no answer.
    meanwhile : str
        What that means for the run.

    Raises
    ------
    SlurmError
        If there is no Slurm here, or it refuses.
    """
    patience = _Patience(tell, meanwhile)
    while True:
        try:
            return ask()
        except SlurmUnavailable as error:
            patience.again(error)


def submit_once(name: str, script: str) -> str:
    """Submit a script whose job has a name, unless there is such a job, from a try nobody heard the answer of.

    Raises
    ------
    SlurmError
        If there is no Slurm here, it does not answer, or refuses the job.
    """
    found = scheduler.find(name)
    return found[0] if found else scheduler.submit(script)


def wait(job: str, tell: Callable[[str], None], look: Callable[[], None]) -> list[Task]:
    """Wait until all tasks of a job are over; return how they were when Slurm last knew.

    Parameters
    ----------
    job : str
        Its id.
    tell : callable
        Called with a line when tasks have changed, a minute apart at least.
    look : callable
        Called after every question to the controller: shows progress.
    """
    ask = _Patience(tell, f"Slurm job {job} is none the worse, and is waited for")
    known: list[Task] = []
    said, last = "", time.monotonic() - _LINE_EVERY
    while True:
        try:
            found = scheduler.tasks(job)
        except SlurmError as error:
            ask.again(error)
            continue
        if not found or all(task.is_finished for task in found):
            return found or known
        known = found
        now, line = time.monotonic(), summary(found)
        if line != said and now - last >= _LINE_EVERY:
            said, last = line, now
            tell(f"Slurm job {job}: {line}")
        look()
        ask.pause()


class _Patience:
    """Pauses between questions to the controller, and complaints where it does not answer."""

    def __init__(self, tell: Callable[[str], None], meanwhile: str) -> None:
        self._tell, self._meanwhile = tell, meanwhile
        self._next = _FIRST_PAUSE
        self._complained = time.monotonic() - _COMPLAINT_EVERY

    def again(self, error: SlurmError) -> None:
        """Pause after a question that was not answered."""
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_EVERY:
            self._complained = now
            self._tell(f"{error}; {self._meanwhile}")
        self.pause()

    def pause(self) -> None:
        """Pause, longer each time."""
        time.sleep(self._next)
        self._next = min(1.3 * self._next, _LONGEST_PAUSE)
