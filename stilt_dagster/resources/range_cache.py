"""A cache of ranges of remote files on this machine's disk: scenes near in space and time read the same bytes.

A range is a file, named by where it is in its source, in a directory named by the source's place and state. So no entry
is ever out of date; those not read for longest go first. Any number of processes share a cache without a lock: files
appear whole by a rename, and one that is gone is fetched again. What goes wrong here costs a request, never a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
import uuid
from pathlib import Path

_LOG = logging.getLogger(__name__)

#: Share of the room at which there is no more, and what is kept then, so that not every range has to make room.
_FULL, _KEPT = 0.975, 0.9

#: Seconds after which what other processes have added is looked for, and after which an entry's use is noted again.
_LOOK = 1.0
_NOTE = 60.0

Span = tuple[int, int]


class RangeCache:
    """A cache.

    Parameters
    ----------
    directory : Path
        Where it is; made for its owner alone.
    size : int
        Bytes it may take.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._spans: dict[Path, tuple[float, set[Span]]] = {}
        self._added = size  # as if full: the first range that is added has the cache looked through
        self._lock = threading.Lock()
        self._usable = self._prepare()

    def _prepare(self) -> bool:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            known = self._directory.lstat()
            if known.st_uid != os.getuid():
                raise PermissionError(13, "it belongs to another user")
            if known.st_mode & 0o077:
                self._directory.chmod(0o700)
            return True
        except OSError as error:
            self._warn(error)
            return False

    def _warn(self, error: OSError) -> None:
        _LOG.warning(
            "the cache %s is not used (%s): set STILT_CACHE to another directory, or STILT_CACHE_GB=0",
            self._directory,
            error.strerror or error,
        )

    def _home(self, location: str, state: str) -> Path:
        name = hashlib.sha256(f"{location}\n{state}".encode()).hexdigest()
        return self._directory / name[:32]

    def get(self, location: str, state: str, start: int, stop: int) -> bytes | None:
        """Return bytes of one state of a file, or None if they are not all in one entry."""
        if not self._usable:
            return None
        home = self._home(location, state)
        for first, last in self._entries(home):
            if first <= start and stop <= last:
                path = home / f"{first}-{last}"
                try:
                    with path.open("rb") as file:
                        known = os.fstat(file.fileno())
                        if known.st_size != last - first:
                            raise FileNotFoundError
                        data = os.pread(file.fileno(), stop - start, start - first)
                    if time.time() - known.st_mtime > _NOTE:
                        os.utime(path)
                except OSError:
                    with self._lock:  # another process made room
                        self._spans.get(home, (0.0, set()))[1].discard((first, last))
                    continue
                if len(data) == stop - start:
                    return data
        return None

    def _entries(self, home: Path) -> list[Span]:
        with self._lock:
            looked, spans = self._spans.get(home, (0.0, set()))
            if time.monotonic() - looked > _LOOK:
                spans = set()
                with contextlib.suppress(OSError):
                    for name in os.listdir(home):
                        first, _, last = name.partition("-")
                        if first.isdecimal() and last.isdecimal():
                            spans.add((int(first), int(last)))
                self._spans[home] = time.monotonic(), spans
            return list(spans)

    def put(self, location: str, state: str, start: int, data: bytes) -> None:
        """Keep bytes of one state of a file, if there is room for them."""
        if not self._usable or len(data) > self._size * _KEPT:
            return
        home = self._home(location, state)
        span = start, start + len(data)
        part = home / f".{uuid.uuid4().hex}"
        try:
            self._make_room(len(data))
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(data)
                part.replace(home / f"{span[0]}-{span[1]}")
            finally:
                part.unlink(missing_ok=True)
        except FileNotFoundError:
            return  # another process removed the directory it had emptied
        except OSError as error:
            self._usable = False
            self._warn(error)
            return
        with self._lock:
            self._spans.setdefault(home, (0.0, set()))[1].add(span)

    def _make_room(self, more: int) -> None:
        """Remove what was not read for longest, where there would be too much.

        What this process adds is counted; all is looked through once that could be too much.
        """
        with self._lock:
            self._added += more
            if self._added <= self._size:
                return
            entries = []
            for folder, _, names in os.walk(self._directory):
                for name in names:
                    with contextlib.suppress(OSError):
                        known = os.stat(os.path.join(folder, name))
                        entries.append((known.st_mtime, known.st_size, os.path.join(folder, name)))
            total = sum(size for _, size, _ in entries) + more
            aim = self._size if total <= self._size * _FULL else self._size * _KEPT
            for _, size, path in sorted(entries):
                if total <= aim:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                total -= size
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(path))
            # Others add as well: look again when a quarter of what is left is used.
            self._added = int(self._size - (self._size - total) / 4)
