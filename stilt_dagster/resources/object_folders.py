"""Folders of an object store: names under one prefix, as files of this machine.

What the store is asked is kept to what a part costs at least: one listing a shard, one upload a part, one download of
what is read whole, and ranges of the rest.
"""

from __future__ import annotations

import atexit
import base64
import io
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast

import google_crc32c

from stilt_dagster.resources.folders import Folder, store_errors
from stilt_dagster.science.errors import FormatError, StoreUnavailable
from stilt_dagster.science.part_pool import prefetch
from stilt_dagster.science.scratch import Source, scratch_directory

T = TypeVar("T")

#: Bytes of a request of a large download; four are under way at a time.
_SPAN = 16 << 20

#: Bytes of a request of a file that is read here and there: a Parquet part's footer and outcomes, mostly.
_BLOCK = 256 << 10

#: How often an object is read again that was replaced, or arrived damaged, meanwhile.
_ATTEMPTS = 3


@dataclass(frozen=True)
class ObjectState:
    """One state of an object, as the object store described it.

    Attributes
    ----------
    size : int
        Bytes.
    version : str
        What another content of the same name has otherwise: a generation, an entity tag, a time.
    crc32c : str
        Its checksum as base64; empty where the object store keeps none.
    """

    size: int
    version: str
    crc32c: str = ""


class ObjectChanged(StoreUnavailable):
    """An object was replaced while it was read, or arrived damaged: read it again."""


