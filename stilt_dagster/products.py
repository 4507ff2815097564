"""What is made of finished scenes: several jacobians as one, results laid out as R STILT's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stilt_dagster.io_managers.arl import read_description
from stilt_dagster.resources.store import Folder, Store
from stilt_dagster.science.batches import plan
from stilt_dagster.science.concatenate import ConcatError, concatenate
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.rstilt import export_scene


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
    ConcatError
        If they cannot stand in one matrix.
    """
    if len(set(scenes)) != len(scenes):
        raise ConcatError("a scene is named twice: its observations would count twice")
    paths = []
    for scene in scenes:
        store.scene(scene)
        path = store.folder("jacobian").get(f"{scene}.nc")
        if path is None:
            raise IncompleteError(f"scene {scene} has no jacobian: run it first with `stilt-dagster scene run {scene}`")
        paths.append(path)
    with store.scratch() as scratch:
        shape = concatenate(paths, scratch / "all.nc")
        Folder.of(output.resolve().parent).put(scratch / "all.nc", output.name)
    return shape


def export_rstilt(store: Store, scene_id: str, engine: str, directory: Path) -> int:
    """Write a scene's particles and footprints as R STILT lays out its own.

    Parameters
    ----------
    store : Store
        Where they are.
    scene_id : str
        The scene.
    engine : str
        Version of the transport engine that made them.
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
    scene = store.scene(scene_id)
    description = read_description(store, scene_id)
    if description is None:
        raise IncompleteError(f"scene {scene_id} is not done: run it first with `stilt-dagster scene run {scene_id}`")
    shards = plan(scene, description.sha256, engine)
    return export_scene(
        scene,
        shards,
        lambda shard: store.folder("trajectories", scene_id, shard),
        lambda shard: store.folder("footprints", scene_id, shard),
        directory,
    )
