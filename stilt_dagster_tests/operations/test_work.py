"""Work without Dagster: what is made is what runs make, whoever else makes it at the same time."""

from __future__ import annotations

import subprocess

import h5netcdf
import numpy as np
import pyarrow.parquet as pq

from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"


def test_two_that_work_on_the_same_shards_do_no_harm(project: Project, finished: Project) -> None:
    project.cli("scene", "add", project.scene_file())
    project.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
    early = project.error("scene", "work", SCENE, "--assets", "jacobian")
    assert "are not done: do them with" in early
    both = [
        subprocess.Popen(
            project.command("scene", "work", SCENE, "--workers", "1"), env=project.env, cwd=project.path,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    made = project.cli("scene", "work", SCENE, "--assets", "background,jacobian,report").stdout
    assert made == f"{SCENE}: made jacobian, report\n", "the scene names no background"
    again = project.cli("scene", "work", SCENE, "--assets", "jacobian,report").stdout
    assert "nothing: all is there" in again
    parts = {p.relative_to(finished.store) for p in (finished.store / "trajectories").rglob("part-*")}
    assert {p.relative_to(project.store) for p in (project.store / "trajectories").rglob("part-*")} == parts
    for part in parts:
        assert pq.read_table(project.store / part).equals(pq.read_table(finished.store / part)), part
    name = f"jacobian/{SCENE}.nc"
    with h5netcdf.File(project.store / name, "r") as ours, h5netcdf.File(finished.store / name, "r") as theirs:
        assert set(ours.variables) == set(theirs.variables)
        assert all(np.array_equal(ours[v][...], theirs[v][...]) for v in theirs.variables)
