"""Scratch on a disk that nodes share: what dead processes left goes, what others may be working in stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from stilt_dagster.science.scratch import scratch_directory


def leave(parent: Path) -> Path:
    """Return the scratch of a process that was killed."""
    code = (
        "import os, pathlib, signal, sys\nfrom stilt_dagster.science.scratch import scratch_directory\n"
        "with scratch_directory(pathlib.Path(sys.argv[1])) as path:\n"
        "    print(path, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(parent)], capture_output=True, text=True, timeout=60)
    left = Path(done.stdout.strip())
    assert left.parent == parent
    assert left.is_dir()
    return left


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    left = leave(tmp_path)
    with scratch_directory(tmp_path) as first, scratch_directory(tmp_path) as second:
        assert not left.exists()
        assert first.is_dir()
        assert second.is_dir()
    assert not list(tmp_path.iterdir())


def test_numbers_of_processes_of_another_node_are_not_looked_up_here(tmp_path: Path) -> None:
    """A node's process may have the number of one that is dead on this node."""
    left = leave(tmp_path)
    _, host, pid, rest = left.name.split("-")
    others = tmp_path / f"stilt-{'0' * 12 if host[0] != '0' else 'f' * 12}-{pid}-{rest}"
    left.rename(others)
    # A name as a node called as this one, and a number, would have had it.
    numbered = tmp_path / f"stilt-{os.uname().nodename}-{pid}-4711-{rest}"
    numbered.mkdir()
    abandoned = tmp_path / f"stilt-{'a' * 12}-{pid}-{rest}"
    abandoned.mkdir()
    month = time.time() - 40 * 86_400
    os.utime(abandoned, (month, month))
    with scratch_directory(tmp_path):
        assert others.is_dir()
        assert numbered.is_dir()
        assert not abandoned.exists()
