"""A machine hycs_std is not built for has the whole package: every module is imported, and the definitions load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import stilt_dagster
from stilt_dagster.science.pystilt import engine_here
from stilt_dagster_tests.conftest import ROOT

PACKAGE = Path(stilt_dagster.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)

LOOK = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
import dagster
from stilt_dagster.definitions import defs
from stilt_dagster.science.pystilt import engine_here
dagster.Definitions.validate_loadable(defs)
print(json.dumps(engine_here()))
"""


def test_every_module_is_imported_and_the_definitions_load() -> None:
    assert len(MODULES) > 200
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK, json.dumps(MODULES)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "null\n", "hycs_std was there"


def test_hycs_std_is_taken_away_from_portable_tests(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("portable") is not None
    assert engine_here() is None
