"""Which files of an archive or a directory hold the hours a scene needs."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.settings import MeteorologySettings


@dataclass(frozen=True)
class Window:
    """The time a scene's simulations run through, naive UTC."""

    first: pd.Timestamp
    last: pd.Timestamp

    @classmethod
    def of(cls, receptors: Receptors, n_hours: int) -> Window:
        """Return the time from the earliest end to the latest start of backward runs."""
        first, last = (pd.Timestamp(t) for t in (receptors.time.min(), receptors.time.max()))
        return cls(first + pd.Timedelta(hours=n_hours), last)


@dataclass(frozen=True)
class ArchiveFile:
    """An archive file made available on this machine, and the name it goes by."""

    path: Path
    name: str


class Archive(Protocol):
    """Where meteorology files are found; the resource ``meteorology_archive`` is one."""

    def names(self, directory: str) -> list[str]:
        """Return the names of the files of a directory or bucket prefix."""

    def has(self, locations: Sequence[str]) -> bool:
        """Return whether a file is at one of the locations, as far as that is known without asking the network."""

    def fetch(self, locations: Sequence[str]) -> ArchiveFile | None:
        """Return the first location that exists, copied here if it is elsewhere, or None."""


def find_files(settings: MeteorologySettings, window: Window, archive: Archive) -> list[ArchiveFile]:
    """Return the files whose names say they hold the window's hours, in the order of time.

    Raises
    ------
    MeteorologyError
        Naming the file or pattern that is missing.
    """
    found = []
    for locations in _locations(settings, window, archive):
        file = archive.fetch(locations)
        if file is None:
            raise _missing(settings, locations[0], window)
        found.append(file)
    return found


def require_files(settings: MeteorologySettings, window: Window, archive: Archive) -> None:
    """Make sure that there are files for the window's hours, by their names alone.

    Raises
    ------
    MeteorologyError
        Naming the file or pattern that is missing.
    """
    for locations in _locations(settings, window, archive):
        if not archive.has(locations):
            raise _missing(settings, locations[0], window)


def _locations(settings: MeteorologySettings, window: Window, archive: Archive) -> list[list[str]]:
    """Return where each file of the window may be, in the order of time.

    Raises
    ------
    MeteorologyError
        If no file of a directory has the window's hours.
    """
    first, last = window.first.floor("h"), window.last.ceil("h")
    if settings.source is not None:
        paths = dict.fromkeys(arl.archive_path(settings.source, t) for t in _hours(first, last))
        names = ((path, path.rsplit("/", 1)[-1]) for path in paths)
        return [[path, f"{settings.source}/{name}", name] for path, name in names]
    directory, pattern = str(settings.directory), str(settings.pattern)
    found = _names_in_window(pattern, archive.names(directory), first, last)
    if not found:
        raise MeteorologyError(
            f"no file in {directory} matches {pattern!r} for {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        )
    return [[f"{directory.rstrip('/')}/{name}"] for name in found]


def _missing(settings: MeteorologySettings, path: str, window: Window) -> MeteorologyError:
    first, last = window.first.floor("h"), window.last.ceil("h")
    return MeteorologyError(
        f"meteorology file {path} of source {settings.source or settings.directory} is missing: put it there under "
        f"STILT_MET, or choose a source that has {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    )


def _hours(first: pd.Timestamp, last: pd.Timestamp) -> list[pd.Timestamp]:
    return [first + pd.Timedelta(hours=h) for h in range(int((last - first) / pd.Timedelta(hours=1)) + 1)]


def _names_in_window(pattern: str, names: Sequence[str], first: pd.Timestamp, last: pd.Timestamp) -> list[str]:
    """Return the names whose time codes fall in the window, and the last before it, which may reach into it."""
    codes = {
        "%Y": r"\d{4}",
        "%y": r"\d\d",
        "%m": r"\d\d",
        "%d": r"\d\d",
        "%H": r"\d\d",
        "%j": r"\d{3}",
        "%b": "[a-zA-Z]{3}",
    }
    parts = re.split(r"(%[A-Za-z]|[*?])", pattern)
    regex = ""
    seen = []
    for part in parts:
        if part in codes:
            seen.append(part)
            regex += f"({codes[part]})"
        elif part in "*?" and part:
            regex += ".*" if part == "*" else "."
        elif part.startswith("%"):
            raise MeteorologyError(f"meteorology.pattern {pattern!r}: {part} is not supported; use {', '.join(codes)}")
        else:
            regex += re.escape(part)
    stamped = []
    for name in names:
        if match := re.fullmatch(regex, name):
            try:
                time = dt.datetime.strptime(" ".join(match.groups()), " ".join(seen))
            except ValueError:
                continue
            stamped.append((pd.Timestamp(time), name))
    stamped.sort()
    starts = sorted({t for t, _ in stamped if t <= first})
    reach = starts[-1] if starts else first
    return [name for time, name in stamped if reach <= time <= last]
