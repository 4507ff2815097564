"""How far a scene is: by the indexes, which may be missing, late or damaged, and are never believed against a file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stilt_dagster.operations.status import Status, scene_status
from stilt_dagster.resources.folders import Directory
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.part_index import INDEX
from stilt_dagster.science.pystilt import engine_version, find_hycs_std
from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"


@pytest.fixture
def store(finished: Project, tmp_path: Path) -> Path:
    """A copy of a finished store, files as old as they were."""
    return shutil.copytree(finished.store, tmp_path / "store", copy_function=shutil.copy2)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Part files that are opened."""
    names: list[str] = []
    real = Directory.open

    def open_(self: Directory, name: str, kind: Callable[[Any], Any], *, whole: bool) -> Any:
        if name.startswith("part-"):
            names.append(f"{self.path.parents[1].name}/{self.path.name}/{name}")
        return real(self, name, kind, whole=whole)

    monkeypatch.setattr(Directory, "open", open_)
    return names


def status_of(path: Path) -> Status:
    return scene_status(StoredScene.load(Store(str(path)), SCENE, engine_version(find_hycs_std())))


def test_no_part_is_opened(finished: Project, opened: list[str]) -> None:
    status = status_of(finished.store)
    assert status.is_ready
    assert status.outcomes["ok"] == 9
    assert not opened


def test_a_copied_store_is_read_part_by_part(store: Path, opened: list[str]) -> None:
    """Its files are others than those the indexes were written for."""
    parts = len(list(store.rglob("part-*")))
    assert status_of(store).is_ready
    assert len(opened) == len(set(opened)) == parts


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99, "parts": {}}', '{"format": 1, "parts": {"part-00000.nc": 3}}']
)
def test_an_index_that_cannot_be_used_costs_time_only(store: Path, text: str) -> None:
    for index in store.rglob(INDEX):
        index.write_text(text)
    assert status_of(store).is_ready
    for index in store.rglob(INDEX):
        index.unlink()
    assert status_of(store).is_ready


def test_an_index_is_not_believed_against_its_file(finished: Project, tmp_path: Path) -> None:
    """Removed, cut and replaced parts are what they are, whatever the index says."""
    project = Project(tmp_path / "own", finished.meteorology)
    project.cli("scene", "add", project.scene_file())
    project.cli("scene", "run", SCENE)
    parts = sorted((project.store / "trajectories" / SCENE).rglob("part-*"))
    saved = parts[0].read_bytes()
    members = len(json.loads((parts[0].parent / INDEX).read_text())["parts"]["part-00000.parquet"][1]["counts"])
    assert members
    parts[0].unlink()
    missing = status_of(project.store)
    assert missing.assets["trajectories"]["parts"] == len(parts) - 1
    assert missing.outcomes["pending"] > 0
    parts[0].write_bytes(saved[: len(saved) // 2])
    assert status_of(project.store).outcomes["pending"] == missing.outcomes["pending"]
    parts[0].write_bytes(saved)
    assert status_of(project.store).is_ready
    os.utime(parts[0], (1e9, 1e9))
    assert status_of(project.store).is_ready


def test_a_run_opens_a_part_once(finished: Project, tmp_path: Path, opened: list[str]) -> None:
    """Of a run in one process, the three jobs: particles are read to be gridded, footprints to be stacked."""
    import dagster as dg

    from stilt_dagster.definitions import build_defs
    from stilt_dagster.operations.registration.register import register_scene
    from stilt_dagster.operations.run import run_scene
    from stilt_dagster.resources.configurable import StoreResource
    from stilt_dagster.science.scenes.loading import load_scene

    project = Project(tmp_path / "own", finished.meteorology)
    store = Store(str(project.store))
    defs = build_defs({"store": StoreResource(url=str(project.store))})
    with dg.instance_for_test() as instance:
        register_scene(instance, store, load_scene(project.scene_file()))
        scene = StoredScene.load(store, SCENE, engine_version(find_hycs_std()))
        assert run_scene(instance, scene, lambda: defs).is_ready
    parts = len(list(project.store.rglob("part-*")))
    assert len(set(opened)) == parts
    assert len(opened) == parts + 3, "but for those of the three receptors whose particles the report draws"
