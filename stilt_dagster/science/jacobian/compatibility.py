"""What must hold of jacobians that become one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.cells import Cells

#: What is done with an observation that is in two files: refuse them, or take the first.
Duplicates = Literal["refuse", "first"]


def require_one_grid(cells: Sequence[Cells], names: Sequence[str]) -> None:
    """Make sure that the columns of a time step mean the same in some files or matrices.

    Parameters
    ----------
    cells : sequence of GridCells or Regions
        Of each.
    names : sequence of str
        What errors call each.

    Raises
    ------
    JacobianError
        Naming two that differ.
    """
    for one, name in zip(cells, names, strict=True):
        if not one.is_same_as(cells[0]):
            raise JacobianError(
                f"{name} and {names[0]} are on different grids ({one}; {cells[0]}): coarsen each to one grid, then use "
                "concat_jacobians"
            )


def first_rows(ids: Sequence[Any], names: Sequence[str], duplicates: Duplicates) -> list[NDArray[np.bool_]]:
    """Return which rows of some files or matrices are the first of their observation.

    Parameters
    ----------
    ids : sequence of array_like of str
        Observations of each.
    names : sequence of str
        What errors call each.
    duplicates : {"refuse", "first"}
        Whether an observation may be there twice.

    Raises
    ------
    JacobianError
        Naming an observation that is there twice, and where, if it may not be.
    """
    import pandas as pd

    if not isinstance(duplicates, str) or duplicates not in ("refuse", "first"):
        raise JacobianError(f"duplicates is 'refuse' or 'first' (got {duplicates!r:.80})")
    counts = [len(i) for i in ids]
    every = pd.Index(np.concatenate([np.asarray(i, dtype=object) for i in ids]))
    first = ~np.asarray(every.duplicated())
    if duplicates == "refuse" and not first.all():
        again = int(np.flatnonzero(~first)[0])
        before = int(np.flatnonzero(every == every[again])[0])
        owner = np.repeat(np.arange(len(counts)), counts)
        one, other = names[owner[before]], names[owner[again]]
        if one == other and owner[before] != owner[again]:
            raise JacobianError(f"{one} is named twice: its observations would count twice; name it once")
        raise JacobianError(
            f"observation {every[again]} is in {one} and again in {other}: it would count twice; leave one out, or "
            "open them with duplicates='first'"
        )
    return np.split(first, np.cumsum(counts)[:-1])
