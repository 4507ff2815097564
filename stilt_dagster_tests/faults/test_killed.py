"""A run that is killed, told to end, or out of disk: what is finished stays, and the next run completes the scene."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5netcdf
import numpy as np
import pytest

from stilt_dagster_tests.conftest import Project

SCENE = "valley-20230715t0920"

#: 36 receptors of a second each.
GRID = {
    "receptors": {"grid": {"xmin": -112.2, "xmax": -111.95, "ymin": 40.4, "ymax": 40.65}},
    "transport": {"numpar": 60},
}


def jacobian(project: Project) -> dict[str, np.ndarray]:
    with h5netcdf.File(project.store / "jacobian" / f"{SCENE}.nc", "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def parts(project: Project) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in project.store.rglob("part-*") if ".scratch" not in p.parts}


def engines(parent: int) -> list[int]:
    """Return the hycs_std processes started by *parent* or that outlived it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == "hycs_std" and str(parent) in os.readlink(entry / "cwd"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def survivors(parent: int) -> list[int]:
    """Return the hycs_std processes that outlive *parent* by more than it takes a busy machine to end them."""
    for _ in range(50):
        if not engines(parent):
            return []
        time.sleep(0.1)
    return engines(parent)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> tuple[dict[str, np.ndarray], float]:
    project = Project(tmp_path_factory.mktemp("undisturbed"), meteorology)
    project.cli("scene", "add", project.scene_file(**GRID))
    start = time.monotonic()
    project.cli("scene", "run", SCENE)
    return jacobian(project), time.monotonic() - start


@pytest.mark.slow
def test_a_scene_killed_at_ten_random_moments_is_the_same_scene(
    project: Project, undisturbed: tuple[dict[str, np.ndarray], float]
) -> None:
    expected, duration = undisturbed
    project.cli("scene", "add", project.scene_file(**GRID))
    rng = random.Random(20230715)
    kept = redone = 0
    for _ in range(10):
        before = parts(project)
        run = subprocess.Popen(
            project.command("scene", "run", SCENE), env=project.env, cwd=project.path,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(rng.uniform(0.2, 1.0) * duration)
        run.kill()
        run.wait()
        assert not survivors(run.pid), "hycs_std ends with the process that started it"
        after = parts(project)
        unchanged = sum(after.get(p) == t for p, t in before.items())
        kept, redone = kept + unchanged, redone + len(before) - unchanged
    assert redone == 0, "finished batches are not done again"
    assert kept > 0
    project.cli("scene", "run", SCENE)
    found = jacobian(project)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[k], v) for k, v in expected.items())
    status = project.status(SCENE)
    assert (status["ok"] + status["empty"], status["pending"], status["failed"]) == (36, 0, 0)
    leftover = [p for p in (project.store / ".scratch").rglob("*") if p.is_file()]
    assert not leftover, "a later run clears what a killed one left"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_run_told_to_end_ends_its_children_and_keeps_what_is_finished(project: Project, signum: int) -> None:
    project.cli("scene", "add", project.scene_file(**GRID))
    run = subprocess.Popen(
        project.command("scene", "run", SCENE), env=project.env, cwd=project.path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(2400):
        if len(parts(project)) >= 2:
            break
        time.sleep(0.05)
    run.send_signal(signum)
    _, errors = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "Traceback" not in errors, errors
    assert not engines(run.pid)
    finished = parts(project)
    assert finished
    if signum == signal.SIGINT:
        assert run.returncode == 130
        return
    project.cli("scene", "run", SCENE)
    assert all(parts(project)[p] == t for p, t in finished.items())
    assert project.status(SCENE)["pending"] == 0


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(project: Project) -> None:
    """A limit on file size stands in for the full disk: the same error, from the same calls."""
    project.cli("scene", "add", project.scene_file(transport={"numpar": 200}, meteorology={"crop": False}))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))

    run = subprocess.run(
        [sys.executable, "-m", "stilt_dagster.cli", "scene", "run", SCENE],
        env=project.env, cwd=project.path, capture_output=True, text=True, preexec_fn=limit, timeout=120,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    message = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(message) == 1, run.stderr
    assert "File too large" in message[0]
    assert "Traceback" not in run.stderr
    assert not list((project.store / "meteorology_aggregate").glob("*"))
    project.cli("scene", "run", SCENE)
    assert project.status(SCENE)["ok"] == 9


def test_a_store_that_fills_up_is_one_line_and_goes_on_when_there_is_room(project: Project, finished: Project) -> None:
    """A real disk with room for a part of the scene: whatever library meets its end, the process survives it."""
    pages = sum(-(-p.stat().st_size // 4096) for p in finished.store.rglob("*") if p.is_file())
    project.store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(0.85 * pages) * 4}k", "tmpfs", str(project.store)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        project.cli("scene", "add", project.scene_file())
        run = project.cli("scene", "run", SCENE, code=2)
        lines = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, run.stderr
        assert "No space left on device" in lines[0]
        assert "Traceback" not in run.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(project.store)], check=True)
        project.cli("scene", "run", SCENE)
        assert project.status(SCENE)["ok"] == 9
    finally:
        subprocess.run(["umount", str(project.store)], check=False)


def test_a_signal_that_dagster_forgets_ends_a_run_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes between a job's last step and its end."""
    import dagster as dg
    from dagster._utils.interrupts import capture_interrupts

    from stilt_dagster.definitions import defs
    from stilt_dagster.operations.run import run_scene
    from stilt_dagster.resources.store import Store
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.pystilt import engine_version, find_hycs_std

    class Job:
        def execute_in_process(self, **options: object) -> None:
            with capture_interrupts():
                os.kill(os.getpid(), signal.SIGINT)

    project.cli("scene", "add", project.scene_file())
    monkeypatch.setattr(type(defs), "resolve_job_def", lambda self, name: Job())
    scene = StoredScene.load(Store(str(project.store)), SCENE, engine_version(find_hycs_std()))
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(KeyboardInterrupt):
        run_scene(instance, scene, lambda: defs)
