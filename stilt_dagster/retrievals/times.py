"""Times of soundings: CF numbers with units, or text, as seconds of UTC."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import pandas as pd
from netCDF4 import num2date
from numpy.typing import NDArray

from stilt_dagster.retrievals.variables import Variables
from stilt_dagster.science.errors import RetrievalError

#: Seconds of each unit of time, by the names CF knows.
_SECONDS = {
    name: seconds
    for seconds, names in (
        (1e-6, "microseconds microsecond microsecs microsec us"),
        (1e-3, "milliseconds millisecond millisecs millisec msecs msec ms"),
        (1.0, "seconds second secs sec s"),
        (60.0, "minutes minute mins min"),
        (3600.0, "hours hour hrs hr h"),
        (86400.0, "days day d"),
    )
    for name in names.split()
}


def sounding_times(variables: Variables) -> NDArray[np.datetime64]:
    """Return the times of the soundings that are wanted, to the second; NaT where there is none.

    Raises
    ------
    RetrievalError
        If their units are not those of a time.
    """
    variable = variables.variable("time", variables.table.time)
    times = _decoded(variables, variable, variables.words("time", variables.table.time, variable))
    path = variables.table.time_offset
    if path is None:
        return times
    variable = variables.variable("time_offset", path)
    units = variables.table.units.get("time_offset") or str(getattr(variable, "units", "")).strip() or "milliseconds"
    seconds = _SECONDS.get(units.split()[0].lower())  # some say since when, which is what time holds
    if seconds is None:
        raise RetrievalError(
            f"{variables.name}: {path} (time_offset) has units {units!r}, expected seconds, milliseconds or the like: "
            "set mapping.units.time_offset"
        )
    return _plus(times, variables.numbers("time_offset").astype(np.float64) * seconds)


def _decoded(variables: Variables, variable: Any, data: NDArray[Any]) -> NDArray[np.datetime64]:
    """Return times as seconds of UTC; what is none is NaT."""
    if data.dtype.kind in "OU":
        text, which = np.unique(data.astype(str), return_inverse=True)
        times = pd.to_datetime(pd.Series(text), errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
        return np.asarray(times.to_numpy("datetime64[s]")[which.ravel()])
    units = (
        variables.table.units.get("time")
        or str(getattr(variable, "units", ""))
        or variables.default_units.get("time", "")
    )
    calendar = str(getattr(variable, "calendar", "standard")).lower()
    match = re.match(r"\s*(\w+)\s+since\s+(.+)", units)
    try:
        if match is None or calendar not in ("standard", "gregorian", "proleptic_gregorian"):
            raise ValueError
        start = num2date(
            0, f"seconds since {match[2]}", only_use_cftime_datetimes=False, only_use_python_datetimes=True
        )
        seconds = data.astype(np.float64) * _SECONDS[match[1].lower()]
    except (ValueError, KeyError):
        raise RetrievalError(
            f"{variables.name}: {variables.table.time} (time) has units {units!r}, expected one such as "
            f"'seconds since 1970-01-01', of the standard calendar (its is {calendar}): correct the file, or set "
            "mapping.units.time"
        ) from None
    return _plus(np.full(len(data), np.datetime64(start.replace(tzinfo=None), "s")), seconds)


def first_time(variables: Variables, here: NDArray[np.bool_]) -> dt.datetime:
    """Return when the file's first sounding was made."""
    times = sounding_times(variables)[here]
    times = times[~np.isnat(times)]
    if not len(times):
        raise RetrievalError(
            f"{variables.name}: {variables.table.time} (time) holds no time of a sounding with a position"
        )
    first: dt.datetime = times.min().item()
    if not 1940 <= first.year < 2040:
        raise RetrievalError(
            f"{variables.name}: {variables.table.time} (time) begins in {first:%Y-%m-%d}, which cannot be"
        )
    return first


def _plus(times: NDArray[np.datetime64], seconds: NDArray[np.float64]) -> NDArray[np.datetime64]:
    """Return times some seconds later, to the second; NaT, where no number or more than some thousand years."""
    with np.errstate(invalid="ignore"):
        known = np.abs(seconds) < 1e11
    later = times + np.round(np.where(known, seconds, 0.0)).astype("timedelta64[s]")
    return np.where(known, later, np.datetime64("NaT", "s"))
