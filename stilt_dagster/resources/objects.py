"""Object stores other than Google's, through fsspec: S3, and the memory of this process for tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from upath import UPath

from stilt_dagster.resources.folders import Changed, Seen
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

    def list(self) -> dict[str, Seen]:
        """Return what there is, by name; names below are left out."""
        with self._explained("list", self.url):
            fs = self._path.fs
            fs.invalidate_cache()
            try:
                found = fs.ls(self._path.path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}  # an object store has no folder without an object
            return {
                info["name"].rstrip("/").rsplit("/", 1)[-1]: _seen(info) for info in found if info["type"] == "file"
            }

    def look(self, name: str) -> Seen | None:
        """Return an object's state, or None if there is none."""
        with self._explained("read", f"{self.url}/{name}"):
            path = self._path / name
            path.fs.invalidate_cache()
            try:
                return _seen(path.fs.info(path.path))
            except FileNotFoundError:
                return None

    def read(self, name: str, seen: Seen, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of an object.

        Raises
        ------
        Changed
            If it is gone, or too short.
        """
        with self._explained("read", f"{self.url}/{name}"):
            path = self._path / name
            try:
                data = bytes(path.fs.cat_file(path.path, start=start, end=stop))
            except FileNotFoundError:
                data = b""
            if len(data) != stop - start:
                raise Changed(f"{self.url}/{name} was replaced while it was read: run it again")
            return data

    def write(self, name: str, file: BinaryIO, size: int, seen: Seen | None) -> Seen:
        """Write an object whole."""
        with self._explained("write", f"{self.url}/{name}"), (self._path / name).open("wb") as remote:
            shutil.copyfileobj(file, remote, 8 << 20)
        made = self.look(name)
        if made is None or made.size != size:
            raise StoreUnavailable(f"{self.url}/{name} did not arrive whole: run it again")
        return made

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._explained("remove", f"{self.url}/{name}"):
            (self._path / name).unlink(missing_ok=True)

    @contextmanager
    def _explained(self, action: str, url: str) -> Iterator[None]:
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


def _seen(info: dict[str, Any]) -> Seen:
    state = next((str(info[key]) for key in ("ETag", "LastModified", "created", "mtime") if info.get(key)), "")
    return Seen(int(info["size"] or 0), state)
