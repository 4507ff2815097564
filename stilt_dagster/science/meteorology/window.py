"""The time a scene's simulations run through."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from stilt_dagster.science.scenes.receptors import Receptors


@dataclass(frozen=True)
class Window:
    """The time a scene's simulations run through, naive UTC: an hour or more."""

    first: pd.Timestamp
    last: pd.Timestamp

    @classmethod
    def of(cls, receptors: Receptors, n_hours: int) -> Window:
        """Return the time from the earliest end to the latest start of backward runs."""
        first, last = (pd.Timestamp(t) for t in (receptors.time.min(), receptors.time.max()))
        return cls(first + pd.Timedelta(hours=n_hours), last)

    def __str__(self) -> str:
        """Return its full hours, for messages."""
        return f"{self.first.floor('h'):%Y-%m-%d %H:%M} to {self.last.ceil('h'):%Y-%m-%d %H:%M} UTC"
