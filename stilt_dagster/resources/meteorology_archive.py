"""Where meteorology files come from: ``STILT_MET``, a directory a scene names, or NOAA's public archives."""

import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any

from upath import UPath

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.archive import LocalFile
from stilt_dagster.science.meteorology.sources import public_root


@dataclass(frozen=True)
class ArchiveFile:
    path: Path
    name: str


#: Seconds before a copy that broke off is tried again.
_WAITS = (1.0, 5.0, 20.0)


class FileArchive:
    """Files of a directory or bucket, copied to this machine where they are elsewhere.

    Parameters
    ----------
    root : str
        Directory or bucket URL holding archives as NOAA ARL lays them out; empty for NOAA's public ones.
    cache : Path
        Where copies go.
    """

    def __init__(self, root: str, cache: Path) -> None:
        self._root = root
        self._cache = cache

    def names(self, directory: str) -> list[str]:
        """Return the names of the files of a directory or bucket prefix.

        Raises
        ------
        MeteorologyError
            If it cannot be listed.
        """
        try:
            return sorted(p.name for p in _path(directory).iterdir())
        except FileNotFoundError:
            raise MeteorologyError(f"meteorology directory {directory} does not exist") from None
        except (OSError, ImportError, ValueError) as error:
            raise MeteorologyError(f"meteorology directory {directory} cannot be read: {error}") from error

    def has(self, locations: Sequence[str]) -> bool:
        """Return whether a file is at one of the locations; of what is elsewhere, that it may be."""
        paths = [_path(self._absolute(location)) for location in locations]
        return any(p.protocol not in ("", "file", "local") or p.exists() for p in paths)

    def open(self, locations):
        """Return the first location that exists, or None."""
        fetched = self.fetch(locations)
        return None if fetched is None else LocalFile(fetched.path)

    def fetch(self, locations: Sequence[str]) -> ArchiveFile | None:
        """Return the first location that exists, copied here if it is elsewhere, or None."""
        for location in locations:
            path = _path(self._absolute(location))
            try:
                if not path.exists():
                    continue
                return ArchiveFile(self._here(path), path.name)
            except (OSError, ImportError, ValueError) as error:
                raise MeteorologyError(
                    f"meteorology file {path} cannot be read: {error or type(error).__name__}; "
                    "check the network, or set STILT_MET to a directory that has it"
                ) from error
            except Exception as error:  # clients of object stores raise their own kinds
                raise MeteorologyError(
                    f"meteorology file {path} cannot be reached ({type(error).__name__}): "
                    "set STILT_MET to a directory that has it"
                ) from error
        return None

    def _absolute(self, location: str) -> str:
        if "://" in location or location.startswith("/"):
            return location
        root = self._root or public_root(location)
        return f"{root.rstrip('/')}/{location}"

    def _here(self, path: UPath) -> Path:
        if path.protocol in ("", "file", "local"):
            return Path(path.path)
        self._cache.mkdir(parents=True, exist_ok=True)
        copy = self._cache / path.name
        if not copy.exists():
            part = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
            try:
                _copy(path, part)
                part.replace(copy)
            finally:
                part.unlink(missing_ok=True)
        return copy


def _copy(source: UPath, target: Path) -> None:
    """Copy a file here, whole, trying again what a network may do better the next time.

    Raises
    ------
    OSError
        If it cannot be had, or does not arrive whole.
    """
    for wait in (*_WAITS, None):
        try:
            size = source.stat().st_size
            with source.open("rb") as remote, target.open("wb") as local:
                shutil.copyfileobj(remote, local, 8 << 20)
                arrived = local.tell()
            if size not in (0, None, arrived):  # some servers do not say
                raise ConnectionError(f"{arrived} bytes of {size} arrived")
            return
        except Exception as error:  # clients of object stores raise their own kinds
            lasting = isinstance(error, (FileNotFoundError, PermissionError)) or getattr(error, "errno", None) == ENOSPC
            if wait is None or lasting:
                raise
            time.sleep(wait)


def _path(location: str) -> UPath:
    options: dict[str, Any] = {"anon": True} if location.startswith("s3://noaa-") else {}
    return UPath(location, **options) if "://" in location else UPath(Path(location).expanduser())
