"""Footprints of some receptors of a scene, or of all, one after the other, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import IncompleteError, SceneError
from stilt_dagster.science.footprints.footprint_files import FootprintFile
from stilt_dagster.science.footprints.footprints import read_part
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.scenes.spec import Scene


def require_receptors(scene: Scene, receptors: Sequence[str]) -> list[str]:
    """Return ids of receptors in the order of the scene, each once; of all receptors if none is named.

    Raises
    ------
    SceneError
        Naming one the scene has not.
    """
    wanted, ids = set(receptors), scene.receptor_ids
    if unknown := wanted - set(ids):
        raise SceneError(f"scene {scene.id} has no receptor {min(unknown)}; one of its {len(ids)} is {ids[0]}")
    return [i for i in ids if i in wanted] if wanted else ids


def chosen_footprints(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    footprints_of: Callable[[str], IndexedFolder],
    receptors: Sequence[str],
) -> Iterator[tuple[FootprintFile, int]]:
    """Yield the part file and the place in it of each of some receptors, each part opened once, others not at all.

    Parameters
    ----------
    scene : Scene
        The scene.
    shards : mapping of str to sequence of Batch
        Its batches.
    footprints_of : callable
        The store's folder of a shard's footprints.
    receptors : sequence of str
        Ids of receptors of the scene.

    Raises
    ------
    IncompleteError
        Naming the shard whose footprints are missing or were made with other inputs.
    """
    wanted = set(receptors)
    for batch in (b for members in shards.values() for b in members):
        places = [k for k, receptor in enumerate(batch.receptors.ids) if receptor in wanted]
        if not places:
            continue
        part = read_part(footprints_of(batch.shard), batch, scene, whole=True)
        if part is None:
            raise IncompleteError(
                f"footprints of shard {batch.shard} of scene {scene.id} are missing or were made with other inputs: "
                f"run it first with `stilt-dagster scene run {scene.id}`"
            )
        with closing(part):
            for k in places:
                yield part, k


def sum_footprints(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    footprints_of: Callable[[str], IndexedFolder],
    receptors: Sequence[str],
) -> tuple[NDArray[np.float64], int]:
    """Return the sum of footprints over receptors and hours, and how many did not fail.

    Returns
    -------
    ndarray
        Shape ``(y, x)``, south and west first, ppm (umol m-2 s-1)-1.
    int
        Receptors the sum is of: failed ones have no footprint.
    """
    ny, nx = scene.footprint.grid.ny, scene.footprint.grid.nx
    total, count = np.zeros(ny * nx), 0
    for part, k in chosen_footprints(scene, shards, footprints_of, receptors):
        columns, values = part.rows(int(part.indptr[k]), int(part.indptr[k + 1]))
        np.add.at(total, columns % (ny * nx), values)
        count += part.outcomes[k].status != "failed"
    return total.reshape(ny, nx), count
