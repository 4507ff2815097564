"""What a report says in numbers, read from a jacobian in memory that does not grow with its entries."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.files.format_numbers import JACOBIAN_FORMAT
from stilt_dagster.science.footprints.footprint_files import STATUS
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.outcomes import Escapes
from stilt_dagster.science.report.influence import Influence, read_influence
from stilt_dagster.science.report.observations import Observations, read_observations
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import Source

#: Share of the influence that may lie outside the grid before a person should look.
_OUTSIDE = 0.5

#: Receptors whose particles are shown from the side.
_SAMPLES = 3

_OK, _EMPTY, _FAILED = range(3)


@dataclass(frozen=True)
class Rows:
    """The observations of a jacobian, one row each; arrays of shape ``(obs,)``.

    Attributes
    ----------
    ids : list of str
        Receptors.
    minutes : ndarray of int64
        Release times, minutes since 1970 UTC.
    lon, lat : ndarray
        Of the lower end of a column, degrees.
    status : ndarray of int8
        Places in :data:`~stilt_dagster.science.footprints.footprint_files.STATUS`.
    row_sum, row_sum_error : ndarray
        Influence of all cells and hours, and its Monte-Carlo standard error, ppm (umol m-2 s-1)-1; the latter NaN where
        it was not kept.
    n_particles, hours_covered, escaped, outside : ndarray
        Particles; hours followed; shares of particles out of the meteorology and of influence off the grid.
    reason, message : list of str
        Of failed ones, why.
    """

    ids: list[str]
    minutes: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    status: NDArray[np.int8]
    row_sum: NDArray[np.float64]
    row_sum_error: NDArray[np.float64]
    n_particles: NDArray[np.int64]
    hours_covered: NDArray[np.float64]
    escaped: NDArray[np.float64]
    outside: NDArray[np.float64]
    reason: list[str]
    message: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> dict[str, int]:
        """Receptors by outcome."""
        return {name: int(np.count_nonzero(self.status == k)) for k, name in enumerate(STATUS)}

    @property
    def failed(self) -> list[int]:
        """Places of the failed ones."""
        return [int(k) for k in np.flatnonzero(self.status == _FAILED)]

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Failed receptors by reason, the most frequent first."""
        return Counter(self.reason[k] for k in self.failed).most_common()

    @property
    def samples(self) -> list[str]:
        """Receptors that stand for the others: those of the median, the least and the largest influence."""
        ok = np.flatnonzero(self.status == _OK)
        order = ok[np.argsort(self.row_sum[ok], kind="stable")]
        places = [len(order) // 2, 0, len(order) - 1] if len(order) else []
        return [self.ids[order[k]] for k in dict.fromkeys(places)][:_SAMPLES]

    def thinned(self, most: int) -> NDArray[np.int64]:
        """Return the places of at most *most* of them: failed ones first, then evenly spread ones."""
        if len(self) <= most:
            return np.arange(len(self))
        failed, others = np.flatnonzero(self.status == _FAILED), np.flatnonzero(self.status != _FAILED)
        left = max(most - len(failed), 0)
        chosen = others[np.linspace(0, len(others) - 1, left).astype(np.int64)] if left and len(others) else others[:0]
        return np.sort(np.r_[failed[:most], chosen])


@dataclass(frozen=True)
class Summary:
    """What a report says of a scene's jacobian.

    Attributes
    ----------
    rows : Rows
        Its observations.
    influence : Influence
        Where, when and how far away they are influenced.
    observations : Observations or None
        Of a retrieval what was observed.
    attributes : dict of str to str
        Global attributes of the file: versions, digests.
    size : tuple of int
        Shape of the matrix.
    entries : int
        Entries that are not zero.
    hours : tuple of datetime
        First and last moment of the hours of flux, UTC.
    """

    rows: Rows
    influence: Influence
    observations: Observations | None
    attributes: dict[str, str]
    size: tuple[int, int]
    entries: int
    hours: tuple[dt.datetime, dt.datetime]


def read_summary(source: Source, scene: Scene) -> Summary:
    """Read a scene's jacobian, a block at a time.

    Raises
    ------
    OSError, KeyError, ValueError
        If the file is not a whole ``stilt-jacobian/1`` on the scene's grid.
    """
    with h5netcdf.File(source, "r") as file:
        attributes = {k: str(v) for k, v in file.attrs.items() if np.isscalar(v)}
        if attributes.get("format") != JACOBIAN_FORMAT:
            raise ValueError(f"its format is not {JACOBIAN_FORMAT}")
        rows, grid = _read_rows(file), scene.footprint.grid
        n_hours = file.dimensions["flux_time"].size
        shape = (len(rows), n_hours * grid.ny * grid.nx)
        if tuple(int(n) for n in file.attrs["shape"]) != shape:
            raise ValueError("it is on another grid than the scene")
        bounds = file.variables["flux_time_bnds"][:]
        return Summary(
            rows,
            read_influence(file, grid, rows.minutes, np.array([rows.lon, rows.lat])),
            read_observations(file),
            attributes,
            shape,
            int(file.variables["indptr"][-1]),
            (moment(60 * bounds[0, 0]), moment(60 * bounds[-1, 1])),
        )


def _read_rows(file: h5netcdf.File) -> Rows:
    def text(name: str) -> list[str]:
        return [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in file.variables[name][:]]

    def numbers(name: str) -> NDArray[np.float64]:
        return np.asarray(file.variables[name][:], np.float64)

    row_sum = numbers("row_sum")
    return Rows(
        text("obs_id"),
        numbers("time").astype(np.int64),
        numbers("longitude"),
        numbers("latitude"),
        file.variables["status"][:].astype(np.int8),
        row_sum,
        numbers("row_sum_error") if "row_sum_error" in file.variables else np.full(len(row_sum), np.nan),
        numbers("n_particles").astype(np.int64),
        numbers("hours_covered"),
        numbers("escaped_fraction"),
        numbers("outside_fraction"),
        text("reason"),
        text("message"),
    )


def moment(minutes: float) -> dt.datetime:
    """Return minutes since 1970 as a time, UTC."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=float(minutes))


def escapes_of(rows: Rows) -> Escapes:
    """Return how many particles left the meteorology, and the receptors that lost the largest shares."""
    escaped = rows.n_particles * rows.escaped
    order = np.argsort(-rows.escaped, kind="stable")[:5]
    worst = [{"receptor": rows.ids[k], "escaped_fraction": float(rows.escaped[k])} for k in order if rows.escaped[k]]
    return Escapes(float(rows.n_particles.sum()), float(escaped.sum()), worst=worst)


def find_warnings(scene: Scene, summary: Summary, description: Description | None) -> list[str]:
    """Return what a person should look at before using the matrix, a line each."""
    # What reads ARL files takes a while to import, and mostly no particle leaves.
    rows, found = summary.rows, []
    counts, escapes = rows.counts, escapes_of(summary.rows)
    if counts["failed"]:
        found.append(
            f"{counts['failed']:,} of {len(rows):,} receptor{'' if len(rows) == 1 else 's'} failed. Their rows are no "
            "measurement: leave them out of an inversion (status is 2)"
        )
    if escapes.are_many and description is not None:
        from stilt_dagster.science.meteorology.extent.margin import escape_warning

        worst = ", ".join(f"{w['receptor']} ({w['escaped_fraction']:.0%})" for w in escapes.worst)
        found.append(f"{escape_warning(scene, description.grids, escapes)}. Most of all {worst}")
    if description is not None and description.outside:
        some = _some(description.outside)
        n = len(description.outside)
        found.append(f"{n:,} receptor{' lies' if n == 1 else 's lie'} outside the meteorology: {some}")
    used = rows.status != _FAILED
    short = used & (rows.hours_covered < abs(scene.transport.n_hours) - 0.1)
    if short.any():
        some = _some([rows.ids[k] for k in np.flatnonzero(short)[:4]])
        found.append(
            f"particles of {int(short.sum()):,} receptor{'' if short.sum() == 1 else 's'} were followed for less than "
            f"{abs(scene.transport.n_hours)} h: {some}"
        )
    outside = float(rows.outside[rows.status == _OK].mean()) if counts["ok"] else 0.0
    if outside > _OUTSIDE:
        found.append(f"{outside:.0%} of the influence lies outside the footprint's grid: a larger one would hold more")
    if counts["ok"] == 0:
        found.append("no receptor is influenced by the grid: check that it lies upwind of the receptors")
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
