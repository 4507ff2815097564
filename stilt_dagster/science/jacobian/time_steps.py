"""Time steps of flux: those of several files in one matrix, and longer ones made of them.

Steps are pairs of start and end, whole hours since 1970-01-01 UTC, ascending and apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError

if TYPE_CHECKING:
    import pandas as pd

Steps = NDArray[np.int64]


_ADVICE = "run the scenes without time_integrate, or aggregate_time each to the same steps, then use concat_jacobians"


def common_steps(steps: Sequence[Steps], names: Sequence[str]) -> Steps:
    """Return the time steps of a matrix that has those of some files.

    Parameters
    ----------
    steps : sequence of ndarray, shape (n, 2)
        Of each file.
    names : sequence of str
        What errors call each.

    Returns
    -------
    ndarray of int64, shape (n, 2)
        Of hours all from the first to the last, without gaps; of others those there are.

    Raises
    ------
    JacobianError
        Naming two files whose steps overlap without being the same, or are hours and are not: no common columns.
    """
    hourly = [bool(np.all(s[:, 1] - s[:, 0] == 1)) for s in steps]
    if all(hourly):
        hours = np.arange(min(s[0, 0] for s in steps), max(s[-1, 1] for s in steps))
        return np.column_stack([hours, hours + 1])
    if any(hourly):
        one, other = names[hourly.index(True)], names[hourly.index(False)]
        raise JacobianError(f"{one} has hours of flux and {other} longer times: no columns in common; {_ADVICE}")
    known: Steps = np.unique(np.concatenate(steps), axis=0)
    for first, second in pairwise(known.tolist()):
        if first[1] > second[0]:
            one, other = (
                next(name for s, name in zip(steps, names, strict=True) if step in s.tolist())
                for step in (first, second)
            )
            raise JacobianError(f"{one} has other times of flux than {other}, which overlap: {_ADVICE}")
    return known


def place_of(steps: Steps, common: Steps) -> Steps:
    """Return which of the *common* steps each step is, shape (n,)."""
    return np.searchsorted(common[:, 0], steps[:, 0])


def as_times(hours: Steps) -> NDArray[np.datetime64]:
    """Return hours since 1970 as times of UTC."""
    return hours.astype("M8[h]").astype("M8[ns]")


def _minute(time: np.datetime64) -> str:
    """Return a time as messages have it."""
    return str(time.astype("M8[m]"))


def aggregate(steps: Steps, into: Any) -> tuple[Steps, Steps]:
    """Return longer time steps, and which of them each of the short ones is in.

    Parameters
    ----------
    steps : ndarray, shape (n, 2)
        The short ones.
    into : str, or sequence of times
        A frequency of pandas, such as ``D``, or edges, UTC. Steps of a frequency begin where it has them, at midnight
        for days, whether or not there are short ones of all of it.

    Raises
    ------
    JacobianError
        If a short one is in none of them, or in two.
    """
    import pandas as pd

    if isinstance(into, str):
        edges = _edges_of_frequency(steps, into)
    else:
        try:
            times = pd.DatetimeIndex(into)
            len(times)  # of an array without dimensions there is none
        except (ValueError, TypeError, OverflowError):
            raise JacobianError(
                f"edges of time steps must be times, or a frequency such as 'D' (got {into!r:.80})"
            ) from None
        times = times.tz_convert(None) if times.tz is not None else times
        if len(times) < 2 or not times.is_monotonic_increasing or not times.is_unique:
            raise JacobianError("edges of time steps must ascend, two or more of them")
        edges = times.to_numpy("M8[ns]")
    start, stop = as_times(steps[:, 0]), as_times(steps[:, 1])
    place = np.searchsorted(edges, start, side="right") - 1
    outside = (place < 0) | (place >= len(edges) - 1)
    if outside.any():
        raise JacobianError(f"the time steps leave out {_minute(start[outside][0])}: row sums would not be conserved")
    split = stop > edges[place + 1]
    if split.any():
        step = f"{_minute(start[split][0])} to {_minute(stop[split][0])}"
        raise JacobianError(f"the flux of {step} is one step and lies in two of those asked for")
    used, place = np.unique(place, return_inverse=True)
    bounds = np.column_stack([edges[used], edges[used + 1]])
    whole = bounds.astype("M8[h]")
    if np.any(whole.astype("M8[ns]") != bounds):
        raise JacobianError("edges of time steps must be full hours")
    return whole.astype(np.int64), place


def _edges_of_frequency(steps: Steps, frequency: str) -> NDArray[np.datetime64]:
    """Return the edges a frequency of pandas puts around some steps."""
    import pandas as pd

    first, last = pd.Timestamp(as_times(steps[:1, 0])[0]), pd.Timestamp(as_times(steps[-1:, 1])[0])
    try:
        offset = pd.tseries.frequencies.to_offset(frequency)
        if offset is None or offset.n < 1 or _is_no_hours(offset):
            raise ValueError
        origin = (
            pd.Series(0, index=pd.DatetimeIndex([first, last]))
            .resample(offset, closed="left", label="left")
            .sum()
            .index
        )
    except (ValueError, TypeError):
        raise JacobianError(
            f"{frequency!r:.80} is no frequency of pandas of full hours, such as 'D', '3h' or 'MS'"
        ) from None
    edges = origin.append(pd.DatetimeIndex([origin[-1] + offset]))
    return edges.to_numpy("M8[ns]")


def _is_no_hours(offset: Any) -> bool:
    """Return whether a frequency has a fixed length that is no whole number of hours; months have none."""
    try:
        return bool(offset.nanos % 3_600_000_000_000)
    except ValueError:
        return False


def within(steps: Steps, time: slice | str) -> slice:
    """Return which steps begin in a slice of times; a day, month or year is meant to its end, in a slice or alone.

    Raises
    ------
    JacobianError
        If it is no slice of times, or none does.
    """
    import pandas as pd

    index: pd.DatetimeIndex = pd.DatetimeIndex(as_times(steps[:, 0]))
    wanted = slice(time, time) if isinstance(time, str) else time
    try:
        found = index.slice_indexer(wanted.start, wanted.stop)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise JacobianError(
            "time is a day or month such as '2023-07-15', or a slice of times in UTC such as "
            f"slice('2023-07-15', '2023-07-16') (got {time!r:.120})"
        ) from None
    if wanted.step is not None:
        raise JacobianError("time is a slice of times without a step width: aggregate_time makes longer steps")
    if found.start >= found.stop:
        first, last = _minute(index[0].to_datetime64()), _minute(as_times(steps[-1:, 1])[0])
        said = time if isinstance(time, str) else f"{wanted.start} to {wanted.stop}"
        raise JacobianError(f"time {said} has no step: flux is of {first} to {last}")
    return found
