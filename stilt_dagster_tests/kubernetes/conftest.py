"""Production on a real control plane, and the scenes tests run on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pytest
import yaml

from stilt_dagster_tests.conftest import SCENE, Project, deep_merge
from stilt_dagster_tests.harness.production import Production

#: 36 receptors of a second each, in 16 parts.
LONG: dict[str, Any] = {
    "receptors": {"grid": {"xmin": -112.2, "xmax": -111.95, "ymin": 40.4, "ymax": 40.65}},
    "transport": {"numpar": 80},
}

_names = itertools.count()


@pytest.fixture(scope="package")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    with Production(tmp_path_factory.mktemp("production")) as production:
        yield production


@pytest.fixture
def register(production: Production, meteorology: Path, tmp_path: Path) -> Callable[..., str]:
    """Register a scene under a name of its own; return its id."""

    def make(**changes: Any) -> str:
        name = f"scene{next(_names):03d}"
        data = deep_merge(SCENE, {"name": name, "meteorology": {"directory": str(meteorology)}})
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(deep_merge(data, changes)))
        production.cli("scene", "add", path)
        return f"{name}-20230715t0920"

    return make


@pytest.fixture(scope="package")
def local(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> Callable[..., dict[str, np.ndarray]]:
    """Return the jacobian of the same scene, run on this machine in a directory."""
    made: dict[str, dict[str, np.ndarray]] = {}

    def run(**changes: Any) -> dict[str, np.ndarray]:
        key = yaml.safe_dump(changes)
        if key not in made:
            project = Project(tmp_path_factory.mktemp("local"), meteorology)
            project.cli("scene", "add", project.scene_file(**changes))
            project.cli("scene", "run", "valley-20230715t0920")
            made[key] = arrays(project.store / "jacobian" / "valley-20230715t0920.nc")
        return made[key]

    return run


def arrays(path: Path) -> dict[str, np.ndarray]:
    with h5netcdf.File(path, "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
