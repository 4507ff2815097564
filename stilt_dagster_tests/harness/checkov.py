"""checkov, in an environment of its own: it asks for versions of packages that are not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stilt_dagster_tests.harness.processes import Unavailable

_VERSION = "3.3.30"
_HOME = Path(f"~/.cache/stilt-dagster-checkov-{_VERSION}")


def findings(directory: Path, framework: str) -> tuple[list[str], int]:
    """Return what checkov finds below a directory, as one line each, and how many checks passed.

    Parameters
    ----------
    directory : Path
        Where the files are.
    framework : str
        ``terraform``, ``kubernetes``, ``github_actions``.

    Raises
    ------
    Unavailable
        If it cannot be installed.
    """
    command = [str(_python()), "-m", "checkov.main", "--directory", str(directory), "--framework", framework]
    options = ["--output", "json", "--quiet", "--skip-download", "--download-external-modules", "false"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"checkov told nothing: {done.stderr[-500:]}") from None
    reports = told if isinstance(told, list) else [told]
    failed, passed = [], 0
    for report in reports:
        passed += report.get("summary", report).get("passed", 0)
        for check in report.get("results", {}).get("failed_checks", []):
            where = f"{check['file_path']}:{check['file_line_range'][0]} {check['resource']}"
            failed.append(f"{check['check_id']} {where}: {check['check_name']}")
    return failed, passed


def _python() -> Path:
    home = _HOME.expanduser()
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        for step in (["-m", "venv", str(home)], ["-m", "pip", "install", "--quiet", f"checkov=={_VERSION}"]):
            program = sys.executable if step[1] == "venv" else str(python)
            done = subprocess.run([program, *step], capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise Unavailable(f"checkov cannot be installed: {reason}")
        (home / "installed").touch()
    return python
