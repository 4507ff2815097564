"""Receptors: where and when particles are released, one by one and as the columns of a scene."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import SceneError

#: Shards a scene's simulations are divided into.
SHARDS = tuple(f"{i:02d}" for i in range(16))

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

#: A scene of more receptors than this is taken for a slip of the decimal point.
MAX_RECEPTORS = 1_000_000


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

    def along(self, n: int) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """Return the middles of n equal parts of the line: longitudes (the short way round), latitudes, heights."""
        part = (np.arange(n) + 0.5) / n
        east = (self.longitudes[1] - self.longitudes[0] + 180) % 360 - 180
        lons = (self.longitudes[0] + part * east + 180) % 360 - 180
        lats, heights = (v[0] + part * (v[1] - v[0]) for v in (self.latitudes, self.heights))
        return tuple(lons.tolist()), tuple(lats.tolist()), tuple(heights.tolist())

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


class Receptors(Sequence[Receptor]):
    """The receptors of a scene as columns: a hundred thousand of them take no object each until one is asked for.

    Parameters
    ----------
    minutes : ndarray of int64
        Release times, minutes since 1970 UTC, shape ``(n,)``.
    longitude, latitude, height : ndarray of float64
        Of the first and the last point, shape ``(n, 2)``: degrees, degrees, m. A point has both alike.
    ids : list of str, optional
        Their ids, if they are known.
    """

    def __init__(
        self,
        minutes: NDArray[np.int64],
        longitude: NDArray[np.float64],
        latitude: NDArray[np.float64],
        height: NDArray[np.float64],
        ids: list[str] | None = None,
    ) -> None:
        self.minutes, self.longitude, self.latitude, self.height = minutes, longitude, latitude, height
        if ids is not None:
            self.ids = ids

    @classmethod
    def of(cls, receptors: Iterable[Receptor]) -> Self:
        """Return some receptors as columns."""
        some = list(receptors)

        def ends(name: str) -> NDArray[np.float64]:
            values = [getattr(r, name) for r in some]
            return np.array([(v[0], v[-1]) for v in values], np.float64).reshape(-1, 2)

        minutes = np.array([int(r.time.timestamp()) // 60 for r in some], np.int64)
        return cls(minutes, ends("longitudes"), ends("latitudes"), ends("heights"), [r.id for r in some])

    def __len__(self) -> int:
        return len(self.minutes)

    @overload
    def __getitem__(self, k: int) -> Receptor: ...

    @overload
    def __getitem__(self, k: slice) -> Receptors: ...

    def __getitem__(self, k: int | slice) -> Receptor | Receptors:
        if isinstance(k, slice):
            return self.select(np.arange(len(self))[k])
        ends = (self.longitude[k], self.latitude[k], self.height[k])
        n = 1 if ends[2][0] == ends[2][1] else 2
        longitudes, latitudes, heights = (tuple(float(v) for v in values[:n]) for values in ends)
        return Receptor(_EPOCH + dt.timedelta(minutes=int(self.minutes[k])), longitudes, latitudes, heights)

    def select(self, which: NDArray[np.int64]) -> Receptors:
        """Return some of the receptors, by their places."""
        ids = self.ids
        return Receptors(
            self.minutes[which],
            self.longitude[which],
            self.latitude[which],
            self.height[which],
            [ids[k] for k in which.tolist()],
        )

    @cached_property
    def ids(self) -> list[str]:
        """The receptors' ids, see :attr:`Receptor.id`."""
        unique, which = np.unique(self.minutes, return_inverse=True)
        stamps = [f"{_EPOCH + dt.timedelta(minutes=m):%Y%m%d%H%M}" for m in unique.tolist()]
        columns = (self.longitude, self.latitude, self.height)
        (x0, x1), (y0, y1), (z0, z1) = (
            [[_text(v) for v in values[:, k].tolist()] for k in (0, 1)] for values in columns
        )
        slanted, column = self.slanted.tolist(), self.is_column.tolist()
        return [
            f"{stamps[t]}_{x0[k]}_{y0[k]}_"
            + (z0[k] if not column[k] else f"{z0[k]}_to_{x1[k]}_{y1[k]}_{z1[k]}" if slanted[k] else f"X{z0[k]}-{z1[k]}")
            for k, t in enumerate(which.ravel().tolist())
        ]

    @cached_property
    def shards(self) -> list[str]:
        """The shard of each receptor, see :attr:`Receptor.shard`."""
        return [SHARDS[zlib.crc32(i.encode()) % len(SHARDS)] for i in self.ids]

    @property
    def is_column(self) -> NDArray[np.bool_]:
        """Which are lines and not points, shape ``(n,)``."""
        return np.asarray(self.height[:, 0] != self.height[:, 1])

    @property
    def slanted(self) -> NDArray[np.bool_]:
        """Which are lines whose ends lie at different positions, shape ``(n,)``."""
        return np.asarray((self.longitude[:, 0] != self.longitude[:, 1]) | (self.latitude[:, 0] != self.latitude[:, 1]))

    @property
    def time(self) -> NDArray[np.datetime64]:
        """Release times, UTC, shape ``(n,)``."""
        return self.minutes.astype("datetime64[m]")

    def require_distinct(self) -> Self:
        """Return the receptors, if there are any and none is there twice.

        Raises
        ------
        SceneError
            Otherwise.
        """
        if not len(self):
            raise SceneError("there are no receptors: a scene needs at least one")
        if len(set(self.ids)) < len(self):
            seen: dict[str, int] = {}
            for number, receptor in enumerate(self.ids, start=1):
                if receptor in seen:
                    raise SceneError(
                        f"receptors {seen[receptor]} and {number} are the same ({receptor}): "
                        "remove one, since a receptor counted twice doubles its weight"
                    )
                seen[receptor] = number
        return self


