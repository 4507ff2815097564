"""What the science asks of a place that holds meteorology: names, and bytes of files by range."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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
    """One state of a file of this machine; held open, so that it stays what it is if another takes its name.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    MeteorologyError
        If it cannot be opened.
    """

    is_local = True

    def __init__(self, path: Path) -> None:
        self.name, self.location = path.name, str(path)
        try:
            self._file = path.open("rb", buffering=0)
            known = os.fstat(self._file.fileno())
        except OSError as error:
            raise MeteorologyError(
                f"meteorology file {path} cannot be read: {error.strerror or error}; check who may read it"
            ) from error
        self.size, self.state = known.st_size, _state_of(known)

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes from each first to each last but one place, in the order given.

        Raises
        ------
        MeteorologyError
            If the file was written to since it was opened, or cannot be read.
        """
        descriptor = self._file.fileno()
        for start, stop in ranges:
            try:
                data = os.pread(descriptor, stop - start, start)
                changed = _state_of(os.fstat(descriptor)) != self.state
            except OSError as error:
                raise MeteorologyError(
                    f"meteorology file {self.location} cannot be read: {error.strerror}; check its disk"
                ) from error
            if changed or len(data) != stop - start:
                raise MeteorologyError(
                    f"meteorology file {self.location} changed while it was read: run it again once it is written"
                )
            yield data


def _state_of(known: os.stat_result) -> str:
    return f"{known.st_mtime_ns}-{known.st_size}-{known.st_ino}"


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
