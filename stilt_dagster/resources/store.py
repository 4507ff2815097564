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

import atexit
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import dagster as dg
from upath import UPath

from stilt_dagster.science.errors import SceneError, StoreError
from stilt_dagster.science.scene import SCENE_ID, Scene
from stilt_dagster.science.scratch import scratch_directory


@contextmanager
def _explained(action: str, where: object) -> Iterator[None]:
    """Turn what a file system says into one line that names the file."""
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        raise StoreError(
            f"cannot {action} {where}: {what}; check STILT_STORE, its permissions, and the space that is left"
        ) from error


@cache
def _copies() -> Path:
    """Return this process's directory of copies of remote files; it goes with the process."""
    context = scratch_directory()
    atexit.register(context.__exit__, None, None, None)
    return context.__enter__()


class Folder:
    """One folder of the store: gives its files on this machine, and takes finished ones, all at once.

    Parameters
    ----------
    path : UPath
        The folder.
    """

    def __init__(self, path: UPath) -> None:
        self.path = path

    @classmethod
    def of(cls, path: Path) -> Folder:
        """Return a directory of this machine as a folder."""
        return cls(UPath(path))

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine."""
        return self.path.protocol in ("", "file", "local")

    def get(self, name: str) -> Path | None:
        """Return a file of this machine that holds *name*, or None if there is none.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        source = self.path / name
        with _explained("read", source):
            if self.is_local:
                path = Path(source.path)
                return path if path.is_file() else None
            try:
                info = source.stat()
            except FileNotFoundError:
                return None
            # Named after what it is a copy of, and of which state of it.
            state = hashlib.sha256(f"{source} {info.st_size} {info.st_mtime}".encode()).hexdigest()[:16]
            copy = _copies() / f"{state}-{name}"
            if not copy.exists():
                part = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
                with source.open("rb") as remote, part.open("wb") as local:
                    shutil.copyfileobj(remote, local, 8 << 20)
                part.replace(copy)
            return copy

    def put(self, path: Path, name: str) -> None:
        """Move a finished file of this machine to *name*, all at once.

        Raises
        ------
        StoreError
            If the store cannot be written; nothing half-written is left.
        """
        target = self.path / name
        with _explained("write", target):
            if not self.is_local:
                with path.open("rb") as local, target.open("wb") as remote:
                    shutil.copyfileobj(local, remote, 8 << 20)
                path.unlink()
                return
            folder = Path(self.path.path)
            folder.mkdir(parents=True, exist_ok=True)
            if os.stat(path).st_dev == os.stat(folder).st_dev:
                os.replace(path, folder / name)
                return
            part = folder / f".{name}.{uuid.uuid4().hex}"
            try:
                shutil.copyfile(path, part)
                part.replace(folder / name)
            finally:
                part.unlink(missing_ok=True)
            path.unlink()

    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""
        source = self.path / name
        with _explained("read", source):
            try:
                return source.read_text()
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""
        with scratch_directory() as scratch:
            path = scratch / name
            with _explained("write", path):
                path.write_text(text)
            self.put(path, name)

    def names(self) -> list[str]:
        """Return the names of the files here, sorted; hidden ones are none."""
        with _explained("list", self.path):
            try:
                return sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
            except FileNotFoundError:
                return []
            except NotADirectoryError:
                if self.is_local:
                    raise
                return []  # an object store has no folder without an object

    def remove(self, name: str) -> None:
        """Remove *name*, if it is there."""
        with _explained("remove", self.path / name):
            (self.path / name).unlink(missing_ok=True)


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
        return Folder(self.root.joinpath(*parts))

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a directory to prepare files in; on a local store's own disk, so that putting them is a rename."""
        return scratch_directory(Path(self.root.path) / ".scratch" if self.is_local else None)

    def scenes(self) -> list[str]:
        """Return the ids of all registered scenes, sorted."""
        return [n.removesuffix(".json") for n in self.folder("scenes").names() if n.endswith(".json")]

    def has_scene(self, scene: str) -> bool:
        """Return whether a scene is registered."""
        return self.folder("scenes").read(f"{self._checked(scene)}.json") is not None

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
