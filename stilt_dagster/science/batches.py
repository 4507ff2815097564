"""A scene's receptors as batches: the unit of files, of checkpoints, and of what a re-run redoes.

A shard's receptors are cut into batches of a few CPU-minutes. A batch becomes one part file, written whole or not at
all, that carries the hash of everything that made it and an outcome for every receptor. So a run that was killed is
finished by running it again: parts whose key still fits are kept, and in those only failed receptors are tried anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from stilt_dagster.science.scenes.receptors import SHARDS, Receptors
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import Source
from stilt_dagster.science.versions import batch_key, simulation_key

#: CPU seconds of simulation a batch holds, predicted: what a killed run may lose, a core.
BATCH_CPU_SECONDS = 120.0

#: Most receptors of a batch, however fast they are.
BATCH_RECEPTORS = 256

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some receptors of one shard, and the hash of what makes their trajectories.

    Attributes
    ----------
    shard : str
        The shard, ``00`` to ``15``.
    number : int
        Which batch of the shard.
    receptors : Receptors
        In the order they are kept in: by id.
    key : str
        Hash of receptors, meteorology, settings and engine.
    engine : str
        Version of the transport engine, which the part file says, too: no hash tells it.
    checked : frozenset of str
        The receptors at which the engine is held against hycs_std.
    """

    shard: str
    number: int
    receptors: Receptors
    key: str
    engine: str = ""
    checked: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Name of the batch's part files, without their ending."""
        return f"part-{self.number:05d}"


def batch_size(scene: Scene) -> int:
    """Return the most receptors a batch of a scene has."""
    return int(min(max(BATCH_CPU_SECONDS / scene.transport.predicted_cpu, 1), BATCH_RECEPTORS))


def plan_batches(scene: Scene, meteorology: str, engine: str) -> dict[str, list[Batch]]:
    """Cut a scene into batches: the same ones each time, on any machine.

    Parameters
    ----------
    scene : Scene
        The scene.
    meteorology : str
        Checksum of its meteorology aggregate.
    engine : str
        Version of the transport engine.

    Returns
    -------
    dict of str to list of Batch
        The batches of every shard; a shard without receptors has none.
    """
    size = batch_size(scene)
    simulation = simulation_key(scene, meteorology, engine)
    receptors, checked = scene.receptor_list, scene.checked_receptors
    shards: dict[str, list[int]] = {shard: [] for shard in SHARDS}
    for place in sorted(range(len(receptors)), key=receptors.ids.__getitem__):
        shards[receptors.shards[place]].append(place)
    batches: dict[str, list[Batch]] = {shard: [] for shard in SHARDS}
    for shard, places in shards.items():
        for number, first in enumerate(range(0, len(places), size)):
            members = receptors.select(np.array(places[first : first + size]))
            key = batch_key(simulation, members.ids)
            batches[shard].append(Batch(shard, number, members, key, engine, checked.intersection(members.ids)))
    return batches


class PartFolder(Protocol):
    """One folder of the store."""

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of *name*, or None; all of it will be read, or else some of it."""

    def put(self, path: Path, name: str) -> str:
        """Move a finished file of this machine to *name*, all at once; return its state."""

    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""

    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""

    def states(self) -> dict[str, str]:
        """Return the names of what is there, and what another content of each would have otherwise."""

    def remove(self, name: str) -> None:
        """Remove *name*."""
