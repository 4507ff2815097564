"""One file of another machine, read by ranges: a few requests at a time, a few ahead, none twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import BinaryIO, cast

from stilt_dagster.resources.object_folders import ObjectChanged, ObjectState, RangeReader
from stilt_dagster.resources.range_cache import RangeCache
from stilt_dagster.science.part_pool import prefetch
from stilt_dagster.settings import range_cache

#: Bytes of one request at most, and requests under way at a time: what is in memory is the one times the other.
SPAN = 8 << 20
_REQUESTS = 8

#: Bytes between two ranges that are fetched with them rather than asked for apart: what a request costs in time.
_GAP = 64 << 10

#: Bytes at the beginning of a file that is opened here, of which most are read.
_HEAD = 512 << 10

Span = tuple[int, int]


@dataclass(frozen=True)
class RemoteFile:
    """One state of a file of another machine.

    Attributes
    ----------
    location : str
        Its URL.
    known : ObjectState
        The state.
    fetch : callable
        Returns the bytes from one place to another, of that state or not at all.
    cache : RangeCache, optional
        Where fetched bytes are kept for other scenes and processes.
    """

    location: str
    known: ObjectState
    fetch: Callable[[int, int], bytes]
    cache: RangeCache | None = None

    @property
    def name(self) -> str:
        """The name, without a directory."""
        return self.location.rsplit("/", 1)[-1]

    def read(self, ranges: Sequence[Span]) -> Iterator[bytes]:
        """Yield the bytes of each range, in the order given.

        Raises
        ------
        ObjectChanged
            If the file is in that state no more, or a range goes beyond its end.
        StoreError
            If it cannot be read.
        """
        for start, stop in ranges:
            if not 0 <= start <= stop <= self.known.size:
                raise ObjectChanged(f"{self.location} has {self.known.size} bytes, and is read to {stop}: is it whole?")
        parts: list[bytes] = []
        with closing(prefetch(lambda group: self._get(*group.span), groups(ranges), _REQUESTS)) as answers:
            for group, data in answers:
                for start, stop, ends in group.members:
                    parts.append(data[start - group.span[0] : stop - group.span[0]])
                    if ends:
                        yield parts[0] if len(parts) == 1 else b"".join(parts)
                        parts = []

    def _get(self, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        key = self.location, f"{self.known.version}-{self.known.size}"
        if self.cache is None or not self.known.version:
            return self.fetch(start, stop)
        data = self.cache.get(*key, start, stop)
        if data is None:
            data = self.fetch(start, stop)
            self.cache.put(*key, start, data)
        return data


@dataclass(frozen=True)
class Group:
    """What one request is for.

    Attributes
    ----------
    span : tuple of int
        Its first and last but one byte.
    members : sequence of tuple
        First and last but one byte of what is wanted of it, and whether a range ends there.
    """

    span: Span
    members: Sequence[tuple[int, int, bool]]


def groups(ranges: Sequence[Span]) -> Iterator[Group]:
    """Yield the requests that ranges are fetched by: near ones together, long ones in pieces, in their order."""
    members: list[tuple[int, int, bool]] = []
    for start, stop in ranges:
        for a in range(start, max(stop, start + 1), SPAN):
            b = min(a + SPAN, stop)
            if members and not (0 <= a - members[-1][1] <= _GAP and b - members[0][0] <= SPAN):
                yield Group((members[0][0], members[-1][1]), members)
                members = []
            members.append((a, b, b == stop))
    if members:
        yield Group((members[0][0], members[-1][1]), members)


@cache
def shared_cache() -> RangeCache | None:
    """Return this process's cache of remote ranges, or None where it is switched off."""
    directory, size = range_cache()
    return RangeCache(directory, size) if size else None


def open_remote(url: str, *, anonymous: bool = False) -> RemoteFile | None:
    """Return a file of a bucket or a web server in its present state, or None if there is none.

    Parameters
    ----------
    url : str
        Where it is.
    anonymous : bool, optional
        Ask without credentials, where S3 is asked.

    Raises
    ------
    StoreError
        If it cannot be reached, or must not be read.
    """
    if url.startswith(("http://", "https://")):
        from stilt_dagster.resources.remote.web import WebFile

        page = WebFile(url)
        state = page.stat()
        return None if state is None else RemoteFile(url, state, partial(page.read, state), shared_cache())
    from stilt_dagster.resources.remote.buckets import object_at

    objects, name = object_at(url, anonymous=anonymous)
    state = objects.stat(name)
    return None if state is None else RemoteFile(url, state, partial(objects.read, name, state), shared_cache())


@dataclass(frozen=True)
class RemoteRanges:
    """One state of a file of another machine, for readers that go through much of it and keep nothing.

    Another process that is handed it reads the same.

    Attributes
    ----------
    location : str
        Its URL.
    known : ObjectState
        The state.
    """

    location: str
    known: ObjectState

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop*.

        Raises
        ------
        ObjectChanged
            If the file is in that state no more.
        StoreError
            If it cannot be read.
        """
        return _fetcher(self.location)(self.known, start, stop)

    def open(self) -> BinaryIO:
        """Return it as an open file, of which what is read is fetched; its ends at once, where HDF5 has its names."""
        reader = RangeReader(self.known.size, self.read)
        reader.fill(0, _HEAD)
        reader.fill(max(self.known.size - 1, _HEAD), self.known.size)
        return cast(BinaryIO, reader)


def ranges_of(url: str) -> RemoteRanges | None:
    """Return a file of a bucket or a web server in its present state, or None if there is none.

    Raises
    ------
    StoreError
        If it cannot be reached, or must not be read.
    """
    found = open_remote(url)
    return None if found is None else RemoteRanges(url, found.known)


@lru_cache(maxsize=1024)
def _fetcher(url: str) -> Callable[[ObjectState, int, int], bytes]:
    """Return what reads bytes of a state of a file."""
    if url.startswith(("http://", "https://")):
        from stilt_dagster.resources.remote.web import WebFile

        page = WebFile(url)
        return lambda state, start, stop: page.read(state, start, stop)
    from stilt_dagster.resources.remote.buckets import object_at

    objects, name = object_at(url)
    return lambda state, start, stop: objects.read(name, state, start, stop)


def copy_remote(url: str, path: Path, *, anonymous: bool = False) -> bool:
    """Copy a file of a bucket or a web server here whole; return whether there is one.

    Parameters
    ----------
    url : str
        Where it is.
    path : Path
        Where the copy goes.
    anonymous : bool, optional
        Ask without credentials, where S3 is asked.

    Raises
    ------
    StoreError
        If it cannot be reached, or must not be read.
    """
    if url.startswith(("http://", "https://")):
        from stilt_dagster.resources.remote.web import WebFile

        return WebFile(url).copy(path)  # ranges of it are not needed, and some servers give none
    found = open_remote(url, anonymous=anonymous)
    if found is None:
        return False
    size = found.known.size
    with path.open("wb") as file:
        for data in found.read([(a, min(a + SPAN, size)) for a in range(0, size, SPAN)]):
            file.write(data)
    return True


def list_remote(url: str, *, anonymous: bool = False) -> list[str]:
    """Return the names of the files of a bucket's prefix, or of a web server's directory, sorted.

    Raises
    ------
    StoreError
        If it cannot be listed.
    """
    if url.startswith(("http://", "https://")):
        from stilt_dagster.resources.remote.web import WebFile

        return WebFile(url).names()
    from stilt_dagster.resources.remote.buckets import objects_at

    return sorted(objects_at(url, anonymous=anonymous).list())
