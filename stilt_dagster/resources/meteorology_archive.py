"""Where meteorology files come from: ``STILT_MET``, a directory a scene names, or NOAA's public archives."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.science.errors import MeteorologyError, StoreError
from stilt_dagster.science.meteorology.archive import LocalFile, MeteorologyFile
from stilt_dagster.science.meteorology.sources import public_root

if TYPE_CHECKING:
    from stilt_dagster.resources.remote.files import RemoteFile


class FileArchive:
    """Files of a directory, a bucket or a web server, read by ranges.

    Parameters
    ----------
    root : str
        Where archives are, laid out as NOAA ARL does: a directory, or a URL of gs://, s3://, az:// or https://; empty
        for NOAA's public ones.
    """

    def __init__(self, root: str) -> None:
        self._root = root

    def names(self, directory: str) -> list[str]:
        """Return the names of the files of a directory or bucket prefix, or of a web server's index page.

        Raises
        ------
        MeteorologyError
            If it cannot be listed.
        """
        path = _local(directory)
        if path is not None:
            try:
                return sorted(p.name for p in path.iterdir())
            except FileNotFoundError:
                raise MeteorologyError(f"meteorology directory {directory} does not exist") from None
            except OSError as error:
                raise MeteorologyError(f"meteorology directory {directory} cannot be read: {error}") from error
        from stilt_dagster.resources.remote.files import list_remote  # slow to import, and not for directories

        with _meteorology_errors("directory"):
            found = list_remote(directory, anonymous=_is_public(directory))
        if not found:
            raise MeteorologyError(f"meteorology directory {directory} does not exist, or is empty: correct it")
        return found

    def has(self, locations: Sequence[str]) -> bool:
        """Return whether a file is at one of the locations; of what is elsewhere, that it may be."""
        paths = [_local(self._absolute(location)) for location in locations]
        return any(path is None or _is_file(path) for path in paths)

    def open(self, locations: Sequence[str]) -> MeteorologyFile | None:
        """Return the first location that exists, in its present state, or None.

        Raises
        ------
        MeteorologyError
            If a location cannot be reached, or may not be read.
        """
        for location in map(self._absolute, locations):
            path = _local(location)
            found = _open_remote(location) if path is None else LocalFile(path) if _is_file(path) else None
            if found is not None:
                return found
        return None

    def fetch(self, locations: Sequence[str], directory: Path) -> Path | None:
        """Return the first location that exists, copied whole to a directory if it is elsewhere, or None.

        Raises
        ------
        MeteorologyError
            If a location cannot be reached, or may not be read.
        """
        for location in map(self._absolute, locations):
            path = _local(location)
            if path is None:
                path = _copy(location, directory)
            if path is not None and _is_file(path):
                return path
        return None

    def _absolute(self, location: str) -> str:
        if "://" in location or location.startswith("/"):
            return location
        root = self._root or public_root(location)
        return f"{root.rstrip('/')}/{location}"


class _Elsewhere:
    """A file of another machine, whose errors are those of meteorology."""

    is_local = False

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self.name = file.name
        self.location = file.location
        self.size = file.known.size
        self.state = file.known.version

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes of each range, in the order given; see :class:`MeteorologyFile`."""
        with _meteorology_errors("file"):
            yield from self._file.read(ranges)


def _copy(location: str, directory: Path) -> Path | None:
    from stilt_dagster.resources.remote.files import copy_remote  # slow to import, and not for directories

    copy = directory / location.rsplit("/", 1)[-1]
    try:
        with _meteorology_errors("file"):
            return copy if copy_remote(location, copy, anonymous=_is_public(location)) else None
    except OSError as error:
        raise MeteorologyError(
            f"meteorology file {location} cannot be copied to {copy}: {error.strerror}; make space"
        ) from error


def _open_remote(location: str) -> _Elsewhere | None:
    from stilt_dagster.resources.remote.files import open_remote  # slow to import, and not for directories

    with _meteorology_errors("file"):
        found = open_remote(location, anonymous=_is_public(location))
        return None if found is None else _Elsewhere(found)


@contextmanager
def _meteorology_errors(what: str) -> Iterator[None]:
    """Say of what cannot be read that it is meteorology."""
    try:
        yield
    except StoreError as error:
        raise MeteorologyError(f"meteorology {what}: {error}; or set STILT_MET to a place that has it") from error


def _is_public(location: str) -> bool:
    """Return whether a bucket is one of those that anyone reads without credentials."""
    return location.startswith("s3://noaa-")


def _is_file(path: Path) -> bool:
    """Return whether there is a file; of a name that is too long, or in a directory that is closed, that there is none.

    pathlib would raise for these.
    """
    return os.path.isfile(path)


def _local(location: str) -> Path | None:
    """Return a location of this machine, or None if it is elsewhere."""
    scheme, separator, rest = location.partition("://")
    if separator and scheme != "file":
        return None
    return Path(rest if separator else location).expanduser()
