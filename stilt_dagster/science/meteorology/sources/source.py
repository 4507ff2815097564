"""What is known of a meteorology archive without asking it: its files' names and hours, what they cover, and when."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from stilt_dagster.science.meteorology.sources.domain import Domain, Point, outside, reaches

#: How long a file is. A week counts from the first of the month: the fifth holds what is left of it, up to three days.
#: A run is a forecast's: it begins with any hour, and those of runs that follow each other overlap.
Span = Literal["6 hours", "day", "week", "month", "run"]

#: NOAA ARL's public archive: its bucket by https, which takes neither credentials nor the settings of a store.
NOAA = "https://noaa-oar-arl-hysplit-pds.s3.amazonaws.com"

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Source:
    """An archive of ARL files, as NOAA ARL or a mirror lays it out.

    Attributes
    ----------
    name : str
        What a scene calls it: ``meteorology: {source: hrrr}``.
    title : str
        The model and its grid.
    layout : str
        Path of a file below the archive's root, for :meth:`str.format`: ``start`` and ``last`` are its first and its
        last full hour, ``month`` the month's three letters, ``week`` its week of the month.
    span : {"6 hours", "day", "week", "month", "run"}
        How long a file is.
    spacing : int
        Hours between time steps, of which 00 UTC is one. A file ends with the last step inside its span: 3-hourly day
        files end at 21:00.
    first : datetime
        First hour of the archive, naive UTC.
    last : datetime or None
        No file holds a later hour, naive UTC; None where files are still added.
    publication_lag : int or None
        Hours after which the files that a release needs have been published, the file with the step after it too; None
        where nothing is added any more.
    resolution : float
        Distance between grid points, km; of grids in degrees, along a meridian.
    grid : str
        The same as the field says it.
    domain : Domain
        What it covers.
    vertical : {"sigma", "pressure", "hybrid"}
        Vertical coordinate.
    root : str
        URL of the public archive that ``layout`` is below.
    horizon : int or None
        Of a forecast, hours from a run's start to its last step; None for analyses.
    copy_of : Source or None
        The archive whose files these are under the same names: where it has one, that is as good.
    """

    name: str
    title: str
    layout: str
    span: Span
    spacing: int
    first: dt.datetime
    publication_lag: int | None
    resolution: float
    grid: str
    domain: Domain
    vertical: Literal["sigma", "pressure", "hybrid"]
    last: dt.datetime | None = None
    root: str = NOAA
    horizon: int | None = None
    copy_of: Source | None = None

    @property
    def is_forecast(self) -> bool:
        """Whether its files hold forecasts, which an unregistered hycs_std refuses of times that have not come yet."""
        return self.horizon is not None

    def path(self, hour: dt.datetime) -> str:
        """Return the path, below the archive's root, of the file whose span holds a time (naive UTC)."""
        start = self.file_start(hour)
        return self.layout.format(
            start=start,
            last=self.file_end(hour) - dt.timedelta(hours=1),
            month=_MONTHS[start.month - 1],
            week=(start.day - 1) // 7 + 1,
        )

    def locations(self, hour: dt.datetime) -> tuple[str, ...]:
        """Return where the file whose span holds a time may be below a root, as laid out publicly first.

        Names of forecasts repeat every day: theirs keep the day's folder.
        """
        path = self.path(hour)
        file = "/".join(path.split("/")[-2 if self.is_forecast else -1 :])
        original = () if self.copy_of is None else self.copy_of.locations(hour)[:-1]
        return path, f"{self.name}/{file}", *original, file

    def covers(self, west: float, south: float, east: float, north: float) -> bool:
        """Return whether a longitude/latitude box lies inside the domain; west over east crosses the antimeridian."""
        return outside(self.domain, west, south, east, north) is None

    def uncovered(self, west: float, south: float, east: float, north: float) -> Point | None:
        """Return a point of a box, as in :meth:`covers`, that lies outside the domain, or None."""
        return outside(self.domain, west, south, east, north)

    def reaches(self, west: float, south: float, east: float, north: float) -> bool:
        """Return whether any part of a box, as in :meth:`covers`, lies inside the domain."""
        return reaches(self.domain, west, south, east, north)

    def file_start(self, hour: dt.datetime) -> dt.datetime:
        """Return where the span of the file that holds a time begins: its first time step."""
        day = dt.datetime(hour.year, hour.month, hour.day)
        if self.span == "6 hours":
            return day.replace(hour=hour.hour // 6 * 6)
        if self.span == "run":
            return day.replace(hour=hour.hour)
        if self.span == "day":
            return day
        return day.replace(day=(hour.day - 1) // 7 * 7 + 1 if self.span == "week" else 1)

    def file_end(self, hour: dt.datetime) -> dt.datetime:
        """Return where the span of the file that holds a time ends: the first time step of the next file."""
        start = self.file_start(hour)
        if self.horizon is not None:
            return start + dt.timedelta(hours=self.horizon + 1)
        if self.span == "6 hours":
            return start + dt.timedelta(hours=6)
        if self.span == "day":
            return start + dt.timedelta(days=1)
        next_month = (start.replace(day=1) + dt.timedelta(days=31)).replace(day=1)
        return min(start + dt.timedelta(days=7), next_month) if self.span == "week" else next_month

    def step_before(self, time: dt.datetime) -> dt.datetime:
        """Return the last time step at or before a time."""
        day = dt.datetime(time.year, time.month, time.day)
        return day.replace(hour=time.hour // self.spacing * self.spacing)

    def step_after(self, time: dt.datetime) -> dt.datetime:
        """Return the first time step at or after a time."""
        before = self.step_before(time)
        return before if before == time else before + dt.timedelta(hours=self.spacing)
