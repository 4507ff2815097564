"""The dev container: x86-64, and in it the README's commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from stilt_dagster_tests.conftest import ROOT

FOLDER = ROOT / ".devcontainer"
CONTAINER = json.loads((FOLDER / "devcontainer.json").read_text())


def test_it_is_the_base_of_the_images_on_the_platform_of_hycs_std() -> None:
    dockerfile = (FOLDER / CONTAINER["build"]["dockerfile"]).read_text()
    base = re.search(r"^ARG PYTHON=(\S+)$", (ROOT / "deploy/Dockerfile").read_text(), re.M)
    assert base is not None
    assert f"FROM --platform=linux/amd64 {base[1]}\n" in dockerfile
    assert "--platform=linux/amd64" in CONTAINER["runArgs"]
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), FOLDER / "Dockerfile"], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout


def test_the_readmes_commands_run_in_its_environment() -> None:
    """In one of its own: a folder shared with a Mac has that Mac's in .venv."""
    readme = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"^make \w+", readme, re.M))
    assert {"make demo", "make test", "make dev"} <= commands
    env = {**os.environ, **CONTAINER["containerEnv"]}
    for command in (*sorted(commands), CONTAINER["postCreateCommand"]):
        name, target = command.split()
        done = subprocess.run([name, "--dry-run", target], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"-m venv {env['VENV']}" in done.stdout, command
    assert f"{env['VENV']}/bin" in CONTAINER["remoteEnv"]["PATH"]
    assert [f"http://127.0.0.1:{port}" in readme for port in CONTAINER["forwardPorts"]] == [True]
