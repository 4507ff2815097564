"""Which sources a scene's meteorology comes from: those it names, or the best that has its box and its hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.meteorology.archive import Archive
from stilt_dagster.science.meteorology.arl.grids import Box
from stilt_dagster.science.meteorology.file_names import SourceFiles
from stilt_dagster.science.meteorology.files import require_files
from stilt_dagster.science.meteorology.sources import AUTO, PREFERENCE, SOURCES, Source
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.settings import MeteorologySettings

#: Tells whether a file is at one of its locations.
_There = Callable[[Sequence[str]], bool]


@dataclass(frozen=True)
class Candidate:
    """A source that ``source: auto`` may fall on.

    Attributes
    ----------
    source : Source
        The source.
    fits : bool
        Whether it covers the box and, by its dates, the hours.
    reason : str
        Why it fits, or why not, in one line.
    """

    source: Source
    fits: bool
    reason: str


@dataclass(frozen=True)
class Choice:
    """The sources of a scene, and why these.

    Attributes
    ----------
    sources : tuple of Source
        The finest first: a particle that leaves one goes on in the next.
    reasons : tuple of str
        What was considered, in that order, a line each; empty where the scene names its sources.
    """

    sources: tuple[Source, ...]
    reasons: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[SourceFiles, ...]:
        """The files of each."""
        return tuple(SourceFiles(source) for source in self.sources)

    @property
    def text(self) -> str:
        """What was considered, for a log, a page or a report."""
        return "; ".join(self.reasons)


def choose_sources(
    settings: MeteorologySettings,
    box: Box,
    window: Window,
    archive: Archive,
    *,
    now: pd.Timestamp | None = None,
    forecasts: bool = False,
) -> Choice:
    """Return the sources of a scene.

    Of ``auto`` it is the first that covers the box and whose files for the window are all there. Sources that a scene
    names are taken as they are, as far as they can have anything of it: what of their files is missing is said by what
    opens them.

    Parameters
    ----------
    settings : MeteorologySettings
        Settings that name sources, or auto.
    box : Box
        What the scene needs, degrees.
    window : Window
        The time needed.
    archive : Archive
        Where files are.
    now : Timestamp, optional
        The time, naive UTC; the clock's by default.
    forecasts : bool
        Whether the engine reads forecasts (a registered HYSPLIT build).

    Raises
    ------
    MeteorologyError
        Where no source is left, with the reason of each; or naming the source that does not reach the box, or that does
        not have the window and no file either.
    EngineError
        Of a source of forecasts, unless the engine reads them.
    """
    require_engine(named(settings), forecasts=forecasts)
    return _chosen(settings, box, window, lambda locations: archive.open(locations) is not None, now)


def named(settings: MeteorologySettings) -> tuple[Source, ...]:
    """Return the sources that a scene names: none where it leaves the choice, or names a directory."""
    return tuple(SOURCES[name] for name in settings.sources if name != AUTO)


def _chosen(settings: MeteorologySettings, box: Box, window: Window, there: _There, now: pd.Timestamp | None) -> Choice:
    if settings.source != AUTO:
        for source in named(settings):
            _require_covers(source, box)
            _require_dates(source, window, there)
        return Choice(named(settings))
    now = pd.Timestamp.now("UTC").tz_localize(None) if now is None else now
    reasons = []
    for candidate in candidates(box, window):
        if not candidate.fits:
            reasons.append(candidate.reason)
        elif lacking := _lacking(candidate.source, window, there, now):
            reasons.append(f"not {candidate.source.name}: {' '.join(lacking)}")
        else:
            return Choice((candidate.source,), (*reasons, candidate.reason))
    raise MeteorologyError(
        f"no source has meteorology of {window} and {_text(box)}: {'; '.join(reasons)}; give meteorology a directory"
    )


def candidates(box: Box, window: Window) -> list[Candidate]:
    """Return every source that ``auto`` may fall on, the best first, each with the reason it fits, or does not.

    Parameters
    ----------
    box : Box
        What the scene needs, degrees; west over east crosses the antimeridian.
    window : Window
        The time needed.
    """
    found = []
    for source in PREFERENCE:
        problem = SourceFiles(source).dates(window)
        if not problem and (point := source.uncovered(*box)) is not None:
            problem = f"{_place(*point)} lies outside its domain, {source.domain.title}"
        reason = (
            f"not {source.name}: {problem}"
            if problem
            else f"{source.name}: {source.grid}, covers the box and the hours"
        )
        found.append(Candidate(source, not problem, reason))
    return found


def require_engine(sources: Iterable[Source], *, forecasts: bool) -> None:
    """Make sure that the engine reads what sources have.

    Raises
    ------
    EngineError
        Naming the source of forecasts, unless the engine reads them.
    """
    for source in sources:
        if source.is_forecast and not forecasts:
            raise EngineError(
                f"source {source.name} has forecasts, which an unregistered hycs_std refuses: name one of analyses "
                "(source: auto chooses it), or register with NOAA ARL and set STILT_EXE_DIR to the directory of that "
                "build"
            )


def require_available(
    settings: MeteorologySettings, box: Box, window: Window, archive: Archive, *, now: pd.Timestamp | None = None
) -> None:
    """Make sure that the files a scene needs are there, as far as is known without asking the network.

    Parameters
    ----------
    settings, box, window, archive, now
        As of :func:`choose_sources`.

    Raises
    ------
    MeteorologyError
        Naming the file that is missing, and whether it is only not published yet.
    """
    if settings.directory is not None:
        require_files(settings, window, archive)
        return
    now = pd.Timestamp.now("UTC").tz_localize(None) if now is None else now
    _chosen(settings, box, window, archive.has, now)
    for source in named(settings):
        if lacking := _lacking(source, window, archive.has, now):
            raise MeteorologyError(
                f"meteorology file {lacking[0]} of source {source.name} {lacking[1]}: put it there under STILT_MET, or "
                f"choose a source that has {window}"
            )


def _require_covers(source: Source, box: Box) -> None:
    if not source.reaches(*box):
        raise MeteorologyError(
            f"source {source.name} has nothing of {_text(box)}: it covers {source.domain.title}; name another, or auto"
        )


def _require_dates(source: Source, window: Window, there: _There) -> None:
    """Raise where the dates of a source exclude a window, and a file of it is missing indeed: mirrors have more."""
    files = SourceFiles(source)
    if dates := files.dates(window):
        for file in files.required(window):
            if not there(file.locations):
                raise MeteorologyError(
                    f"source {source.name} does not have {window}: {dates}, and {file.locations[0]} is not there; "
                    "name a source that has it, or auto"
                )


def _lacking(source: Source, window: Window, there: _There, now: pd.Timestamp) -> tuple[str, str] | None:
    """Return the first file of a source that is not there, and why; None where all are."""
    files = SourceFiles(source)
    for file in files.required(window):
        if there(file.locations):
            continue
        due, dates = files.due(file, window), files.dates(window)
        if due is not None and now < due:
            return file.locations[0], f"is not published yet, which takes until {due:%Y-%m-%d %H:%M} UTC"
        return file.locations[0], "is missing" + (f" ({dates})" if dates else "")
    return None


def _text(box: Sequence[float]) -> str:
    west, south, east, north = box
    return f"the box {_place(west, south)} to {_place(east, north)}"


def _place(longitude: float, latitude: float) -> str:
    longitude = (longitude + 180) % 360 - 180
    return f"{abs(latitude):.2f} {'N' if latitude >= 0 else 'S'} {abs(longitude):.2f} {'E' if longitude >= 0 else 'W'}"
