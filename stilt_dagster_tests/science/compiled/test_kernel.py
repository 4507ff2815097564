"""Machine code on disk: taken by later processes, and not after a source that it is made from has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stilt_dagster.science.compiled import kernel

#: The loop, what it calls, and a constant that this uses, in a module without loops.
SOURCES = {
    "transport/loop.py": """
from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport import steps


@kernel()
def total(n):
    out = 0.0
    for i in range(n):
        out += steps.step(i)
    return out
""",
    "transport/steps.py": """
from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.constants import (
    LENGTH,
)


@kernel(error_model="numpy")
def step(i):
    return LENGTH * i
""",
    "constants.py": "LENGTH = 2.0\n",
    "unrelated.py": "",
}

RUN = """
from stilt_dagster.science.transport.loop import total
from stilt_dagster.science.transport.steps import step

print(total(5), sum(total.stats.cache_hits.values()), sum(f.stats.cache_misses.total() for f in (total, step)))
"""


class Package:
    """A package of that name with kernels of its own, and the decorator."""

    def __init__(self, root: Path) -> None:
        self.root, self.science = root, root / "stilt_dagster/science"
        for folder in ("", "compiled", "transport"):
            (self.science / folder).mkdir(parents=True, exist_ok=True)
            (self.science / folder / "__init__.py").touch()
        (root / "stilt_dagster/__init__.py").touch()
        shutil.copy(kernel.__file__, self.science / "compiled/kernel.py")
        for name, text in SOURCES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a module with the times of any other, as installers do."""
        (self.science / name).write_text(text)
        os.utime(self.science / name, (1e9, 1e9))

    def run(self, **env: str) -> tuple[float, bool]:
        """Return the sum, and whether its machine code was on disk; if so, nothing is compiled."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
        done = subprocess.run(
            [sys.executable, "-c", RUN], cwd=self.root, env=clean | env, capture_output=True, text=True, check=True
        )
        total, hits, misses = done.stdout.split()
        assert (hits, misses) == ("1", "0") or hits == "0"
        return float(total), hits == "1"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "package")


def test_what_a_loop_calls_may_change(package: Package, tmp_path: Path) -> None:
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert package.run(**env) == (20.0, False)
    package.write("unrelated.py", "UNRELATED = 1\n")
    assert package.run(**env) == (20.0, True)
    package.write("transport/steps.py", SOURCES["transport/steps.py"].replace("* i", "- i"))
    assert package.run(**env) == (0.0, False)
    package.write("constants.py", "LENGTH = 3.0\n")
    assert package.run(**env) == (5.0, False)
    assert package.run(**env) == (5.0, True)
    assert not list(package.root.rglob("*.nb?"))  # numba's files are where NUMBA_CACHE_DIR says


def test_machine_code_lies_beside_the_modules_or_with_the_user(package: Package, tmp_path: Path) -> None:
    assert package.run() == (20.0, False)
    kept = sorted(package.root.rglob("*.nb?"))
    assert kept
    assert {p.parent for p in kept} == {package.science / "transport/__pycache__"}
    shutil.rmtree(package.science / "transport/__pycache__")
    (package.science / "transport/__pycache__").touch()  # no folder, even for root
    user = {"HOME": str(tmp_path / "user"), "XDG_CACHE_HOME": str(tmp_path / "user"), "PYTHONDONTWRITEBYTECODE": "1"}
    assert package.run(**user) == (20.0, False)
    assert package.run(**user) == (20.0, True)
