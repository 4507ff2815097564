"""A systemd of a user, ``systemd --user``, on a machine that need not have booted with systemd.

It runs in namespaces of its own: what it mounts nobody else sees, and all it started ends with it, as in a power cut.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from stilt_dagster_tests.harness.processes import Process, Unavailable, wait_for

_PROGRAMS = (Path("/lib/systemd/systemd"), Path("/usr/lib/systemd/systemd"))

#: Makes the machine look as one that booted with systemd, gives it a cgroup of its own, and starts it, not as
#: process 1: that would be the system's.
_SCRIPT = """
set -e
hostname "$1"  # another machine: process numbers of this one mean nothing there, and nothing of theirs is cleared away
mkdir -p /run/systemd
mount -t tmpfs none /run/systemd && mkdir /run/systemd/system
umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1" && echo 0 >"/sys/fs/cgroup/$1/cgroup.procs"
env -i PATH="$PATH" HOME="$HOME" XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" SYSTEMD_LOG_TARGET=console "$2" --user &
wait
"""


class UserManager:
    """A user's systemd with a home of its own; this user's.

    Parameters
    ----------
    directory : Path
        For its home, sockets and log. Paths of sockets are short: not a deep one.

    Attributes
    ----------
    home : Path
        The user's.

    Raises
    ------
    Unavailable
        If there is no systemd here, or no right to make namespaces.
    """

    def __init__(self, directory: Path) -> None:
        found = next((p for p in _PROGRAMS if p.exists()), None)
        if found is None or shutil.which("systemctl") is None:
            raise Unavailable("no systemd: apt-get install systemd")
        if os.geteuid() != 0:
            raise Unavailable("a systemd of the tests' own needs root")
        self._program, self.directory = found, directory
        self.home, self._sockets = directory / "home", directory / "run"
        for place in (self.home, self._sockets):
            place.mkdir(mode=0o700)
        self._process: Process | None = None
        self._boots = 0

    def __enter__(self) -> UserManager:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()

    @property
    def env(self) -> dict[str, str]:
        """What a login of the user has in its environment."""
        return {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self._sockets), "PATH": os.environ["PATH"]}

    def boot(self) -> None:
        """Start it, with what its units say is to be started then."""
        self._boots += 1
        namespaces = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*namespaces, "bash", "-c", _SCRIPT, "bash", self._group, str(self._program)]
        log = self.directory / "systemd.log"
        process = self._process = Process(command, log, self.env)

        def answers() -> bool:
            if not process.alive():
                raise Unavailable(f"no systemd of a user here: {log.read_text().strip().splitlines()[-1:]}")
            try:
                return self.run("systemctl", "--user", "show-environment").returncode == 0
            except IndexError:  # not there yet
                return False

        wait_for("the user's systemd", answers, 20)

    def cut_power(self) -> None:
        """End it and all it runs at once."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        shutil.rmtree(self._sockets)  # as the machine does, which has them in memory
        self._sockets.mkdir(mode=0o700)
        for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            wait_for("its processes to be gone", lambda r=root: _removed(r / self._group))

    def run(self, *command: str | Path, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command as from a login of the user."""
        assert self._process is not None
        pid = self._process.pid
        inside = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        command = ("nsenter", "--target", inside, "--mount", "--uts", "--pid", *command)
        return subprocess.run(
            command, env={**self.env, **env}, capture_output=True, text=True, timeout=timeout, check=False
        )

    def systemctl(self, *arguments: str) -> str:
        """Run ``systemctl --user``, and return what it prints."""
        done = self.run("systemctl", "--user", "--no-pager", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def property_of(self, unit: str, name: str) -> str:
        """Return a property of a unit, such as ``ActiveState`` or ``NRestarts``."""
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    @property
    def _group(self) -> str:
        return f"stilt-test-{os.getpid()}-{self._boots}"


def _removed(group: Path) -> bool:
    """Remove a cgroup and those in it; return whether they are gone, as they are once their processes are."""
    for place, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)
    return not group.exists()
