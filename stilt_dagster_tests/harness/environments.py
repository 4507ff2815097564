"""Python environments of their own, for tools that ask for versions of packages that are not ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from stilt_dagster_tests.harness.processes import Unavailable

_CACHE = Path("~/.cache/stilt-dagster-tools")


@contextmanager
def installing(home: Path) -> Iterator[None]:
    """Have a place to install a tool at for this process alone: tests run in several."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(f"{home.name}.lock")):
        yield


def python_with(requirement: str) -> Path:
    """Return the interpreter of an environment that has a package, made the first time.

    Parameters
    ----------
    requirement : str
        Of one version, such as ``checkov==3.3.30``.

    Raises
    ------
    Unavailable
        If it cannot be installed.
    """
    home = _CACHE.expanduser() / requirement.replace("==", "-").replace("[", "-").replace("]", "")
    python = home / "bin" / "python"
    with installing(home):
        if not (home / "installed").exists():
            make, install = [sys.executable, "-m", "venv", home], [python, "-m", "pip", "install", "--quiet"]
            for step in (make, [*install, requirement]):
                done = subprocess.run(step, capture_output=True, text=True, timeout=600, check=False)
                if done.returncode:
                    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                    raise Unavailable(f"{requirement} cannot be installed: {reason}")
            (home / "installed").touch()
    return python
