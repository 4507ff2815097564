"""Where meteorology files come from: ``STILT_MET``, a directory a scene names, or NOAA's public archives."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.science.errors import MeteorologyError, StoreError
from stilt_dagster.science.meteorology.archive import MeteorologyFile
from stilt_dagster.science.meteorology.arl import ARCHIVES, archive_url
from stilt_dagster.science.meteorology.files import ArchiveFile

if TYPE_CHECKING:
    from stilt_dagster.resources.remote.files import RemoteFile


class FileArchive:
    """Files of a directory, a bucket or a web server, read by ranges.

    Parameters
    ----------
    root : str
        Where archives are, laid out as NOAA ARL does: a directory, or a URL of gs://, s3://, az:// or https://; empty
        for NOAA's public ones.
    cache : Path
        Where whole copies go.
    """

    def __init__(self, root: str, cache: Path) -> None:
        self._root = root
        self._cache = cache

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

        with _explained("directory"):
            found = list_remote(directory, anonymous=_is_public(directory))
        if not found:
            raise MeteorologyError(f"meteorology directory {directory} does not exist, or is empty: correct it")
        return found

    def has(self, locations: Sequence[str]) -> bool:
        """Return whether a file is at one of the locations; of what is elsewhere, that it may be."""
        paths = [_local(self._absolute(location)) for location in locations]
        return any(path is None or path.exists() for path in paths)

    def open(self, locations: Sequence[str]) -> MeteorologyFile | None:
        """Return the first location that exists, in its present state, or None.

        Raises
        ------
        MeteorologyError
            If a location cannot be reached, or may not be read.
        """
        for location in map(self._absolute, locations):
            path = _local(location)
            found = _open_remote(location) if path is None else _open_local(path)
            if found is not None:
                return found
        return None

    def fetch(self, locations: Sequence[str]) -> ArchiveFile | None:
        """Return the first location that exists, copied here whole if it is elsewhere, or None.

        Raises
        ------
        MeteorologyError
            If a location cannot be reached, or may not be read.
        """
        for location in map(self._absolute, locations):
            path = _local(location)
            if path is None:
                path = self._copy(location)
            elif _open_local(path) is None:
                continue
            if path is not None:
                return ArchiveFile(path, path.name)
        return None

    def _copy(self, location: str) -> Path | None:
        from stilt_dagster.resources.remote.files import copy_remote  # slow to import, and not for directories

        copy = self._cache / location.rsplit("/", 1)[-1]
        if copy.exists():
            return copy
        part = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with _explained("file"):
                if not copy_remote(location, part, anonymous=_is_public(location)):
                    return None
            part.replace(copy)
        except OSError as error:
            raise MeteorologyError(
                f"meteorology file {location} cannot be copied to {copy}: {error.strerror}; make space"
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return copy

    def _absolute(self, location: str) -> str:
        if "://" in location or location.startswith("/"):
            return location
        source = location.split("/", 1)[0]
        root = self._root or (archive_url(source) if source in ARCHIVES else archive_url("hrrr"))
        return f"{root.rstrip('/')}/{location}"


class LocalFile:
    """One state of a file of this machine; held open, so that it stays what it is if another takes its name.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    is_local = True

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        known = os.fstat(self._file.fileno())
        self.name = path.name
        self.location = str(path)
        self.size = known.st_size
        self.state = _state_of(known)

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes of each range, in the order given.

        Raises
        ------
        MeteorologyError
            If the file was written to since it was opened, ends before, or cannot be read.
        """
        descriptor = self._file.fileno()
        for start, stop in ranges:
            try:
                data = self._whole(descriptor, start, stop)
                changed = _state_of(os.fstat(descriptor)) != self.state
            except OSError as error:
                raise MeteorologyError(
                    f"meteorology file {self.location} cannot be read: {error.strerror}; check its disk"
                ) from error
            if changed:
                raise MeteorologyError(
                    f"meteorology file {self.location} changed while it was read: run it again once it is written"
                )
            if len(data) != stop - start:
                raise MeteorologyError(
                    f"meteorology file {self.location} has {self.size} bytes, and is read to {stop}: it is not whole"
                )
            yield data

    @staticmethod
    def _whole(descriptor: int, start: int, stop: int) -> bytes:
        """Return what there is of a range; one call gives no more than 2 GiB."""
        pieces = []
        while start < stop and (piece := os.pread(descriptor, stop - start, start)):
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


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
        with _explained("file"):
            yield from self._file.read(ranges)


def _open_local(path: Path) -> LocalFile | None:
    try:
        return LocalFile(path) if path.is_file() else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MeteorologyError(
            f"meteorology file {path} cannot be read: {error.strerror}; check who may read it"
        ) from error


def _open_remote(location: str) -> _Elsewhere | None:
    from stilt_dagster.resources.remote.files import open_remote  # slow to import, and not for directories

    with _explained("file"):
        found = open_remote(location, anonymous=_is_public(location))
        return None if found is None else _Elsewhere(found)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say of what cannot be read that it is meteorology."""
    try:
        yield
    except StoreError as error:
        raise MeteorologyError(f"meteorology {what}: {error}; or set STILT_MET to a place that has it") from error


def _is_public(location: str) -> bool:
    """Return whether a bucket is one of NOAA's, which anyone reads without credentials."""
    return location.startswith("s3://noaa-")


def _local(location: str) -> Path | None:
    """Return a location of this machine, or None if it is elsewhere."""
    scheme, separator, rest = location.partition("://")
    if separator and scheme != "file":
        return None
    return Path(rest if separator else location).expanduser()


def _state_of(known: os.stat_result) -> str:
    return f"{known.st_mtime_ns}-{known.st_size}-{known.st_ino}"
