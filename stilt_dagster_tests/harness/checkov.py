"""checkov, the policy scanner of files that describe infrastructure."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from stilt_dagster_tests.harness.environments import python_with

_CHECKOV = "checkov==3.3.30"


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
    command = [
        str(python_with(_CHECKOV)),
        "-m",
        "checkov.main",
        "--directory",
        str(directory),
        "--framework",
        framework,
    ]
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
