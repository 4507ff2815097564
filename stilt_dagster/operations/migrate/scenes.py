"""What of a store's scenes is kept otherwise than now, and moving it: a scene at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from stilt_dagster.operations.migrate.jacobians import compressed_size, write_uncompressed
from stilt_dagster.operations.migrate.records import record_versions, scenes_without_versions
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import JacobianError, counted


@dataclass(frozen=True)
class Move:
    """Something of a scene that is kept otherwise than now.

    Attributes
    ----------
    scene : str
        The scene.
    what : str
        ``jacobian``, or ``records``: of Dagster.
    detail : str
        What is to be done, in a few words.
    apply : callable
        Does it, and returns what was done in a few words and by how many bytes the store grew; whole, or not at all.
    """

    scene: str
    what: str
    detail: str
    apply: Callable[[], tuple[str, int]]


def find_moves(
    instance: dg.DagsterInstance, store: Store, scenes: Iterable[str], load: Callable[[str], StoredScene]
) -> Iterator[Move]:
    """Yield what of some scenes is to be moved; of each jacobian only its header is read.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are recorded; its schema is that of this Dagster.
    store : Store
        The store.
    scenes : iterable of str
        Registered scenes.
    load : callable
        Returns one with its products.
    """
    wanted = list(scenes)
    folder = store.folder("jacobian")
    there = set(folder.names())
    for scene in wanted:
        if f"{scene}.nc" not in there:
            continue
        try:
            found = folder.open(f"{scene}.nc", compressed_size, whole=False)
        except (OSError, KeyError):
            continue  # it is no whole jacobian: `scene status` says so, and a run makes it again
        if found is not None:
            size, key = found
            yield Move(scene, "jacobian", f"{_mb(size)}, entries compressed", _Unpack(store, scene, size, key))
    for scene, count in scenes_without_versions(instance, wanted):
        yield Move(
            scene,
            "records",
            f"{counted(count, 'partition')} recorded without a version",
            _Record(instance, load, scene),
        )


@dataclass(frozen=True)
class _Unpack:
    """Writes a scene's jacobian again, its entries not compressed."""

    store: Store
    scene: str
    size: int
    key: str

    def __call__(self) -> tuple[str, int]:
        folder, name = self.store.folder("jacobian"), f"{self.scene}.nc"
        where = f"{self.store.root}/jacobian/{name}"
        with self.store.scratch() as scratch:
            written = scratch / name

            def rewrite(path: object) -> int:
                assert isinstance(path, Path), "it is read whole"
                return write_uncompressed(path, written, where)

            size = folder.open(name, rewrite, whole=True)
            try:
                now = folder.open(name, compressed_size, whole=False)
            except (OSError, KeyError):
                now = None
            if size is None or now != (self.size, self.key):
                raise JacobianError(f"{where} was made again meanwhile: it is left as it is")
            folder.put(written, name)
        return f"{_mb(self.size)} -> {_mb(size)}", size - self.size


@dataclass(frozen=True)
class _Record:
    """Records the versions of what a scene has."""

    instance: dg.DagsterInstance
    load: Callable[[str], StoredScene]
    scene: str

    def __call__(self) -> tuple[str, int]:
        return f"versions of {counted(record_versions(self.instance, self.load(self.scene)), 'partition')} recorded", 0


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
