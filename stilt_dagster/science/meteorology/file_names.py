"""What names of meteorology files say: which file holds a time, which one comes before it and after it.

Names tell where a file begins. Where it ends only its header does, so the neighbours of a file can be asked for.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import pandas as pd

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.sources import Source
from stilt_dagster.science.meteorology.window import Window

_CODES = {
    "%Y": r"\d{4}",
    "%y": r"\d\d",
    "%m": r"\d\d",
    "%d": r"\d\d",
    "%H": r"\d\d",
    "%j": r"\d{3}",
    "%b": "[a-zA-Z]{3}",
}


@dataclass(frozen=True)
class NamedFile:
    """A file by its name.

    Attributes
    ----------
    start : Timestamp
        Its first time step, as the name has it, naive UTC.
    locations : tuple of str
        Where it may be; the first is how messages call it.
    """

    start: pd.Timestamp
    locations: tuple[str, ...]


class FileNames(Protocol):
    """The files of a source or a directory, in the order of time."""

    def holding(self, window: Window) -> list[NamedFile]:
        """Return the files whose names say that they hold a part of a window, before its last minute."""

    def required(self, window: Window) -> list[NamedFile]:
        """Return the files that hold the time steps around a window too, as far as names tell."""

    def before(self, file: NamedFile) -> NamedFile | None:
        """Return the file that comes before, or None where there is none."""

    def after(self, file: NamedFile) -> NamedFile | None:
        """Return the file that comes next, or None where there is none."""

    def spacing(self, window: Window) -> pd.Timedelta | None:
        """Return the largest interval of time steps to be expected around a window; None if names do not tell."""

    def dates(self, window: Window) -> str:
        """Return, for a message on a file that is missing, that the archive does not have the window; else empty."""

    @property
    def place(self) -> str:
        """What a message calls them."""


class SourceFiles:
    """The files of a source: they follow from its rule, whether they exist or not.

    Parameters
    ----------
    source : Source
        The source.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def source(self) -> Source:
        """The source."""
        return self._source

    @property
    def place(self) -> str:
        """What a message calls them."""
        return f"source {self._source.name}"

    def dates(self, window: Window) -> str:
        """Return that the source begins after a window does, or ends before it; empty where it has all of it."""
        source = self._source
        if source.step_before(window.first) < source.first:
            return f"it begins {source.first:%Y-%m-%d}"
        if source.last is not None and source.step_after(window.last) > source.last:
            return f"it ended {source.last:%Y-%m-%d}"
        return ""

    def due(self, file: NamedFile, window: Window) -> pd.Timestamp | None:
        """Return when a file that a window requires has been published; None where nothing is added any more."""
        if self._source.publication_lag is None:
            return None
        needed = min(window.last, pd.Timestamp(self._source.file_end(file.start)))
        return needed + pd.Timedelta(hours=self._source.publication_lag)

    def holding(self, window: Window) -> list[NamedFile]:
        """Return the files whose span holds a part of a window, before its last minute."""
        return [f for f in self._files(window.first, window.last) if f.start < window.last]

    def required(self, window: Window) -> list[NamedFile]:
        """Return the files that hold the time steps around a window too."""
        first, last = self._source.step_before(window.first), self._source.step_after(window.last)
        return self._files(pd.Timestamp(first), pd.Timestamp(last))

    def before(self, file: NamedFile) -> NamedFile:
        """Return the file that comes before."""
        return self._file(file.start - pd.Timedelta(hours=1))

    def after(self, file: NamedFile) -> NamedFile:
        """Return the file that comes next."""
        return self._file(self._source.file_end(file.start))

    def spacing(self, window: Window) -> pd.Timedelta:
        """Return the interval of the source's time steps."""
        return pd.Timedelta(hours=self._source.spacing)

    def _files(self, first: pd.Timestamp, last: pd.Timestamp) -> list[NamedFile]:
        files = [self._file(first)]
        while (following := self.after(files[-1])).start <= last:
            files.append(following)
        return files

    def _file(self, hour: dt.datetime) -> NamedFile:
        return NamedFile(pd.Timestamp(self._source.file_start(hour)), self._source.locations(hour))


class DirectoryFiles:
    """The files of a directory whose names match a pattern.

    Parameters
    ----------
    directory : str
        A path, or the URL of a bucket prefix.
    pattern : str
        strftime pattern of the names' first hours; ``*`` and ``?`` as in a shell.
    names : sequence of str
        Names of the files that are there.

    Raises
    ------
    MeteorologyError
        If the pattern has a code that is not supported.
    """

    def __init__(self, directory: str, pattern: str, names: Sequence[str]) -> None:
        self._directory, self._pattern = directory.rstrip("/"), pattern
        stamped = sorted(_stamped(pattern, names))
        self._files = [NamedFile(time, (f"{self._directory}/{name}",)) for time, name in stamped]

    @property
    def place(self) -> str:
        """What a message calls them."""
        return f"{self._directory} with names like {self._pattern!r}"

    def holding(self, window: Window) -> list[NamedFile]:
        """Return the files that begin in a window, before its last minute, and those before it that may reach into it.

        Raises
        ------
        MeteorologyError
            If there is none.
        """
        reach = max((f.start for f in self._files if f.start <= window.first), default=window.first)
        if files := [f for f in self._files if reach <= f.start < window.last]:
            return files
        raise MeteorologyError(f"no file in {self._directory} matches {self._pattern!r} for {window}")

    #: Where a file ends is not in its name, so neither is whether the next one is needed.
    required = holding

    def before(self, file: NamedFile) -> NamedFile | None:
        """Return the file that comes before, or None where there is none."""
        k = self._files.index(file)
        return self._files[k - 1] if k else None

    def after(self, file: NamedFile) -> NamedFile | None:
        """Return the file that comes next, or None where there is none."""
        k = self._files.index(file) + 1
        return self._files[k] if k < len(self._files) else None

    def dates(self, window: Window) -> str:
        """Return nothing: a directory has what it has."""
        return ""

    def spacing(self, window: Window) -> pd.Timedelta | None:
        """Return the larger of the intervals between files just before a window and just after it."""
        starts = sorted({f.start for f in self._files})
        around = [s for s in starts if s <= window.first][-2:], [s for s in starts if s >= window.last][:2]
        return max((b - a for side in around for a, b in pairwise(side)), default=None)


def _stamped(pattern: str, names: Sequence[str]) -> list[tuple[pd.Timestamp, str]]:
    """Return the names that match a pattern, each with the time it has."""
    regex, seen = "", []
    for part in re.split(r"(%[A-Za-z]|[*?])", pattern):
        if part in _CODES:  # of a code that comes twice, the first is of the file's first hour
            regex += _CODES[part] if part in seen else f"({_CODES[part]})"
            seen += [] if part in seen else [part]
        elif part in ("*", "?"):
            regex += ".*" if part == "*" else "."
        elif part.startswith("%"):
            raise MeteorologyError(f"meteorology.pattern {pattern!r}: {part} is not supported; use {', '.join(_CODES)}")
        else:
            regex += re.escape(part)
    stamped = []
    for name in names:
        if match := re.fullmatch(regex, name):
            try:
                time = dt.datetime.strptime(" ".join(match.groups()), " ".join(seen))
            except ValueError:
                continue
            if "%y" in seen and time.year >= 2040:  # as HYSPLIT has it: 40 to 99 are 19xx
                time = time.replace(year=time.year - 100)
            stamped.append((pd.Timestamp(time), name))
    return stamped
