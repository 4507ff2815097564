"""Processes that end when told to, and with the test process at the latest; ports; waiting."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Unavailable(Exception):
    """A server cannot be had on this machine; the message says what is missing. Tests skip with it."""


class _Warden:
    """The process of `warden`, started with the first group it is told of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def tell(self, sign: str, group: int) -> None:
        with self._lock:
            if self._process is None:
                script = Path(__file__).with_name("warden.py")
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(script)],
                    stdin=subprocess.PIPE, text=True, start_new_session=True,
                )  # fmt: skip
            assert self._process.stdin is not None
            self._process.stdin.write(f"{sign} {group}\n")
            self._process.stdin.flush()


_warden = _Warden()


class Process:
    """A command in a session and process group of its own, all of which ends with its first process.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    log : Path
        Where its output is appended.
    env : mapping, optional
        All of its environment; this process's own by default.
    cwd : Path, optional
        Where it starts.
    user : int, optional
        User and group id to run as.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: int | None = None,
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd,
                start_new_session=True, user=user, group=user, extra_groups=None if user is None else [],
            )  # fmt: skip
        self.pid = self._process.pid
        self._reaping = threading.Lock()
        _warden.tell("+", self.pid)

    def wait(self) -> int:
        """Wait for the end, kill what is left of the group, and return the exit code as a shell gives it."""
        with contextlib.suppress(ChildProcessError):  # another thread was first
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._reaping:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)  # unreaped, the number is still ours
                self._process.wait()
                _warden.tell("-", self.pid)
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def alive(self) -> bool:
        """Return whether it runs."""
        if self._process.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        except ChildProcessError:
            return False

    def send(self, number: int) -> None:
        """Send a signal to the first process."""
        self._signal(os.kill, number)

    def kill(self) -> None:
        """Kill the whole group."""
        self._signal(os.killpg, signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM, grace: float = 5) -> None:
        """Send a signal, kill the group if that does not end it in *grace* seconds, and wait."""
        self.send(number)
        end = time.monotonic() + grace
        while self.alive() and time.monotonic() < end:
            time.sleep(0.02)
        self.kill()
        self.wait()

    def _signal(self, send: Callable[[int, int], None], number: int) -> None:
        with self._reaping, contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                send(self.pid, number)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on.

    They are below those the system gives to outgoing connections, so that a server finds its port free when it starts
    again.
    """
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(18000, 32000), 14000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
            if len(ports) == count:
                break
    return ports


def wait_for(
    what: str,
    probe: Callable[[], T | None],
    timeout: float = 20,
    every: float = 0.05,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """Call *probe* until it returns something true, and return that.

    Parameters
    ----------
    what : str
        What is waited for.
    probe : callable
        Tells whether it is there.
    timeout : float, optional
        Seconds it may take.
    every : float, optional
        Seconds between two looks.
    progress : callable, optional
        Time begins anew whenever what it returns has changed: for what takes as long as the machine is busy.

    Raises
    ------
    TimeoutError
        If it is not there in time; the message names *what*.
    """
    last, end = progress(), time.monotonic() + timeout
    while True:
        if found := probe():
            return found
        if (now := progress()) != last:
            last, end = now, time.monotonic() + timeout
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(every)
