"""What making a part took: CPU of threads and of the children they waited for, and when it was."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_children = threading.local()


def reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a child's end, and count its CPU as this thread's.

    A process has one figure for all its children, which are several at a time.
    """
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:  # another thread, told to stop, was faster
        process.wait()
        return
    process.returncode = os.waitstatus_to_exitcode(status)
    _children.seconds = _children_seconds() + usage.ru_utime + usage.ru_stime


def _children_seconds() -> float:
    return float(getattr(_children, "seconds", 0.0))


def thread_cpu() -> float:
    """Return the CPU of this thread and the children it has waited for with :func:`reap`, s."""
    return time.thread_time() + _children_seconds()


@dataclass(frozen=True)
class Effort:
    """What making a part took.

    Attributes
    ----------
    cpu_seconds : float
        CPU, s; of all tries of its receptors.
    began, ended : float
        When it was worked on last, s since 1970.
    """

    cpu_seconds: float
    began: float
    ended: float

    @classmethod
    def from_dict(cls, data: Any) -> Effort | None:
        """Return what :func:`dataclasses.asdict` gave; None of anything else, such as a file made before it was kept.

        Parameters
        ----------
        data : Any
            Parsed JSON.
        """
        try:
            return cls(**{name: float(data[name]) for name in ("cpu_seconds", "began", "ended")})
        except (TypeError, ValueError, KeyError):
            return None


class EffortMeter:
    """Adds up what threads spend on a part.

    Parameters
    ----------
    before : Effort, optional
        Of an earlier file of the part, whose receptors are kept.
    """

    def __init__(self, before: Effort | None = None) -> None:
        self._cpu = 0.0 if before is None else before.cpu_seconds
        self._began = time.time()
        self._lock = threading.Lock()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Add what this thread spends inside."""
        start = thread_cpu()
        try:
            yield
        finally:
            spent = thread_cpu() - start
            with self._lock:
                self._cpu += spent

    @property
    def effort(self) -> Effort:
        """What was spent until now."""
        with self._lock:
            return Effort(round(self._cpu, 3), round(self._began, 1), round(time.time(), 1))
