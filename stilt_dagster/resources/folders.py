"""Folders of a store: a directory of this machine, or names under one prefix of an object store.

Both give files of this machine and take finished ones, all at once. What an object store is asked is kept to what a
part costs at least: one listing a shard, one upload a part, one download of what is read whole, and ranges of the rest.
"""

from __future__ import annotations

import atexit
import base64
import io
import os
import shutil
import threading
import uuid
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast

import google_crc32c

from stilt_dagster.science.batches import ahead
from stilt_dagster.science.errors import StoreError, StoreUnavailable
from stilt_dagster.science.particles import Source
from stilt_dagster.science.scratch import scratch_directory

T = TypeVar("T")

#: Bytes of a request of a large download; four are under way at a time.
_SPAN = 16 << 20

#: Bytes of a request of a file that is read here and there: a Parquet part's footer and outcomes, mostly.
_BLOCK = 256 << 10

#: How often an object is read again that was replaced, or arrived damaged, meanwhile.
_ATTEMPTS = 3


@contextmanager
def explained(action: str, where: object) -> Iterator[None]:
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
    def put(self, path: Path, name: str) -> None:
        """Move a finished file of this machine to *name*, all at once."""

    @abstractmethod
    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""

    @abstractmethod
    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the files here, sorted; hidden ones are none."""

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
        with explained("read", path):
            return path if path.is_file() else None

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of the file itself."""
        path = self.get(name)
        return None if path is None else kind(path)

    def put(self, path: Path, name: str) -> None:
        """Rename the file, or copy it to this disk and rename the copy."""
        with explained("write", self.path / name):
            self.path.mkdir(parents=True, exist_ok=True)
            if os.stat(path).st_dev == os.stat(self.path).st_dev:
                os.replace(path, self.path / name)
                return
            part = self.path / f".{name}.{uuid.uuid4().hex}"
            try:
                shutil.copyfile(path, part)
                part.replace(self.path / name)
            finally:
                part.unlink(missing_ok=True)
            path.unlink()

    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""
        with explained("read", self.path / name):
            try:
                return (self.path / name).read_text()
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""
        with scratch_directory() as scratch:
            path = scratch / name
            with explained("write", path):
                path.write_text(text)
            self.put(path, name)

    def names(self) -> list[str]:
        """Return the names of the files here, sorted; hidden ones are none."""
        with explained("list", self.path):
            try:
                return sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
            except FileNotFoundError:
                return []

    def remove(self, name: str) -> None:
        """Remove *name*, if it is there."""
        with explained("remove", self.path / name):
            (self.path / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Seen:
    """One state of an object, as the object store described it.

    Attributes
    ----------
    size : int
        Bytes.
    state : str
        What another content of the same name has otherwise: a generation, an entity tag, a time.
    crc32c : str
        Its checksum as base64; empty where the object store keeps none.
    """

    size: int
    state: str
    crc32c: str = ""


class Changed(StoreUnavailable):
    """An object was replaced while it was read, or arrived damaged: read it again."""


class Objects(Protocol):
    """The objects of one prefix, without those below it; every call tries again what may go better."""

    url: str

    def list(self) -> dict[str, Seen]:
        """Return what there is, by name."""

    def look(self, name: str) -> Seen | None:
        """Return an object's state, or None if there is none."""

    def read(self, name: str, seen: Seen, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of one state of an object.

        Raises
        ------
        Changed
            If it is in that state no more.
        """

    def write(self, name: str, file: BinaryIO, size: int, seen: Seen | None) -> Seen:
        """Write an object whole, over the state that was seen of it, and return its new one."""

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""


class Prefix(Folder):
    """A folder of an object store.

    Parameters
    ----------
    objects : Objects
        Its objects.
    listed : bool
        Look for files in one listing, made when the first is asked for and kept, rather than one by one: for folders
        whose files are mostly asked for all.
    """

    def __init__(self, objects: Objects, *, listed: bool) -> None:
        self._objects = objects
        self._listed = listed
        self._listing: dict[str, Seen] | None = None
        self._lock = threading.Lock()

    def _list(self) -> dict[str, Seen]:
        with self._lock:
            if self._listing is None:
                self._listing = self._objects.list()
            return self._listing

    def _look(self, name: str) -> Seen | None:
        return self._list().get(name) if self._listed else self._objects.look(name)

    def _note(self, name: str, seen: Seen | None) -> None:
        """Keep a listing that was made as it is now."""
        if self._listing is not None:
            if seen is None:
                self._listing.pop(name, None)
            else:
                self._listing[name] = seen

    def _settled(self, name: str, use: Callable[[Seen], T]) -> T | None:
        """Use the state of an object, and where it has been replaced meanwhile its new one."""
        seen = self._look(name)
        for attempt in range(_ATTEMPTS):
            try:
                return None if seen is None else use(seen)
            except Changed:
                if attempt + 1 == _ATTEMPTS:
                    raise
                seen = self._objects.look(name)
                self._note(name, seen)
        raise AssertionError("the last attempt returns or raises")

    def has(self, name: str) -> bool:
        """Return whether there is a file *name*."""
        return self._look(name) is not None

    def get(self, name: str) -> Path | None:
        """Return a copy that stays as long as this process; made once, whoever asks."""

        def copied(seen: Seen) -> Path:
            with _COPYING:  # a second that asks waits for the first
                copies = _copies()
                url, path = f"{self._objects.url}/{name}", _KEPT.get((self._objects.url, name, seen))
                if path is None:
                    for old in [k for k in _KEPT if k[:2] == (self._objects.url, name)]:
                        _KEPT.pop(old).unlink(missing_ok=True)
                    with explained("copy", url):
                        directory = copies / uuid.uuid4().hex
                        directory.mkdir()
                        path = directory / name
                    self._copy(name, seen, path)
                    _KEPT[self._objects.url, name, seen] = path
                return path

        return self._settled(name, copied)

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of a copy that goes when it is closed, or of ranges."""

        def opened(seen: Seen) -> T:
            if not whole:
                return kind(cast(BinaryIO, Ranges(seen.size, lambda a, b: self._objects.read(name, seen, a, b))))
            copy = _copies() / f"{uuid.uuid4().hex}-{name}"
            try:
                self._copy(name, seen, copy)
                return kind(copy)
            finally:
                copy.unlink(missing_ok=True)  # an open file keeps its space until it is closed

        return self._settled(name, opened)

    def _copy(self, name: str, seen: Seen, path: Path) -> None:
        """Copy an object here, whole and as it was seen."""
        url = f"{self._objects.url}/{name}"
        spans = [(a, min(a + _SPAN, seen.size)) for a in range(0, seen.size, _SPAN)]

        def read(span: tuple[int, int]) -> bytes:
            return self._objects.read(name, seen, *span)

        pieces = ((span, read(span)) for span in spans) if len(spans) < 2 else ahead(read, spans)
        checksum = google_crc32c.Checksum()
        with explained("copy", url), path.open("wb") as file:
            for _, data in pieces:
                file.write(data)
                checksum.update(data)
            if file.tell() != seen.size or (seen.crc32c and _base64(checksum) != seen.crc32c):
                raise Changed(f"{url} arrives damaged, {_ATTEMPTS} times: remove it and make it again")

    def put(self, path: Path, name: str) -> None:
        """Write the object, and remove the file."""
        with explained("read", path), path.open("rb") as file:
            size = path.stat().st_size
            self._note(name, self._objects.write(name, file, size, self._look(name)))
            path.unlink()

    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""

        def text(seen: Seen) -> str:
            data = self._objects.read(name, seen, 0, seen.size) if seen.size else b""
            if seen.crc32c and _base64(google_crc32c.Checksum(data)) != seen.crc32c:
                raise Changed(f"{self._objects.url}/{name} arrives damaged, {_ATTEMPTS} times: write it again")
            return data.decode()

        return self._settled(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""
        data = text.encode()
        self._note(name, self._objects.write(name, io.BytesIO(data), len(data), self._look(name)))

    def names(self) -> list[str]:
        """Return the names of the files here, sorted; hidden ones are none."""
        listing = self._list() if self._listed else self._objects.list()
        return sorted(name for name in listing if not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove *name*, if it is there."""
        self._objects.delete(name)
        self._note(name, None)


#: Copies that stay as long as this process, by folder, name and state.
_KEPT: dict[tuple[str, str, Seen], Path] = {}
_COPYING = threading.Lock()


@cache
def _copies() -> Path:
    """Return this process's directory of copies of remote files; it goes with the process."""
    context = scratch_directory()
    atexit.register(context.__exit__, None, None, None)
    return context.__enter__()


def _base64(checksum: Any) -> str:
    """Return a CRC32C as object stores write it."""
    return base64.b64encode(checksum.digest()).decode()


class Ranges(io.RawIOBase):
    """An object as a file of which only what is read is fetched, in blocks counted from its end.

    Formats that are read here and there keep at their end what says where the rest is: that is then one block.

    Parameters
    ----------
    size : int
        Bytes of the object.
    fetch : callable
        Returns the bytes from one place to another.
    """

    _BLOCKS = 16

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read from."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set where the next byte is read from."""
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or as much of it as there is."""
        view = memoryview(buffer).cast("B")
        start, stop = self._at, min(self._at + len(view), self._size)
        if stop <= start:
            return 0
        if stop - start > _BLOCK:
            view[: stop - start] = self._fetch(start, stop)
            self._at = stop
        while self._at < stop:
            k = (self._size - self._at - 1) // _BLOCK
            first = max(self._size - (k + 1) * _BLOCK, 0)
            piece = self._block(k, first)[self._at - first : stop - first]
            view[self._at - start : self._at - start + len(piece)] = piece
            self._at += len(piece)
        return stop - start

    def _block(self, k: int, first: int) -> bytes:
        if k not in self._blocks:
            self._blocks[k] = self._fetch(first, self._size - k * _BLOCK)
            if len(self._blocks) > self._BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(k)
        return self._blocks[k]
