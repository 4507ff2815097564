"""Which files of an archive or a directory hold the hours a scene needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.archive import Archive
from stilt_dagster.science.meteorology.arl.index import Header, read_header
from stilt_dagster.science.meteorology.file_names import DirectoryFiles, FileNames, NamedFile, SourceFiles
from stilt_dagster.science.meteorology.sources import SOURCES
from stilt_dagster.science.meteorology.time_steps import no_meteorology
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.settings import MeteorologySettings

#: How many start times of files are looked at beyond those whose names hold the window, on each side, for the time step
#: that brackets it. The neighbour has it; a second one does where names are a file off.
_LOOKS = 2


def file_names(settings: MeteorologySettings, archive: Archive) -> FileNames:
    """Return the files that a scene's settings name; a directory is listed.

    Raises
    ------
    MeteorologyError
        If the directory cannot be listed, or its pattern has a code that is not supported.
    """
    if settings.source is not None:
        return SourceFiles(SOURCES[str(settings.source)])
    directory = str(settings.directory)
    return DirectoryFiles(directory, str(settings.pattern), archive.names(directory))


def find_files(names: FileNames, window: Window, archive: Archive) -> dict[str, Header]:
    """Find the files that hold the window's time steps and those that bracket it, and no others.

    Files are chosen by name; where their headers do not reach an end of the window, the file next to them is looked at.

    Parameters
    ----------
    names : FileNames
        The files there are.
    window : Window
        The time needed.
    archive : Archive
        Where they are.

    Returns
    -------
    dict of str to Header
        The files by name, in the order of time.

    Raises
    ------
    MeteorologyError
        Naming the file that is missing or damaged, or the hour that no file has.
    """
    read = deque(_open(names, file, window, archive) for file in names.holding(window))
    looked: set[pd.Timestamp] = set()
    while min(r.header.times[0] for r in read) > window.first and len(looked) < _LOOKS:
        read.appendleft(_neighbour(names, read, window, archive, before=True))
        looked.add(read[0].file.start)
    looked.clear()
    while max(r.header.times[-1] for r in read) < window.last and len(looked) < _LOOKS:
        read.append(_neighbour(names, read, window, archive, before=False))
        looked.add(read[-1].file.start)
    return _headers(read)


def require_files(settings: MeteorologySettings, window: Window, archive: Archive) -> None:
    """Make sure that there are files for the window's time steps, as far as names tell.

    Raises
    ------
    MeteorologyError
        Naming the file or pattern that is missing.
    """
    names = file_names(settings, archive)
    for file in names.required(window):
        if not archive.has(file.locations):
            raise _missing(names, file, window)


@dataclass(frozen=True)
class _FileRead:
    """A file whose header was read, and the name it goes by."""

    file: NamedFile
    name: str
    header: Header


def _headers(read: Iterable[_FileRead]) -> dict[str, Header]:
    return {r.name: r.header for r in read}


def _open(names: FileNames, file: NamedFile, window: Window, archive: Archive) -> _FileRead:
    """Return a file, its header read.

    Raises
    ------
    MeteorologyError
        If it is missing or damaged.
    """
    opened = archive.open(file.locations)
    if opened is None:
        raise _missing(names, file, window)
    return _FileRead(file, opened.name, read_header(opened))


def _neighbour(
    names: FileNames, read: Sequence[_FileRead], window: Window, archive: Archive, *, before: bool
) -> _FileRead:
    """Return the file before or after those that were read.

    Raises
    ------
    MeteorologyError
        Naming the hour, what was read, and the file that is missing; or the file that is damaged.
    """
    side, edge, hour = ("before", read[0], window.first) if before else ("after", read[-1], window.last)
    file = names.before(edge.file) if before else names.after(edge.file)
    if file is None:
        raise no_meteorology(
            _headers(read), hour, f"{names.place} has none {side} that: add the file that has the hour"
        )
    opened = archive.open(file.locations)
    if opened is None:
        raise no_meteorology(
            _headers(read), hour, f"the one {side} that, {file.locations[0]} of {names.place}, is missing: add it"
        )
    return _FileRead(file, opened.name, read_header(opened))


def _missing(names: FileNames, file: NamedFile, window: Window) -> MeteorologyError:
    dates = names.dates(window)
    return MeteorologyError(
        f"meteorology file {file.locations[0]} of {names.place} is missing{f' ({dates})' if dates else ''}: put it "
        f"there under STILT_MET, or choose a source that has {window}"
    )
