"""What the science asks of a place that holds meteorology: names, and bytes of files by range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol


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
