"""How high the air was that reached some receptors: heights of their particles by hour before release."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import DamagedError, UserError
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.transport.particle_tables import column_of, positions
from stilt_dagster.science.transport.trajectories import read_part

#: Bins of height and of time of the picture.
_HEIGHTS, _TIMES = 60, 120

#: Particles drawn one by one.
_DOTS = 3000


@dataclass(frozen=True)
class Plume:
    """Particles of some receptors, seen from the side.

    Attributes
    ----------
    receptors : list of str
        Which.
    density : ndarray
        Share of the particles of a time in each bin of height, shape ``(height, time)``; each column sums to 1 at most.
    top, hours : float
        Upper edge of the highest bin, m above ground, and far edge of the last, hours before release.
    hourly : ndarray
        By full hour before release, from 0: hour, the heights that 10, 50 and 90 % of the particles are below, and the
        mean mixing height (NaN where it was not kept), m above ground; shape ``(n, 5)``.
    dots : ndarray
        Of the first receptor: longitude (degrees), height (m above ground) and hours before release, shape ``(3, n)``.
    """

    receptors: list[str]
    density: NDArray[np.float64]
    top: float
    hours: float
    hourly: NDArray[np.float64]
    dots: NDArray[np.float64]


def sample_plume(
    shards: Mapping[str, Sequence[Batch]], folder_of: Callable[[str], IndexedFolder], wanted: Sequence[str]
) -> Plume | None:
    """Return the particles of some receptors, seen from the side; None if none of them is kept, or without heights.

    Parameters
    ----------
    shards : mapping of str to sequence of Batch
        Every batch of the scene.
    folder_of : callable
        The store's folder of a shard's trajectories.
    wanted : sequence of str
        Ids of receptors.
    """
    found = [(receptor, table) for receptor in wanted if (table := _particles(shards, folder_of, receptor)) is not None]
    if not found:
        return None
    age, height, mixed, lon = (
        [column for _, table in found for column in [_column(table, name)]] for name in ("age", "zagl", "mlht", "lon")
    )
    hours, zagl, mlht = np.concatenate(age) / 60, np.concatenate(height), np.concatenate(mixed)
    last = max(float(np.ceil(hours.max())), 1.0)
    top = _round_up(float(np.percentile(zagl, 99.5)))
    counts, _, _ = np.histogram2d(zagl, hours, (_HEIGHTS, _TIMES), ((0.0, top), (0.0, last)))
    alive, _ = np.histogram(hours, _TIMES, (0.0, last))
    hourly = []
    for hour in range(int(last) + 1):
        # The first rows are a minute old.
        at = np.round(hours * 60) == max(hour * 60, 1)
        if at.any():
            with np.errstate(invalid="ignore"):
                hourly.append([hour, *np.percentile(zagl[at], (10, 50, 90)), mlht[at].mean()])
    some = np.linspace(0, len(age[0]) - 1, min(len(age[0]), _DOTS)).astype(int)
    return Plume(
        [receptor for receptor, _ in found],
        counts / np.maximum(alive, 1),
        top,
        last,
        np.array(hourly, np.float64).reshape(-1, 5),
        np.array([lon[0][some], height[0][some], age[0][some] / 60]),
    )


def _particles(
    shards: Mapping[str, Sequence[Batch]], folder_of: Callable[[str], IndexedFolder], receptor: str
) -> pa.Table | None:
    """Return a receptor's particles, if its part is there, whole, and has their heights."""
    for batch in (b for members in shards.values() for b in members):
        if receptor not in batch.receptors.ids:
            continue
        try:
            part = read_part(folder_of(batch.shard), batch)
            if part is None:
                return None
            with closing(part):
                columns = [c for c in ("particle", "age", "lon", "lat", "foot", "zagl", "mlht") if c in part.columns]
                if "zagl" not in columns:
                    return None
                return next((table for name, table in part.tables(columns) if name == receptor), None)
        except (DamagedError, UserError):
            return None  # the run that makes particles says so; a report shows what there is
    return None


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return minutes since release, degrees, or metres; NaN for what was not kept."""
    if name == "age":
        return np.asarray(np.abs(positions(table)[1]), np.float64)
    if name == "lon":
        return np.asarray(positions(table)[2], np.float64)
    return column_of(table, name) if name in table.column_names else np.full(len(table), np.nan, np.float64)


def _round_up(height: float) -> float:
    """Return a height as the top of an axis: two digits, 100 m at least."""
    step = 10 ** max(np.floor(np.log10(max(height, 1.0))) - 1, 1)
    return float(max(np.ceil(height / step) * step, 100.0))