def checked_receptors(
    minutes: NDArray[np.int64],
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    height: NDArray[np.float64],
) -> Receptors:
    """Return receptors of columns as :func:`make_receptor` makes each: checked, rounded, columns the right way up.

    Parameters
    ----------
    minutes : ndarray of int64
        Release times, minutes since 1970 UTC, shape ``(n,)``.
    longitude, latitude, height : ndarray
        Of the first and the last point, shape ``(n, 2)``: degrees, degrees, m.

    Raises
    ------
    ReceptorError
        Of the first row that cannot be a receptor.
    """

    def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([coordinate(v) for v in values.ravel().tolist()]).reshape(values.shape)

    slanted = (longitude[:, 0] != longitude[:, 1]) | (latitude[:, 0] != latitude[:, 1])
    is_column = height[:, 0] != height[:, 1]
    x, y, z = (rounded(values) for values in (longitude, latitude, height))
    good = np.where(is_column, z[:, 0] != z[:, 1], ~slanted)
    for values, (low, high) in ((longitude, (-180, 360)), (latitude, (-90, 90)), (height, (0, 30_000))):
        good &= ((values >= low) & (values <= high)).all(axis=1)  # also false for what is no number
    for k in np.flatnonzero(~good).tolist():
        x0, y0, z0 = (v[k].tolist() for v in (longitude, latitude, height))
        try:
            make_receptor(
                _EPOCH, x0 if slanted[k] else x0[0], y0 if slanted[k] else y0[0], z0 if is_column[k] else z0[0]
            )
        except ValueError as error:
            raise ReceptorError(k, str(error)) from None
    x = np.where(x > 180, rounded((x + 180) % 360 - 180), x)
    upright = (x[:, 0] == x[:, 1]) & (y[:, 0] == y[:, 1])
    z[upright] = np.sort(z[upright], axis=1)
    return Receptors(minutes, x, y, z)


class ReceptorError(ValueError):
    """A row that cannot be a receptor.

    Parameters
    ----------
    row : int
        Which, from 0.
    message : str
        Why, and what is allowed.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def grid_receptors(
    time: dt.datetime, xmin: float, xmax: float, xres: float, ymin: float, ymax: float, yres: float, height: object
) -> Receptors:
    """Return receptors on the vertices of a grid, both ends included, x outermost.

    As stiltctl: ``round((max - min) / res)`` steps, coordinates rounded to 8 digits.

    Raises
    ------
    ValueError
        As :func:`make_receptor`.
    """
    first = make_receptor(time, xmin, ymin, height)  # type: ignore[arg-type]
    lon = np.array(
        [
            make_receptor(time, round(xmin + i * xres, 8), ymin, 1.0).longitudes[0]
            for i in range(round((xmax - xmin) / xres) + 1)
        ]
    )
    lat = np.array(
        [
            make_receptor(time, xmin, round(ymin + j * yres, 8), 1.0).latitudes[0]
            for j in range(round((ymax - ymin) / yres) + 1)
        ]
    )
    n = len(lon) * len(lat)
    return Receptors(
        np.full(n, int(first.time.timestamp()) // 60, np.int64),
        np.repeat(np.repeat(lon, len(lat))[:, None], 2, axis=1),
        np.repeat(np.tile(lat, len(lon))[:, None], 2, axis=1),
        np.tile(np.array([first.heights[0], first.heights[-1]]), (n, 1)),
    )
