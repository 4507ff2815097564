"""A page's blocks run as a reader does, in order: commands by the shell, Python in one session, files written."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stilt_dagster_tests.docs.pages import Block

#: What a block may hold that nobody runs: what something prints, a picture in letters, tables.
SHOWN = ("", "text", "json")

_DECIMAL = re.compile(r"-?\d+\.\d+")


def agree(shown: str, printed: str) -> bool:
    """Return whether a page shows what was printed, word by word.

    Numbers with a decimal point may differ by a tenth, since another processor rounds otherwise, and particles of a
    turbulent wind part by that. ``...`` stands for any one word.
    """
    theirs, ours = shown.split(), printed.split()
    return len(theirs) == len(ours) and all(_same(a, b) for a, b in zip(theirs, ours, strict=True))


def _same(shown: str, printed: str) -> bool:
    if shown == "..." or shown == printed:
        return True
    if _DECIMAL.fullmatch(shown) and _DECIMAL.fullmatch(printed):
        return math.isclose(float(shown), float(printed), rel_tol=0.1, abs_tol=0.1)
    return False


class Workbook:
    """A directory, an environment and a Python session that blocks are run in.

    Parameters
    ----------
    path : Path
        The directory.
    monkeypatch : MonkeyPatch
        Undoes what the session changes: directory, environment.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.output = ""
        set_by_hand = {
            "STILT_STORE": str(path / "store"),
            "DAGSTER_HOME": str(path / "dagster"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
            "MPLBACKEND": "agg",
            "COLUMNS": "200",
        }
        for name, value in set_by_hand.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("STILT_MET", raising=False)
        monkeypatch.chdir(path)

    def run(self, block: Block) -> None:
        """Do what a block says; what it must print stands in the block of text after it."""
        if block.title:
            target = self.path / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif block.kind == "console":
            self.output = self._shell(block)
        elif block.kind == "python":
            self.output = self._python(block)
        elif block.kind == "text" and self.output:
            assert agree(block.text, self.output), (
                f"{block.where} says\n{block.text}\nand what was printed is\n{self.output}"
            )
            self.output = ""

    def _shell(self, block: Block) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{block.where}: {done.returncode}\n{block.text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _python(self, block: Block) -> str:
        printed = io.StringIO()
        # Lines of a traceback are those of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)
        return printed.getvalue()
