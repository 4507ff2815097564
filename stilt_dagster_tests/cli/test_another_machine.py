"""A machine hycs_std is not built for: what it says, and what it makes of a store that another filled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.pystilt import find_hycs_std
from stilt_dagster_tests.conftest import ANOTHER_MACHINE, Project

SCENE = "valley-20230715t0920"


def without_hycs_std(project: Project) -> Project:
    """Return the project on a machine hycs_std is not built for."""
    project.env["PYTHONPATH"] = str(ANOTHER_MACHINE)
    return project


@pytest.fixture
def elsewhere(project: Project) -> Project:
    return without_hycs_std(project)


def test_the_demo_and_the_doctor_say_what_is_missing_and_what_to_do(elsewhere: Project) -> None:
    said = elsewhere.error("demo")
    for way in ("Linux aarch64", "docker run --platform linux/amd64", "cluster", "STILT_EXE_DIR"):
        assert way in said
    assert not elsewhere.store.exists()
    found = {f["name"]: f for f in json.loads(elsewhere.cli("doctor", "--json", code=2).stdout)}
    assert [name for name, f in found.items() if not f["ok"]] == ["hycs_std"]
    assert "docker run --platform linux/amd64" in found["hycs_std"]["fix"]


def test_a_scene_is_prepared_and_nothing_begun_that_cannot_be_finished(elsewhere: Project) -> None:
    elsewhere.cli("scene", "add", elsewhere.scene_file())
    assert "docker run" in elsewhere.error("scene", "run", SCENE)
    assert not (elsewhere.store / "receptors").exists(), "it was refused before anything was made"
    elsewhere.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    assert "docker run" in elsewhere.error("scene", "work", SCENE)
    states = {name: a["state"] for name, a in elsewhere.status(SCENE)["assets"].items()}
    assert states["receptors"] == states["meteorology_aggregate"] == "ready"
    assert not [p for p in (elsewhere.store / "trajectories").rglob("*") if p.is_file()]


def test_what_another_machine_simulated_is_gone_on_with(finished: Project, elsewhere: Project) -> None:
    """Footprints, jacobian and report are made here of its particles, and are those it makes."""
    shutil.copytree(finished.store, elsewhere.store)
    assert all(a["state"] == "ready" for a in elsewhere.status(SCENE)["assets"].values())
    assert "ok" in elsewhere.cli("scene", "log", SCENE, _receptor(elsewhere)).stdout
    for folder in ("footprints", "jacobian", "report"):
        shutil.rmtree(elsewhere.store / folder)
    elsewhere.cli("scene", "run", SCENE)
    with (
        xr.open_dataset(finished.store / f"jacobian/{SCENE}.nc") as theirs,
        xr.open_dataset(elsewhere.store / f"jacobian/{SCENE}.nc") as ours,
    ):
        assert ours.attrs["transport_engine"] == theirs.attrs["transport_engine"]
        for name in theirs.variables:
            np.testing.assert_array_equal(ours[name].values, theirs[name].values, err_msg=str(name))
    assert "nothing to do" in elsewhere.cli("scene", "run", SCENE).stderr


def _receptor(project: Project) -> str:
    return str(Store(str(project.store)).scene(SCENE).receptor_ids[0])


def test_parts_say_which_build_made_them(project: Project, tmp_path: Path) -> None:
    """A build of one's own is another engine: here its parts are stale, and where there is none they are good."""
    own = tmp_path / "own" / "hycs_std"
    own.parent.mkdir()
    own.write_bytes(find_hycs_std().read_bytes() + b"another")
    own.chmod(0o755)
    point = [{"longitude": -112.05, "latitude": 40.45, "height": 5}]
    project.cli("scene", "add", project.scene_file(receptors={"grid": None, "points": point}))
    assert "no executable hycs_std" in project.error("scene", "run", SCENE, STILT_EXE_DIR=str(tmp_path))
    project.cli("scene", "run", SCENE, STILT_EXE_DIR=str(own.parent))
    assert project.status(SCENE)["pending"] == 1, "pystilt's build did not make them"
    assert without_hycs_std(project).status(SCENE)["pending"] == 0
    engine = StoredScene.load(Store(str(project.store)), SCENE, None).engine
    with xr.open_dataset(project.store / f"jacobian/{SCENE}.nc") as made:
        assert made.attrs["transport_engine"] == engine
