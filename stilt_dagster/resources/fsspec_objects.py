"""Object stores other than Google's, through fsspec: S3, and the memory of this process for tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from upath import UPath

from stilt_dagster.resources.object_folders import ObjectChanged, ObjectState
from stilt_dagster.science.errors import StoreError, StoreUnavailable


class FsspecObjects:
    """The objects of one prefix; an object is written whole, and appears once its last byte has arrived.

    Parameters
    ----------
    path : UPath
        The prefix.
    """

    def __init__(self, path: UPath) -> None:
        self.url = str(path).rstrip("/")
        self._path = path

    def list(self) -> dict[str, ObjectState]:
        """Return what there is, by name; names below are left out."""
        with self._store_errors("list", self.url):
            fs = self._path.fs
            fs.invalidate_cache()
            try:
                found = fs.ls(self._path.path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}  # an object store has no folder without an object
            return {
                info["name"].rstrip("/").rsplit("/", 1)[-1]: _state_of(info) for info in found if info["type"] == "file"
            }

    def stat(self, name: str) -> ObjectState | None:
        """Return an object's state, or None if there is none."""
        with self._store_errors("read", f"{self.url}/{name}"):
            path = self._path / name
            path.fs.invalidate_cache()
            try:
                return _state_of(path.fs.info(path.path))
            except FileNotFoundError:
                return None

    def read(self, name: str, state: ObjectState, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of an object.

        Raises
        ------
        ObjectChanged
            If it is gone, or too short.
        """
        with self._store_errors("read", f"{self.url}/{name}"):
            path = self._path / name
            try:
                data = bytes(path.fs.cat_file(path.path, start=start, end=stop))
            except FileNotFoundError:
                data = b""
            if len(data) != stop - start:
                raise ObjectChanged(f"{self.url}/{name} was replaced while it was read: run it again")
            return data

    def write(self, name: str, file: BinaryIO, size: int, state: ObjectState | None) -> ObjectState:
        """Write an object whole."""
        with self._store_errors("write", f"{self.url}/{name}"), (self._path / name).open("wb") as remote:
            shutil.copyfileobj(file, remote, 8 << 20)
        made = self.stat(name)
        if made is None or made.size != size:
            raise StoreUnavailable(f"{self.url}/{name} did not arrive whole: run it again")
        return made

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._store_errors("remove", f"{self.url}/{name}"):
            (self._path / name).unlink(missing_ok=True)

    def delete_all(self) -> int:
        """Delete all objects of the prefix and below it; return how many there were."""
        with self._store_errors("remove", self.url):
            fs = self._path.fs
            fs.invalidate_cache()
            try:
                names = fs.find(self._path.path)
            except FileNotFoundError:
                return 0
            for name in names:
                fs.rm_file(name)
            return len(names)

    @contextmanager
    def _store_errors(self, action: str, url: str) -> Iterator[None]:
        """Turn what a client says into one line; clients of object stores raise their own kinds."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            kind = type(error).__name__
            if isinstance(error, (PermissionError, FileNotFoundError, ImportError)) or "redential" in kind:
                raise StoreError(
                    f"cannot {action} {url} ({kind}): check STILT_STORE, that the bucket exists, and that this process "
                    "may read and write it"
                ) from error
            raise StoreUnavailable(
                f"cannot {action} {url}: the store does not answer as it should ({kind}): run it again later"
            ) from error


def _state_of(info: dict[str, Any]) -> ObjectState:
    state = next((str(info[key]) for key in ("ETag", "LastModified", "created", "mtime") if info.get(key)), "")
    return ObjectState(int(info["size"] or 0), state)
