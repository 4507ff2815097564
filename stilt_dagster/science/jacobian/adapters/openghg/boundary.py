"""Where air came in, in OpenGHG's files: by which cells of the four sides of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import h5netcdf
import numpy as np
from numpy.typing import NDArray

#: Sides of the domain.
SIDES = ("n", "e", "s", "w")

#: Middles of bins of height, m, where no observation's boundary is known: NAME's.
NAME_HEIGHTS = np.arange(500.0, 20_000.0, 1000.0)


class Curtains(Protocol):
    """By which cells of the domain's sides the air of each observation came in."""

    @property
    def heights(self) -> NDArray[np.float64]:
        """Middles of the bins of height, m."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """What the particles of each observation stand for of it: 1 of a point, less of a column, shape ``(rows,)``."""

    def read(self, rows: slice) -> Mapping[str, NDArray[np.float32]]:
        """Return the share of particles by cell of each side, for some rows.

        ``n`` and ``s`` have shape ``(rows, height, lon)``, ``e`` and ``w`` ``(rows, height, lat)``.
        """


def side_shares(
    shares: Mapping[str, NDArray[np.float32]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return shares by side that sum to what the particles stand for, over the four sides of each row.

    Those that came in by no side, from above or from within, are taken to have come in as the others did. NaN where no
    particle came in by a side.

    Parameters
    ----------
    shares : dict of str to ndarray
        Shares of particles by side, shape ``(rows, height, along)``.
    weights : ndarray, shape (rows,)
        What the particles of each row stand for.
    """
    sums = np.sum([shares[side].sum(axis=(1, 2), dtype=np.float64) for side in SIDES], axis=0)
    factor = np.full(len(sums), np.nan)
    np.divide(weights, sums, out=factor, where=sums > 0)
    return {side: shares[side] * factor[:, None, None] for side in SIDES}


def write_curtains(
    file: h5netcdf.File,
    places: NDArray[np.intp],
    shares: Mapping[str, NDArray[np.float32]],
    weights: NDArray[np.float64],
) -> None:
    """Write by which cells the air of some rows came in."""
    for side, values in side_shares(shares, weights).items():
        variable = file.variables[f"particle_locations_{side}"]
        for place, share in zip(places.tolist(), values, strict=True):
            variable[place] = share.T.astype(np.float32)
