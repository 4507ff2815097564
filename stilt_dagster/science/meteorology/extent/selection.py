"""What a scene keeps of a source's files: the receptors, the footprint's grid, where air comes from, and no more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from pydantic import ByteSize

from stilt_dagster.science.errors import MeteorologyError
from stilt_dagster.science.meteorology.arl.grids import Window, readable
from stilt_dagster.science.meteorology.arl.index import RECORD_HEADER, Header
from stilt_dagster.science.meteorology.arl.joining import Selection, index_cells, n_records
from stilt_dagster.science.meteorology.extent.crop import (
    KM_A_DEGREE,
    Rectangle,
    rectangle_of,
    turned,
    union,
    widened,
    window_of,
)
from stilt_dagster.science.meteorology.extent.envelope import Winds, upwind
from stilt_dagster.science.meteorology.extent.levels import Levels, levels_needed
from stilt_dagster.science.meteorology.extent.needs import Needs
from stilt_dagster.science.meteorology.extent.survey import Survey

#: Kilometres that are kept around everything, half a degree, and cells at least.
_AROUND, _CELLS = 0.5 * KM_A_DEGREE, 3

#: Kilometres of an hour of a wind of 10 m/s: where mixing heights are looked at first.
_HOUR = 36.0

#: How finely the way from the least to the wanted window is searched for one that keeps to a budget.
_SHARES = 64


@dataclass(frozen=True)
class Limits:
    """What a scene says of it; None is found out, or has no limit.

    Attributes
    ----------
    margin : float or None
        Degrees around the box, instead of as far as wind carries air.
    n_levels : int, "all" or None
        The lowest levels, the surface counted.
    max_bytes : int or None
        Of the aggregate.
    """

    margin: float | None = None
    n_levels: int | Literal["all"] | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Extent:
    """What is kept of a source, and why.

    Attributes
    ----------
    selection : Selection
        Window and levels.
    crop, levels : str
        What decided them, for the metadata.
    """

    selection: Selection
    crop: str
    levels: str


Steps = Sequence[tuple[Header, list[pd.Timestamp]]]


def whole(steps: Steps) -> Extent:
    """Return everything: records are copied as they are, unless hycs_std cannot read their grid's longitudes."""
    header = steps[0][0]
    count, grid = len(header.levels), header.grid
    window = None if readable(grid) == grid else (0, grid.nx, 0, grid.ny)
    return Extent(Selection(window, count), "none: whole files", f"all {count}")


def select(steps: Steps, needs: Needs, limits: Limits) -> Extent:
    """Return what a scene keeps of a source's time steps.

    Without a margin, the window holds the receptors, the footprint's grid, and as far as wind at the levels of the
    mixed layer can carry air in the hours of a run; half a degree and three cells around that.

    Parameters
    ----------
    steps : sequence of (Header, list of Timestamp)
        Files of one grid, and the time steps wanted of them.
    needs : Needs
        What the scene is.
    limits : Limits
        What it says.

    Raises
    ------
    MeteorologyError
        If the grid does not reach the scene, the margin given is too small, or the budget is.
    """
    header = steps[0][0]
    grid, survey = header.grid, Survey.of(steps)
    least = rectangle_of(grid, needs.box)
    if limits.margin is None:
        receptors = turned(grid, rectangle_of(grid, needs.receptors), least)
        least = widened(grid, least, _AROUND, _CELLS)
        near = widened(grid, receptors, _HOUR * abs(needs.n_hours))
        levels = _levels(survey, near, needs, limits)
        winds = Winds.of(survey, levels.count)
        first = survey.steps[0][1]
        releases = [(time - first) / pd.Timedelta(hours=1) for time in needs.releases]
        reach = receptors if winds is None else upwind(winds, receptors, releases, needs.n_hours)
        wanted = union(least, widened(grid, reach, _AROUND, _CELLS))
        levels = max(levels, _levels(survey, union(near, wanted), needs, limits), key=lambda found: found.count)
        why = f"as far as wind carries air in {abs(needs.n_hours)} h and a quarter more"
    else:
        least = wanted = widened(grid, rectangle_of(grid, needs.box, limits.margin), 0.0, 1)
        levels = _levels(survey, wanted, needs, limits)
        why = f"{limits.margin:g} degrees around receptors and footprint"
    return _within_budget(steps, least, wanted, levels, limits, why)


def _levels(survey: Survey, rectangle: Rectangle, needs: Needs, limits: Limits) -> Levels:
    count = len(survey.header.levels)
    if limits.n_levels is None:
        return levels_needed(survey, rectangle, needs.top)
    kept = count if limits.n_levels == "all" else min(limits.n_levels, count)
    return Levels(kept, f"{kept} of {count}, as the scene says")


def _within_budget(
    steps: Steps, least: Rectangle, wanted: Rectangle, levels: Levels, limits: Limits, why: str
) -> Extent:
    """Return the wanted extent, or as much of the way to it as the budget has room for."""
    grid = steps[0][0].grid
    kept = [header.step(time) for header, times in steps for time in times]
    cells_needed = max(index_cells(step, levels.count) for step in kept)
    records = sum(n_records(step, levels.count) for step in kept)
    budget = sys.maxsize if limits.max_bytes is None else limits.max_bytes

    def window(share: float) -> Window:
        rectangle = tuple(a + share * (b - a) for a, b in zip(least, wanted, strict=True))
        return window_of(grid, rectangle, cells_needed, may_grow=limits.margin is None)  # type: ignore[arg-type]

    def size(window: Window) -> int:
        return records * (RECORD_HEADER + (window[1] - window[0]) * (window[3] - window[2]))

    for share in range(_SHARES, -1, -1):
        found = window(share / _SHARES)
        if size(found) <= budget:
            if share < _SHARES:
                why += f"; {share / _SHARES:.0%} of that, to keep to {_text(budget)} (meteorology.max_bytes)"
            return Extent(Selection(found, levels.count), why, levels.why)
    raise MeteorologyError(
        f"the meteorology of the scene's receptors and footprint takes {_text(size(window(0)))}, more than "
        f"{_text(budget)}: raise meteorology.max_bytes, set n_levels, or split the scene"
    )


def _text(n_bytes: int) -> str:
    return ByteSize(n_bytes).human_readable(decimal=True)
