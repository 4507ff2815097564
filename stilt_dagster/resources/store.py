"""The store: one root, a directory or a bucket, laid out the same everywhere.

::

    scenes/<scene>.json, <scene>.<hash>.parquet     the latter the soundings of a retrieval's scene
    receptors/<scene>.parquet
    meteorology_aggregate/<scene>.arl, <scene>.json
    trajectories/<scene>/<shard>/part-00000.parquet ...
    footprints/<scene>/<shard>/part-00000.nc ...
    background/<scene>.parquet
    jacobian/<scene>.nc
    sources/<name>.yaml, <name>.ledger.json         where granules land, and which were handled

Files appear whole or not at all.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
from upath import UPath

from stilt_dagster.resources.folders import Directory, Folder, Prefix
from stilt_dagster.resources.objects import FsspecObjects
from stilt_dagster.science.errors import SceneError, StoreError
from stilt_dagster.science.scene import SCENE_ID, Retrieved, Scene
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.soundings import Soundings, read_soundings
from stilt_dagster.science.spec import digest


class Store:
    """A store.

    Parameters
    ----------
    url : str
        A directory, or the URL of a bucket and prefix.

    Raises
    ------
    StoreError
        If *url* is not something that can be a store.
    """

    def __init__(self, url: str) -> None:
        try:
            self.root = UPath(url) if "://" in url else UPath(Path(url).expanduser().resolve())
        except (ValueError, ImportError) as error:
            raise StoreError(f"STILT_STORE {url!r} is not a directory or a bucket URL: {error}") from error
        self._bucket, _, self._prefix = str(self.root.path).strip("/").partition("/")
        if not (self.is_local or self._bucket):
            raise StoreError(f"STILT_STORE {url!r} names no bucket")

    @property
    def is_local(self) -> bool:
        """Whether the store is a directory of this machine."""
        return self.root.protocol in ("", "file", "local")

    def folder(self, *parts: str) -> Folder:
        """Return a folder of the store.

        Raises
        ------
        StoreError
            If a part is not a plain name.
        """
        for part in parts:
            if not SCENE_ID.fullmatch(part):
                raise StoreError(f"{part!r} is not the name of a scene, shard or asset")
        if self.is_local:
            return Directory(Path(self.root.path).joinpath(*parts))
        # The folders below a scene's hold its parts alone; those of the root a file of every scene.
        listed = len(parts) > 1
        if self.root.protocol in ("gs", "gcs"):
            from stilt_dagster.resources.gcs import GcsObjects  # slow to import, and needed for nothing else

            prefix = "/".join(filter(None, (self._prefix, *parts)))
            return Prefix(GcsObjects(self._bucket, prefix), listed=listed)
        return Prefix(FsspecObjects(self.root.joinpath(*parts)), listed=listed)

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a directory to prepare files in; on a local store's own disk, so that putting them is a rename."""
        return scratch_directory(Path(self.root.path) / ".scratch" if self.is_local else None)

    def scenes(self) -> list[str]:
        """Return the ids of all registered scenes, sorted."""
        return [n.removesuffix(".json") for n in self.folder("scenes").names() if n.endswith(".json")]

    def has_scene(self, scene: str) -> bool:
        """Return whether a scene is registered."""
        return self.folder("scenes").has(f"{self._checked(scene)}.json")

    @staticmethod
    def _checked(scene: str) -> str:
        if not SCENE_ID.fullmatch(scene):
            raise SceneError(f"{scene!r} is not a scene id: lower-case letters, digits, '.', '_' and '-' only")
        return scene

    def scene(self, scene: str) -> Scene:
        """Return a scene's spec.

        Raises
        ------
        SceneError
            If the scene is not registered, or its spec is not valid.
        """
        text = self.folder("scenes").read(f"{self._checked(scene)}.json")
        if text is None:
            raise SceneError(
                f"scene {scene} has no spec in {self.root}/scenes: register it with `stilt-dagster scene add FILE`"
            )
        try:
            return Scene.from_json(text, lambda retrieved: self._soundings(scene, retrieved))
        except ValueError as error:
            raise SceneError(
                f"the spec of {scene} in {self.root}/scenes is damaged: {error}; register it again"
            ) from error

    def write_scene(self, scene: Scene) -> None:
        """Write a scene's spec, and before it the soundings it names; then remove those of an earlier one."""
        folder, wanted, earlier = self.folder("scenes"), "", ""
        if (text := folder.read(f"{scene.id}.json")) is not None:
            earlier = self._soundings_of(text, scene.id)
        if (retrieval := scene.receptors.retrieval) is not None:
            assert retrieval.retrieved is not None
            wanted = _soundings_name(scene.id, retrieval.retrieved)
            with self.scratch() as scratch:
                scene.soundings.write(scratch / wanted)
                folder.put(scratch / wanted, wanted)
        folder.write(f"{scene.id}.json", scene.to_json())
        if earlier not in ("", wanted):
            folder.remove(earlier)

    @staticmethod
    def _soundings_of(text: str, scene: str) -> str:
        """Return the name of the soundings a stored spec names; empty if it names none, or is damaged."""
        try:
            retrieval = Scene.from_json(text).receptors.retrieval
        except (ValueError, SceneError):
            return ""
        return "" if retrieval is None or retrieval.retrieved is None else _soundings_name(scene, retrieval.retrieved)

    def _soundings(self, scene: str, retrieved: Retrieved) -> Soundings:
        name = _soundings_name(scene, retrieved)
        found = self.folder("scenes").open(name, read_soundings, whole=True)
        if found is None:
            raise SceneError(f"the soundings of {scene}, {self.root}/scenes/{name}, are missing: register it again")
        return found


def _soundings_name(scene: str, retrieved: Retrieved) -> str:
    """Return the name of a scene's soundings: another one for other content, so that a spec never finds wrong ones."""
    return f"{scene}.{digest([retrieved.positions, retrieved.kernels, retrieved.observations])}.parquet"


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The store of a code location."""

    url: str

    @property
    def store(self) -> Store:
        """The store."""
        return Store(self.url)