class Objects(Protocol):
    """The objects of one prefix, without those below it; every call tries again what may go better."""

    url: str

    def list(self) -> dict[str, ObjectState]:
        """Return what there is, by name."""

    def stat(self, name: str) -> ObjectState | None:
        """Return an object's state, or None if there is none."""

    def read(self, name: str, state: ObjectState, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of one state of an object.

        Raises
        ------
        ObjectChanged
            If it is in that state no more.
        """

    def write(self, name: str, file: BinaryIO, size: int, state: ObjectState | None) -> ObjectState:
        """Write an object whole, over the state that is known of it, and return its new one."""

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""

    def delete_all(self) -> int:
        """Delete all objects of the prefix and below it; return how many there were."""


class ObjectFolder(Folder):
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
        self._listing: dict[str, ObjectState] | None = None
        self._lock = threading.Lock()

    def _list(self) -> dict[str, ObjectState]:
        with self._lock:
            if self._listing is None:
                self._listing = self._objects.list()
            return self._listing

    def _stat(self, name: str) -> ObjectState | None:
        return self._list().get(name) if self._listed else self._objects.stat(name)

    def _record(self, name: str, state: ObjectState | None) -> None:
        """Keep a listing that was made as it is now."""
        if self._listing is not None:
            if state is None:
                self._listing.pop(name, None)
            else:
                self._listing[name] = state

    def _with_current_state(self, name: str, use: Callable[[ObjectState], T]) -> T | None:
        """Use the state of an object, and where it has been replaced meanwhile its new one."""
        state = self._stat(name)
        for attempt in range(_ATTEMPTS):
            try:
                return None if state is None else use(state)
            except ObjectChanged:
                if attempt + 1 == _ATTEMPTS:
                    raise
                state = self._objects.stat(name)
                self._record(name, state)
        raise AssertionError("the last attempt returns or raises")

    def has(self, name: str) -> bool:
        """Return whether there is a file *name*."""
        return self._stat(name) is not None

    def get(self, name: str) -> Path | None:
        """Return a copy that stays as long as this process; made once, whoever asks."""

        def copied(state: ObjectState) -> Path:
            with _COPYING:  # a second that asks waits for the first
                copies = _copies()
                url, path = f"{self._objects.url}/{name}", _KEPT.get((self._objects.url, name, state))
                if path is None:
                    for old in [k for k in _KEPT if k[:2] == (self._objects.url, name)]:
                        _KEPT.pop(old).unlink(missing_ok=True)
                    with store_errors("copy", url):
                        directory = copies / uuid.uuid4().hex
                        directory.mkdir()
                        path = directory / name
                    self._copy(name, state, path)
                    _KEPT[self._objects.url, name, state] = path
                return path

        return self._with_current_state(name, copied)

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of a copy that goes when it is closed, or of ranges."""

        def opened(state: ObjectState) -> T:
            if not whole:
                return kind(cast(BinaryIO, RangeReader(state.size, lambda a, b: self._objects.read(name, state, a, b))))
            copy = _copies() / f"{uuid.uuid4().hex}-{name}"
            try:
                self._copy(name, state, copy)
                return kind(copy)
            finally:
                copy.unlink(missing_ok=True)  # an open file keeps its space until it is closed

        try:
            return self._with_current_state(name, opened)
        except FormatError as error:  # which names the copy
            raise FormatError(f"{self._objects.url}/{name}", error.found, error.known) from None

    def _copy(self, name: str, state: ObjectState, path: Path) -> None:
        """Copy an object here, whole, in one state."""
        url = f"{self._objects.url}/{name}"
        spans = [(a, min(a + _SPAN, state.size)) for a in range(0, state.size, _SPAN)]

        def read(span: tuple[int, int]) -> bytes:
            return self._objects.read(name, state, *span)

        pieces = ((span, read(span)) for span in spans) if len(spans) < 2 else prefetch(read, spans)
        checksum = google_crc32c.Checksum()
        with store_errors("copy", url), path.open("wb") as file:
            for _, data in pieces:
                file.write(data)
                checksum.update(data)
            if file.tell() != state.size or (state.crc32c and _base64(checksum) != state.crc32c):
                raise ObjectChanged(f"{url} arrives damaged, {_ATTEMPTS} times: remove it and make it again")

    def put(self, path: Path, name: str) -> str:
        """Write the object, and remove the file."""
        with store_errors("read", path), path.open("rb") as file:
            made = self._objects.write(name, file, path.stat().st_size, self._stat(name))
            self._record(name, made)
            path.unlink()
            return made.version

    def read(self, name: str) -> str | None:
        """Return a small text file, or None if there is none."""

        def text(state: ObjectState) -> str:
            data = self._objects.read(name, state, 0, state.size) if state.size else b""
            if state.crc32c and _base64(google_crc32c.Checksum(data)) != state.crc32c:
                raise ObjectChanged(f"{self._objects.url}/{name} arrives damaged, {_ATTEMPTS} times: write it again")
            return data.decode()

        return self._with_current_state(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a small text file, all at once."""
        data = text.encode()
        self._record(name, self._objects.write(name, io.BytesIO(data), len(data), self._stat(name)))

    def states(self) -> dict[str, str]:
        """Return the names of the objects here, sorted, and their states; hidden ones are none."""
        listing = self._list() if self._listed else self._objects.list()
        return {name: listing[name].version for name in sorted(listing) if not name.startswith(".")}

    def remove(self, name: str) -> None:
        """Remove *name*, if it is there."""
        self._objects.delete(name)
        self._record(name, None)

    def remove_all(self) -> int:
        """Delete every object below the prefix."""
        self._listing = None
        return self._objects.delete_all()


#: Copies that stay as long as this process, by folder, name and state.
_KEPT: dict[tuple[str, str, ObjectState], Path] = {}
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


class RangeReader(io.RawIOBase):
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

    def fill(self, start: int, stop: int) -> None:
        """Fetch the blocks of a range at once: what is known to be read of it here and there."""
        stop = min(stop, self._size)
        if start >= stop:
            return
        last, first = (self._size - stop) // _BLOCK, (self._size - start - 1) // _BLOCK
        begin = max(self._size - (first + 1) * _BLOCK, 0)
        data = self._fetch(begin, self._size - last * _BLOCK)
        for k in range(last, first + 1):
            at = max(self._size - (k + 1) * _BLOCK, 0)
            self._blocks[k] = data[at - begin : self._size - k * _BLOCK - begin]

    def _block(self, k: int, first: int) -> bytes:
        if k not in self._blocks:
            self._blocks[k] = self._fetch(first, self._size - k * _BLOCK)
            if len(self._blocks) > self._BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(k)
        return self._blocks[k]
