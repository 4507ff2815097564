"""What must hold of a jacobian, read from its file a block of entries at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.footprints.footprint_files import STATUS
from stilt_dagster.science.scratch import Source

#: Entries read at a time.
_BLOCK = 1 << 20

#: Largest difference of a row's sum from its footprint's, as a share: both are sums of float32.
ROW_SUM_TOLERANCE = 1e-6

#: Robust standard deviations, of the logarithm, by which a row's sum may differ from the median of its scene.
_PLAUSIBLE = 6.0

#: Rows it takes to speak of a scene's spread.
_ROWS_OF_A_SPREAD = 8


@dataclass(frozen=True)
class Examined:
    """What a jacobian's file holds.

    Attributes
    ----------
    ids : list of str
        Observations, in the order of the rows.
    status : ndarray
        Index into :data:`~stilt_dagster.science.footprints.footprint_files.STATUS` of each.
    sums, magnitudes : ndarray
        Sum of each row's entries as they are in the file, and of their absolute values, ppm (umol m-2 s-1)-1.
    row_sum, foot_sum : ndarray
        What the file says of each row's sum, and of its footprint's; the latter NaN where it is not known.
    felt : ndarray, shape (obs, 2)
        First and last time each observation can feel fluxes of, hours since 1970.
    hours : tuple of float
        First and last time of fluxes the columns cover, hours since 1970.
    structure : dict of str to bool
        What must be true of the matrix.
    """

    ids: list[str]
    status: NDArray[np.int8]
    sums: NDArray[np.float64]
    magnitudes: NDArray[np.float64]
    row_sum: NDArray[np.float64]
    foot_sum: NDArray[np.float64]
    felt: NDArray[np.float64]
    hours: tuple[float, float]
    structure: dict[str, bool]

    @property
    def outcomes(self) -> dict[str, int]:
        """Observations by outcome."""
        return {name: int(np.count_nonzero(self.status == k)) for k, name in enumerate(STATUS)}

    @property
    def differing_rows(self) -> NDArray[np.intp]:
        """Rows whose entries do not sum to what the file says, or to their footprint."""
        bound = ROW_SUM_TOLERANCE * self.magnitudes + np.finfo(np.float32).tiny
        wrong = ~(np.abs(self.sums - self.row_sum) <= bound)
        known = ~np.isnan(self.foot_sum)
        wrong[known] |= ~(np.abs(self.sums - self.foot_sum)[known] <= bound[known])
        return np.flatnonzero(wrong)

    @property
    def rows_outside_hours(self) -> NDArray[np.intp]:
        """Rows of observations that can feel fluxes of hours that have no column."""
        first, last = self.hours
        return np.flatnonzero((self.felt[:, 0] < first - 1e-6) | (self.felt[:, 1] > last + 1e-6))


def examine(source: Source, ids: Sequence[str], n_hours: int, *, signed: bool) -> Examined:
    """Read a jacobian once, a block of entries at a time.

    Parameters
    ----------
    source : Path or BinaryIO
        The file.
    ids : sequence of str
        The scene's receptors, in order.
    n_hours : int
        Hours of the runs, negative.
    signed : bool
        Entries may be below zero: a retrieval's averaging kernel may, and then so is what it weights.
    """
    with h5netcdf.File(source, "r") as file:
        found = [v.decode() if isinstance(v, bytes) else v for v in file.variables["obs_id"][:]]
        indptr, status = file.variables["indptr"][:], file.variables["status"][:]
        data, indices = file.variables["data"], file.variables["indices"]
        n_columns = int(file.attrs["shape"][1])
        n_rows = len(indptr) - 1
        finite = positive = in_range = ascending = True
        sums, magnitudes = np.zeros(n_rows), np.zeros(n_rows)
        last_row, last_column = -1, -1
        for start in range(0, int(indptr[-1]), _BLOCK):
            values = data[start : start + _BLOCK].astype(np.float64)
            columns = indices[start : start + _BLOCK].astype(np.int64)
            rows = np.searchsorted(indptr, np.arange(start, start + len(values)), side="right") - 1
            sums += np.bincount(rows, values, n_rows)
            magnitudes += np.bincount(rows, np.abs(values), n_rows)
            finite &= bool(np.isfinite(values).all())
            positive &= signed or bool((values >= 0).all())
            in_range &= bool((columns >= 0).all() and (columns < n_columns).all())
            same_row = np.diff(np.r_[last_row, rows]) == 0
            ascending &= bool(np.all(np.diff(np.r_[last_column, columns])[same_row] > 0))
            last_row, last_column = int(rows[-1]), int(columns[-1])
        minutes = file.variables["time"][:]
        bounds = file.variables["flux_time_bnds"][:]
        known = "foot_sum" in file.variables
        structure = {
            "a row for every receptor": found == list(ids),
            "finite": finite,
            "not negative": positive,
            "columns in range": in_range,
            "columns ascending": ascending,
            "only ok rows hold entries": bool(np.all(np.diff(indptr)[status != 0] == 0)),
        }
        return Examined(
            found,
            status,
            sums,
            magnitudes,
            file.variables["row_sum"][:],
            np.where(status == 2, np.nan, file.variables["foot_sum"][:]) if known else np.full(n_rows, np.nan),
            np.column_stack([minutes / 60 + n_hours, minutes / 60]),
            (float(bounds.min()), float(bounds.max())),
            structure,
        )


def outliers(sums: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return which sums lie far from the others of their scene, the farthest first.

    Influence is positive and spreads over orders of magnitude, so it is judged by its logarithm: farther from the
    median than six times the scaled median absolute deviation, ``1.4826 median(|x - median(x)|)``, which estimates a
    standard deviation without the outliers themselves (Rousseeuw and Croux 1993, doi:10.1080/01621459.1993.10476408).

    Parameters
    ----------
    sums : ndarray
        Row sums; those that are not above zero are left out.

    Returns
    -------
    ndarray of int
        Places in *sums*; none where there are fewer than eight to judge by.
    """
    places = np.flatnonzero(sums > 0)
    if len(places) < _ROWS_OF_A_SPREAD:
        return places[:0]
    logs = np.log(sums[places])
    distance = np.abs(logs - np.median(logs))
    # Identical receptors have no spread: a tenth of a magnitude is not implausible.
    scale = max(1.4826 * float(np.median(distance)), 0.1)
    far = np.flatnonzero(distance > _PLAUSIBLE * scale)
    return places[far[np.argsort(-distance[far], kind="stable")]]
