"""What the science asks of a place that holds meteorology: names, and bytes of files by range."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from stilt_dagster.science.errors import MeteorologyError


class MeteorologyFile(Protocol):
    """One state of a file of an archive, read by ranges.

    Attributes
    ----------
    name : str
        Its name, without a directory.
    location : str
        Its path or URL, for messages.
    size : int
        Bytes.
    state : str
        What another content of the same location has otherwise: an entity tag, a generation, a time of writing.
    """

    name: str
    location: str
    size: int
    state: str

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine, of which a page costs no more than a byte."""

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes from each first to each last but one place, in the order given.

        Several are fetched at a time, a few ahead of what is used, so that memory does not grow with their number.

        Raises
        ------
        MeteorologyError
            If the file is in that state no more, ends before, or cannot be reached after all retries.
        """


class Archive(Protocol):
    """Where meteorology files are found; the resource ``meteorology_archive`` is one."""

    def names(self, directory: str) -> list[str]:
        """Return the names of the files of a directory or bucket prefix."""

    def has(self, locations: Sequence[str]) -> bool:
        """Return whether a file is at one of the locations, as far as that is known without asking the network."""

    def open(self, locations: Sequence[str]) -> MeteorologyFile | None:
        """Return the first location that exists, or None.

        Raises
        ------
        MeteorologyError
            If a location cannot be reached, or may not be read.
        """


class LocalFile:
    """A file of this machine.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    MeteorologyError
        If it cannot be read.
    """

    is_local = True

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.location = path, path.name, str(path)
        with self._readable():
            self.size, self.state = self._known(path.stat())

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes from each first to each last but one place.

        Raises
        ------
        MeteorologyError
            If the file was replaced or ends before.
        """
        with self._readable(), self.path.open("rb", buffering=0) as file:
            for start, stop in ranges:
                data = os.pread(file.fileno(), stop - start, start)
                if len(data) != stop - start or self._known(os.fstat(file.fileno())) != (self.size, self.state):
                    raise MeteorologyError(f"{self.location} was changed while it was read: run it again")
                yield data

    @staticmethod
    def _known(stat: os.stat_result) -> tuple[int, str]:
        return stat.st_size, f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}"

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MeteorologyError(f"{self.location} cannot be read: {error.strerror or error}") from error


class CountedArchive:
    """An archive, and how many bytes of its files have been read.

    Parameters
    ----------
    archive : Archive
        The archive.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.bytes_read = 0
        self.names, self.has = archive.names, archive.has

    def open(self, locations: Sequence[str]) -> MeteorologyFile | None:
        """Return the first location that exists, or None."""
        file = self._archive.open(locations)
        return None if file is None else _CountedFile(file, self)


class _CountedFile:
    """A file whose bytes its archive counts."""

    def __init__(self, file: MeteorologyFile, archive: CountedArchive) -> None:
        self._file, self._archive = file, archive
        self.name, self.location, self.size, self.state = file.name, file.location, file.size, file.state
        self.is_local = file.is_local

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes from each first to each last but one place."""
        for data in self._file.read(ranges):
            self._archive.bytes_read += len(data)
            yield data
