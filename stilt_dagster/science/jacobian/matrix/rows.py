"""Which observations are meant, by a mask, a slice, ids or numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError

if TYPE_CHECKING:
    import pandas as pd


def find_rows(obs: pd.DataFrame, rows: Any) -> NDArray[np.int64]:
    """Return the numbers of the rows that are meant, in the order they are named in.

    Parameters
    ----------
    obs : pandas.DataFrame
        The observations, by id.
    rows : mask, slice, id, or sequence of ids or numbers
        Numbers below zero count from the end.

    Raises
    ------
    JacobianError
        If there is no such row, or one is named twice.
    """
    n = len(obs)
    try:
        if isinstance(rows, slice):
            return np.arange(n)[rows]
        wanted = np.asarray([rows] if isinstance(rows, str) else rows)
    except (TypeError, ValueError, IndexError):  # slices of texts, sequences of sequences
        wanted = np.zeros(())
    if wanted.ndim != 1:
        raise JacobianError(f"rows are a mask, a slice of numbers, or a sequence of ids or numbers (got {rows!r:.80})")
    if wanted.dtype == bool:
        if len(wanted) != n:
            raise JacobianError(f"a mask of {n} rows is needed; this one has {len(wanted)}")
        return np.flatnonzero(wanted)
    if wanted.dtype.kind in "iu":
        places = wanted.astype(np.int64)
        outside = (places < -n) | (places >= n)
        if outside.any():
            raise JacobianError(f"there is no row {places[outside][0]} of {n}")
        places %= max(n, 1)
    else:
        places = obs.index.get_indexer(wanted.astype(object).tolist()).astype(np.int64)
        if np.any(places < 0):
            raise JacobianError(f"there is no observation {wanted[places < 0][0]}")
    if len(np.unique(places)) != len(places):
        raise JacobianError("a row is named twice: its observation would count twice")
    return places
