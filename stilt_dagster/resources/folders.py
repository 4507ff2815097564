"""Folders of a store: what each gives and takes, and those that are directories of this machine."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from stilt_dagster.science.errors import StoreError
from stilt_dagster.science.scratch import Source, scratch_directory

T = TypeVar("T")

#: What a file system says that has no hard links, not to this file, not for this user, or no more of them.
_NO_LINK = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.ENOENT)


@contextmanager
def store_errors(action: str, where: object) -> Iterator[None]:
    """Turn what a file system says into one line that names the file."""
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        raise StoreError(
            f"cannot {action} {where}: {what}; check STILT_STORE, its permissions, and the space that is left"
        ) from error


class Folder(ABC):
    """One folder of the store: gives its files on this machine, and takes finished ones, all at once.

    Every method raises :class:`StoreError` if the store cannot be read or written, and of it
    :class:`StoreUnavailable` if it may be had later.
    """

    @staticmethod
    def of(path: Path) -> Folder:
        """Return a directory of this machine as a folder."""
        return Directory(path)

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether there is a file *name*."""

    @abstractmethod
    def get(self, name: str) -> Path | None:
        """Return a file of this machine that holds *name* for as long as this process lives, or None."""

    @abstractmethod
    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of *name*, or None if there is no such file.

        Parameters
        ----------
        name : str
            The file.
        kind : callable
            Opens a path or a binary file.
        whole : bool
            All of it will be read: give a copy of a remote file, which takes no more space once it is closed. Else
            what is read is fetched as it is read.
        """

    @abstractmethod
    def put(self, path: Path, name: str) -> str:
        """Move a finished file of this machine to *name*, all at once; return its state, as :meth:`states` has it."""

    def link(self, existing: str, name: str) -> bool:
        """Make *name* the same file as *existing* without moving its content; return whether that could be done.

        Where it could not, *name* is what it was: put it. Removing either leaves the other.
        """
        return False

    @abstractmethod
    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""

    @abstractmethod
    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""

    @abstractmethod
    def states(self) -> dict[str, str]:
        """Return the names of the files here, sorted, and what another content of each would have otherwise."""

    def names(self) -> list[str]:
        """Return the names of the files here, sorted; hidden ones are none."""
        return list(self.states())

    @abstractmethod
    def remove_all(self) -> int:
        """Remove everything here and below; return how many files that were."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove *name*, if it is there."""


class Directory(Folder):
    """A directory of this machine.

    Parameters
    ----------
    path : Path
        The directory; made when something is put there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        """Return whether there is a file *name*."""
        return self.get(name) is not None

    def get(self, name: str) -> Path | None:
        """Return the file itself."""
        path = self.path / name
        with store_errors("read", path):
            return path if path.is_file() else None

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of the file itself."""
        path = self.get(name)
        return None if path is None else kind(path)

    def put(self, path: Path, name: str) -> str:
        """Rename the file, or copy it to this disk and rename the copy."""
        with store_errors("write", self.path / name):
            self.path.mkdir(parents=True, exist_ok=True)
            if os.stat(path).st_dev == os.stat(self.path).st_dev:
                os.replace(path, self.path / name)
                return _state(self.path / name)
            part = self.path / f".{name}.{uuid.uuid4().hex}"
            try:
                shutil.copyfile(path, part)
                part.replace(self.path / name)
            finally:
                part.unlink(missing_ok=True)
            path.unlink()
            return _state(self.path / name)

    def link(self, existing: str, name: str) -> bool:
        """Make a hard link; not where the file system has none, or *existing* has all it may have."""
        part = self.path / f".{name}.{uuid.uuid4().hex}"
        with store_errors("write", self.path / name):
            try:
                os.link(self.path / existing, part)
                part.replace(self.path / name)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            finally:
                part.unlink(missing_ok=True)  # a rename to another link of the same file leaves both
            return True

    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""
        with store_errors("read", self.path / name):
            try:
                return (self.path / name).read_text()
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""
        with scratch_directory() as scratch:
            path = scratch / name
            with store_errors("write", path):
                path.write_text(text)
            self.put(path, name)

    def states(self) -> dict[str, str]:
        """Return the names of the files here, sorted, and when each was written; hidden ones are none."""
        with store_errors("list", self.path):
            try:
                names = sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
                return {name: _state(self.path / name) for name in names}
            except FileNotFoundError:
                return {}

    def remove(self, name: str) -> None:
        """Remove *name*, if it is there."""
        with store_errors("remove", self.path / name):
            (self.path / name).unlink(missing_ok=True)

    def remove_all(self) -> int:
        """Remove the directory with all that is in it."""
        with store_errors("remove", self.path):
            if not self.path.is_dir():
                return 0
            count = sum(1 for p in self.path.rglob("*") if p.is_file())
            shutil.rmtree(self.path)
            return count


def _state(path: Path) -> str:
    """Return what another content of a file would have otherwise; empty if it is gone."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return ""
    return f"{known.st_mtime_ns}-{known.st_size}-{known.st_ino}"
