"""Which time steps of meteorology files a scene's simulations read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

import pandas as pd

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.arl.index import Header
from stilt_dagster.science.meteorology.window import Window


def select_steps(
    headers: Mapping[str, Header], window: Window, spacing: pd.Timedelta | None = None
) -> list[tuple[str, list[pd.Timestamp]]]:
    """Return the time steps to keep of files: those of a window and the ones that bracket it.

    Parameters
    ----------
    headers : mapping of str to Header
        The files, by name. An hour that several have must be the same in all.
    window : Window
        The time needed. It takes an hour at least, so that two steps are kept at least, as HYSPLIT needs.
    spacing : Timedelta, optional
        The largest interval to be expected by the files' names, for where their steps do not show one.

    Returns
    -------
    list of (str, list of Timestamp)
        Names of files and times of theirs that follow each other, in the order of time. A file comes more than once
        where another one has steps between its own, and not at all where it has none that is needed.

    Raises
    ------
    MeteorologyError
        Naming the first hour without meteorology and the files that were read, or an hour of which two files have
        different content.
    """
    owner: dict[pd.Timestamp, str] = {}
    for name, header in headers.items():
        for time in header.times:
            owner.setdefault(time, name)  # files of one archive repeat the hour they share
    times = sorted(owner)
    before = [k for k, t in enumerate(times) if t <= window.first]
    after = [k for k, t in enumerate(times) if t >= window.last]
    for bracket, hour in ((before, window.first), (after, window.last)):
        if not bracket:
            raise no_meteorology(headers, hour)
    start, stop = before[-1], after[0] + 1
    _require_one_content(headers, owner, times[start:stop])
    lone_steps = all(len(h.times) == 1 for h in headers.values())
    interval = _interval(times, start, stop, spacing, lone_steps)
    for a, b in pairwise(times[start:stop]):
        if b - a > interval:
            raise MeteorologyError(
                f"meteorology has a gap: nothing at {a + interval:%Y-%m-%d %H:%M} UTC, between {a:%Y-%m-%d %H:%M} in "
                f"{owner[a]} and {b:%Y-%m-%d %H:%M} in {owner[b]}; "
                + ("download it again" if owner[a] == owner[b] else "add the file that has it, or download both again")
            )
    return [(name, list(group)) for name, group in groupby(times[start:stop], key=owner.__getitem__)]


def _require_one_content(
    headers: Mapping[str, Header], owner: Mapping[pd.Timestamp, str], times: Sequence[pd.Timestamp]
) -> None:
    for name, header in headers.items():
        for step in header.steps:
            if step.time not in times or owner[step.time] == name:
                continue
            if step.content != headers[owner[step.time]].step(step.time).content:
                raise MeteorologyError(
                    f"{owner[step.time]} and {name} both have {step.time:%Y-%m-%d %H:%M} UTC, with different content: "
                    "remove the one that does not belong, or name it apart by meteorology.pattern"
                )


def _interval(
    times: Sequence[pd.Timestamp], start: int, stop: int, spacing: pd.Timedelta | None, lone_steps: bool
) -> pd.Timedelta:
    """Return the interval that the steps from *start* to *stop* must keep: HYSPLIT reads one from a file.

    It is their smallest, unless that itself is a gap: of files of one step each, by their names; of two steps, by the
    steps beside them, as long as the larger of those intervals, since archives change from one spacing to another.
    """
    kept = [b - a for a, b in pairwise(times[start:stop])]
    beside = [
        b - a for pair in (times[max(start - 1, 0) : start + 1], times[stop - 1 : stop + 1]) for a, b in pairwise(pair)
    ]
    if len(kept) == 1 and beside:
        spacing = max(beside)
    elif len(kept) > 1 and not lone_steps:
        spacing = None
    return min(kept) if spacing is None else min(*kept, spacing)


def no_meteorology(headers: Mapping[str, Header], hour: pd.Timestamp, hint: str = "") -> MeteorologyError:
    """Return the error of an hour that no file has.

    Parameters
    ----------
    headers : mapping of str to Header
        The files that were read, by name.
    hour : Timestamp
        The hour, UTC.
    hint : str
        What is known of the file that should have it.
    """
    read = ", ".join(f"{n} ({h.times[0]:%Y-%m-%d %H:%M} to {h.times[-1]:%Y-%m-%d %H:%M})" for n, h in headers.items())
    return MeteorologyError(
        f"no meteorology at {hour:%Y-%m-%d %H:%M} UTC, which the scene needs; read: {read}"
        + (f"; {hint}" if hint else "")
    )
