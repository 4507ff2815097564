"""Receptors: where and when particles are released, and the table a scene keeps them in."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from stilt_dagster.science.errors import SceneError

#: Shards a scene's simulations are divided into.
SHARDS = tuple(f"{i:02d}" for i in range(16))

#: A scene of more receptors than this is taken for a slip of the decimal point.
MAX_RECEPTORS = 1_000_000

#: Columns of a receptor table, with their units.
RECEPTOR_COLUMNS = {
    "receptor": "receptor id",
    "shard": "shard the receptor is simulated in",
    "time": "release time, UTC",
    "longitude": "degrees_east, of the point or the bottom of the column",
    "latitude": "degrees_north, of the point or the bottom of the column",
    "height": "m, of a point; missing for a column",
    "bottom": "m, of a column; missing for a point",
    "top": "m, of a column; missing for a point",
    "longitude_top": "degrees_east, of the top of a slanted column; else missing",
    "latitude_top": "degrees_north, of the top of a slanted column; else missing",
}


def _text(value: float) -> str:
    """Format a coordinate for an id, whole numbers without a decimal point, as R STILT does."""
    return repr(int(value)) if value == int(value) else repr(float(value))


@dataclass(frozen=True)
class Receptor:
    """A point, or a line from a first to a last point, particles are released from.

    Parameters
    ----------
    time : datetime
        Release time, UTC, to the minute: HYSPLIT drops seconds.
    longitudes, latitudes : tuple of float
        Degrees; one of each for a point, the first and the last for a line.
    heights : tuple of float
        Metres above ground (above sea level with ``kmsl`` 1).
    """

    time: dt.datetime
    longitudes: tuple[float, ...]
    latitudes: tuple[float, ...]
    heights: tuple[float, ...]

    @cached_property
    def id(self) -> str:
        """The receptor's id, from its content: R STILT's ``yyyymmddHHMM_long_lati_zagl``.

        A column ends in ``X<bottom>-<top>``, a slanted one in both its ends.
        """
        start = f"{self.time:%Y%m%d%H%M}_{_text(self.longitudes[0])}_{_text(self.latitudes[0])}"
        if len(self.heights) == 1:
            return f"{start}_{_text(self.heights[0])}"
        if not self.slanted:
            return f"{start}_X{_text(self.heights[0])}-{_text(self.heights[1])}"
        end = "_".join(_text(v[-1]) for v in (self.longitudes, self.latitudes, self.heights))
        return f"{start}_{_text(self.heights[0])}_to_{end}"

    @property
    def slanted(self) -> bool:
        """Whether it is a line whose ends lie at different positions."""
        return len(set(self.longitudes)) > 1 or len(set(self.latitudes)) > 1

    @cached_property
    def shard(self) -> str:
        """The shard the receptor belongs to: a hash of its id, so that it never moves."""
        return SHARDS[zlib.crc32(self.id.encode()) % len(SHARDS)]


def release_time(value: dt.datetime) -> dt.datetime:
    """Return a time as UTC (a naive one is), cut to the minute."""
    aware = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    # HYSPLIT's years have two digits, and ARL files read 40 to 99 as 19xx.
    if not 1940 <= aware.year < 2040:
        raise ValueError(f"year must be between 1940 and 2039 (got {aware.year})")
    return aware.replace(second=0, microsecond=0)


def coordinate(value: float | np.floating) -> float:
    """Return a coordinate free of binary noise: the decimals a float32 stands for, and eight at most."""
    if isinstance(value, np.float32):
        value = float(str(value))
    return round(float(value), 8) + 0.0


def make_receptor(
    time: dt.datetime,
    longitude: float | Sequence[float],
    latitude: float | Sequence[float],
    height: float | Sequence[float],
) -> Receptor:
    """Make a receptor; lists make a line from their first to their last values.

    Raises
    ------
    ValueError
        Naming the coordinate that is not a number, or is out of range, and what is allowed.
    """

    def ends(name: str, value: float | Sequence[float], low: float, high: float, unit: str) -> tuple[float, ...]:
        values: list[Any] = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
        if not values:
            raise ValueError(f"{name} must not be an empty list")
        for v in values:
            if isinstance(v, bool) or not isinstance(v, (int, float, np.number)) or not np.isfinite(v):
                raise ValueError(f"{name} must be a finite number (got {v!r})")
            if not low <= v <= high:
                raise ValueError(f"{name} must be between {low:g} and {high:g} {unit} (got {v!r})")
        first, last = coordinate(values[0]), coordinate(values[-1])
        return (first,) if len(values) == 1 else (first, last)

    heights = ends("height", height, 0, 30_000, "m")
    longitudes = ends("longitude", longitude, -180, 360, "degrees")
    latitudes = ends("latitude", latitude, -90, 90, "degrees")
    longitudes = tuple(coordinate((v + 180) % 360 - 180) if v > 180 else v for v in longitudes)
    if len(heights) == 1 and (len(longitudes) > 1 or len(latitudes) > 1):
        raise ValueError("a slanted column needs a list of heights too, such as height: [0, 3000]")
    if len(heights) == 2:
        if heights[0] == heights[1]:
            raise ValueError(f"a column needs two different heights (got {list(heights)})")
        longitudes, latitudes = (v if len(v) == 2 else v * 2 for v in (longitudes, latitudes))
        if longitudes[0] == longitudes[1] and latitudes[0] == latitudes[1]:
            heights = (min(heights), max(heights))
    return Receptor(release_time(time), longitudes, latitudes, heights)


def grid_receptors(
    time: dt.datetime, xmin: float, xmax: float, xres: float, ymin: float, ymax: float, yres: float, height: object
) -> Iterator[Receptor]:
    """Yield receptors on the vertices of a grid, both ends included, x outermost.

    As stiltctl: ``round((max - min) / res)`` steps, coordinates rounded to 8 digits.
    """
    nx, ny = round((xmax - xmin) / xres), round((ymax - ymin) / yres)
    for i in range(nx + 1):
        for j in range(ny + 1):
            lon, lat = round(xmin + i * xres, 8), round(ymin + j * yres, 8)
            yield make_receptor(time, lon, lat, height)  # type: ignore[arg-type]


def receptor_table(receptors: Iterable[Receptor]) -> pd.DataFrame:
    """Return receptors as a table, in their order, with the columns :data:`RECEPTOR_COLUMNS`.

    Raises
    ------
    SceneError
        If there is none, or one twice.
    """
    rows = []
    seen: dict[str, int] = {}
    for number, r in enumerate(receptors, start=1):
        if r.id in seen:
            raise SceneError(
                f"receptors {seen[r.id]} and {number} are the same ({r.id}): "
                "remove one, since a receptor counted twice doubles its weight"
            )
        seen[r.id] = number
        column = len(r.heights) == 2
        rows.append(
            (
                r.id,
                r.shard,
                r.time.replace(tzinfo=None),
                r.longitudes[0],
                r.latitudes[0],
                np.nan if column else r.heights[0],
                r.heights[0] if column else np.nan,
                r.heights[1] if column else np.nan,
                r.longitudes[-1] if r.slanted else np.nan,
                r.latitudes[-1] if r.slanted else np.nan,
            )
        )
    if not rows:
        raise SceneError("there are no receptors: a scene needs at least one")
    table = pd.DataFrame(rows, columns=list(RECEPTOR_COLUMNS))
    table["time"] = table["time"].astype("datetime64[us]").dt.tz_localize("UTC")
    return table
