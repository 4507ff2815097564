"""The store: one root, a directory or a bucket, laid out the same everywhere.

::

    scenes/<scene>.json
    receptors/<scene>.parquet
    meteorology_aggregate/<scene>.arl, <scene>.json
    trajectories/<scene>/<shard>/part-00000.parquet ...
    footprints/<scene>/<shard>/part-00000.nc ...
    jacobian/<scene>.nc

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
from stilt_dagster.science.scene import SCENE_ID, Scene
from stilt_dagster.science.scratch import scratch_directory


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
            return Scene.from_json(text)
        except ValueError as error:
            raise SceneError(
                f"the spec of {scene} in {self.root}/scenes is damaged: {error}; register it again"
            ) from error

    def write_scene(self, scene: Scene) -> None:
        """Write a scene's spec."""
        self.folder("scenes").write(f"{scene.id}.json", scene.to_json())


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The store of a code location."""

    url: str

    @property
    def store(self) -> Store:
        """The store."""
        return Store(self.url)
