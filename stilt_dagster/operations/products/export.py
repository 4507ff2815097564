"""What is made of finished scenes for other programs: several jacobians as one, results laid out as R STILT's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import IncompleteError, JacobianError
from stilt_dagster.science.footprints.exports.rstilt_files import export_scene
from stilt_dagster.science.jacobian.concatenate import concatenate


def concatenate_scenes(store: Store, scenes: Sequence[str], output: Path) -> tuple[int, int]:
    """Write the jacobians of several scenes as one file.

    Parameters
    ----------
    store : Store
        Where they are.
    scenes : sequence of str
        The scenes, in the order their rows come in.
    output : Path
        The file to write, all at once.

    Returns
    -------
    tuple of int
        Shape of the matrix.

    Raises
    ------
    IncompleteError
        Naming the scene whose jacobian is not there.
    JacobianError
        If they cannot stand in one matrix.
    """
    paths = jacobian_files(store, scenes)
    with store.scratch() as scratch:
        shape = concatenate(paths, scratch / "all.nc")
        Folder.of(output.resolve().parent).put(scratch / "all.nc", output.name)
    return shape


def jacobian_files(store: Store, scenes: Sequence[str]) -> list[Path]:
    """Return the jacobians of scenes, as files of this machine.

    Raises
    ------
    IncompleteError
        Naming the scene whose jacobian is not there.
    JacobianError
        If a scene is named twice.
    """
    if len(set(scenes)) != len(scenes):
        raise JacobianError("a scene is named twice: its observations would count twice")
    paths = []
    for scene in scenes:
        store.spec_text(scene)
        path = store.folder("jacobian").get(f"{scene}.nc")
        if path is None:
            raise IncompleteError(f"scene {scene} has no jacobian: run it first with `stilt-dagster scene run {scene}`")
        paths.append(path)
    return paths


def export_rstilt(scene: StoredScene, directory: Path) -> int:
    """Write a scene's particles and footprints as R STILT lays out its own.

    Parameters
    ----------
    scene : StoredScene
        The scene.
    directory : Path
        Where to write.

    Returns
    -------
    int
        Receptors that have particles.

    Raises
    ------
    IncompleteError
        If the scene is not done.
    """
    if scene.aggregate is None:
        raise IncompleteError(f"scene {scene.id} is not done: run it first with `stilt-dagster scene run {scene.id}`")
    return export_scene(scene.spec, scene.batches, scene.trajectories, scene.footprints, directory)
