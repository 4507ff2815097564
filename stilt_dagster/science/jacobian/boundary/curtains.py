"""By which cells of the grid's sides particles left, as arrays of height and place along the side."""

from __future__ import annotations

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.observations.boundary import SIDES


class Curtains:
    """By which cells of the grid's four sides the particles of a jacobian's observations left, read as it is asked for.

    Parameters
    ----------
    file : h5netcdf.File
        An open jacobian whose scene has a boundary.

    Attributes
    ----------
    heights : ndarray
        Middles of the bins of height, m.
    weights : ndarray
        What the particles of each observation stand for of it, shape ``(obs,)``; NaN of those that failed.

    Raises
    ------
    KeyError
        If the file has no boundary.
    """

    def __init__(self, file: h5netcdf.File) -> None:
        self._group = file.groups["boundary"]
        self._ny, self._nx = (file.dimensions[name].size for name in str(file.attrs["column_order"]).split()[1:])
        self.heights: NDArray[np.float64] = file.variables["boundary_height"][:]
        self.weights: NDArray[np.float64] = file.variables["hbc_weight"][:]

    def read(self, rows: slice) -> dict[str, NDArray[np.float32]]:
        """Return the share of particles by cell of each side, of some observations.

        Parameters
        ----------
        rows : slice
            Without a step. An observation takes ``8 heights (nx + ny)`` bytes.

        Returns
        -------
        dict of str to ndarray
            ``n`` and ``s`` of shape ``(obs, height, lon)``, ``e`` and ``w`` ``(obs, height, lat)``; ``x``, ``y`` of a
            projected grid. With the shares of what left by the top and of what never left, which ``hbc`` has, they sum
            to 1 over all four. NaN of observations that have none.

        Raises
        ------
        JacobianError
            If the file is damaged.
        """
        start, stop, _ = rows.indices(len(self._group.variables["indptr"]) - 1)
        indptr = self._group.variables["indptr"][start : max(start, stop) + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        cells = self._group.variables["cell"][entries].astype(np.int64)
        shares = self._group.variables["share"][entries]
        if np.any(np.diff(indptr) < 0) or not len(cells) == len(shares) == indptr[-1] - indptr[0]:
            raise JacobianError("the jacobian is damaged: rows of its boundary do not end where the next begin")
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        found: dict[str, NDArray[np.float32]] = {}
        first = 0
        for side, width in zip(SIDES[:4], (self._nx, self._ny, self._nx, self._ny), strict=True):
            size = len(self.heights) * width
            out = np.zeros((len(indptr) - 1, size), np.float32)
            here = (cells >= first) & (cells < first + size)
            out[row[here], cells[here] - first] = shares[here]
            out[np.diff(indptr) == 0] = np.nan
            found[side[0]] = out.reshape(-1, len(self.heights), width)
            first += size
        return found
