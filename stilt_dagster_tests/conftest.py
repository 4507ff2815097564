"""What tests share: analytic meteorology, scenes on it, and the command line in a project of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from stilt.exceptions import HYSPLITNotFoundError

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science import pystilt
from stilt_dagster_tests.harness.processes import Unavailable

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

#: What makes every Python whose `PYTHONPATH` names it one of a machine that hycs_std is not built for.
ANOTHER_MACHINE = ROOT / "stilt_dagster_tests/harness/another_machine"

#: Where tests are that run on every machine, below this folder.
PORTABLE = ("science/", "retrievals/", "test_architecture.py", "test_portable.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as portable that are where these are, unless they say that they simulate.

    They do by naming the engine `Hysplit`, or a project, whose scenes are run, in their module or fixtures.
    """
    for item in items:
        place = item.path.relative_to(ROOT / "stilt_dagster_tests").as_posix()
        fixtures = getattr(item, "fixturenames", ())
        simulates = hasattr(getattr(item, "module", None), "Hysplit") or any(
            name == "project" or name.startswith("finished") for name in fixtures
        )
        if place.startswith(PORTABLE) and not simulates:
            item.add_marker("portable")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Take hycs_std away from a portable test, so that it fails everywhere if it needs it anywhere."""
    if item.get_closest_marker("portable") is None:
        return (yield)

    def none() -> Path:
        raise HYSPLITNotFoundError("taken away from a portable test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pystilt, "bundled_exe_dir", none)
        patch.setenv("PYTHONPATH", str(ANOTHER_MACHINE), prepend=os.pathsep)
        return (yield)


#: A scene on the analytic meteorology that takes a second of CPU.
SCENE = {
    "name": "valley",
    "time": "2023-07-15T09:20:00Z",
    "receptors": {
        "grid": {"xmin": -112.1, "xmax": -112.0, "xres": 0.05, "ymin": 40.4, "ymax": 40.5, "yres": 0.05, "height": 5}
    },
    "transport": {"n_hours": -2, "numpar": 20},
    "footprint": {"xmin": -113.0, "xmax": -111.6, "xres": 0.02, "ymin": 40.0, "ymax": 41.0, "yres": 0.02},
    "meteorology": {"pattern": "%Y%m%d_%H-*_hrrr"},
}


@contextmanager
def _skipped_without_servers() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Skip a test whose fixtures need a server that cannot be had; the summary says which."""
    with _skipped_without_servers():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Skip a test that itself needs a server that cannot be had."""
    with _skipped_without_servers():
        return (yield)


@pytest.fixture(scope="session")
def meteorology(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve hours of a steady west wind of 6 m/s, in two files."""
    directory = tmp_path_factory.mktemp("meteorology")
    make_meteorology(
        directory, "2023-07-15T06:00", 12, (-114.0, 38.8, -110.4, 42.2), Weather(speed=6.0, direction=270.0)
    )
    return directory


@pytest.fixture(scope="session")
def hrrr() -> Path:
    """Real HRRR files."""
    directory = SHARED / "met" / "hrrr"
    if not directory.is_dir():
        pytest.skip("the HRRR files of ../shared/met are not here")
    return directory


def deep_merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return *base* with *changes* in it, mapping by mapping; None removes."""
    out = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = deep_merge(out[key], value)
        elif value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


class Project:
    """A store and a Dagster instance of their own, and the command line in them."""

    def __init__(self, path: Path, meteorology: Path) -> None:
        self.path = path
        self.store = path / "store"
        self.meteorology = meteorology
        self.env = {
            **os.environ,
            "STILT_STORE": str(self.store),
            "DAGSTER_HOME": str(path / "home"),
            "PYTHONWARNINGS": "ignore",
            "COLUMNS": "200",
        }
        self.env.pop("STILT_MET", None)
        (path / "home").mkdir(parents=True)
        (path / "home" / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())

    def scene_file(self, file: str = "scene.yaml", /, **changes: Any) -> Path:
        """Write a scene's YAML."""
        data = deep_merge(SCENE, {"meteorology": {"directory": str(self.meteorology)}})
        path = self.path / file
        path.write_text(yaml.safe_dump(deep_merge(data, changes)))
        return path

    def command(self, *args: object) -> list[str]:
        return [sys.executable, "-m", "stilt_dagster.cli", *map(str, args)]

    def cli(self, *args: object, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command line, and check its exit code."""
        done = subprocess.run(
            self.command(*args), env={**self.env, **env}, cwd=self.path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def dagster(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run the dagster command line."""
        command = [sys.executable, "-m", "dagster", *args]
        return subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=300)

    def status(self, scene: str) -> dict[str, Any]:
        return json.loads(self.cli("scene", "status", scene, "--json").stdout)

    def error(self, *args: object, **env: str) -> str:
        """Run a command that must be refused, and return its one line."""
        done = self.cli(*args, code=2, **env)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert "Traceback" not in done.stderr
        return lines[0]


@pytest.fixture
def project(tmp_path: Path, meteorology: Path) -> Project:
    return Project(tmp_path, meteorology)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> Project:
    """A project whose scene ``valley-20230715t0920`` has run; tests only read it."""
    project = Project(tmp_path_factory.mktemp("finished"), meteorology)
    project.cli("scene", "add", project.scene_file())
    project.cli("scene", "run", "valley-20230715t0920")
    return project
