"""The mean wind in grid units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.transport.native.meteorology.projection import MapProjection, cells_per_metre


class MeanWind(NamedTuple):
    """The wind in grid units.

    Attributes
    ----------
    velocity : NDArray of float32, shape (nt, ny, nx, nz, 3)
        Cells, cells and metres of level height a minute. The components lie side by side, since each step of a
        particle reads all three at 32 places.
    times : NDArray of float64, shape (nt,)
        Ascending, minutes.
    a, b, c : float
        Heights of the levels without terrain: ``a k^2 + b k + c`` m, the lowest ``k = 1``.
    around_globe : bool
        Whether the last column lies beside the first.
    """

    velocity: NDArray[np.float32]
    times: NDArray[np.float64]
    a: float
    b: float
    c: float
    around_globe: bool


def mean_wind(
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    w: NDArray[np.float32],
    terrain: NDArray[np.float32],
    times: NDArray[np.float64],
    projection: MapProjection,
    level: NDArray[np.float64],
    z_top: float,
) -> MeanWind:
    """Return winds in grid units.

    Parameters
    ----------
    u, v, w : NDArray of float32, shape (nt, ny, nx, nz)
        Wind along the grid's x and y, and upwards, m s-1, on the internal levels.
    terrain : NDArray of float32, shape (nt, ny, nx)
        Height of the ground, m.
    times : NDArray of float64, shape (nt,)
        Ascending, minutes.
    projection : MapProjection
        That of the grid.
    level : NDArray of float64, shape (nz,)
        Heights of the levels without terrain, m, of the form that :class:`MeanWind` names.
    z_top : float
        Height of the model's top, m, to which levels follow the terrain.
    """
    velocity = np.empty((*u.shape, 3), np.float32)
    _fill(velocity, u, v, w, terrain, projection, z_top)
    first, second, third = (float(height) for height in level[:3])
    a = (third - 2.0 * second + first) / 2.0
    b = second - first - 3.0 * a
    return MeanWind(velocity, np.asarray(times, np.float64), a, b, first - a - b, projection.around_globe)


@kernel()
def _fill(
    velocity: NDArray[np.float32],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    w: NDArray[np.float32],
    terrain: NDArray[np.float32],
    projection: MapProjection,
    z_top: float,
) -> None:
    """Write winds in grid units a minute into *velocity*."""
    nt, ny, nx, nz = u.shape
    for j in range(ny):
        for i in range(nx):
            along_x, along_y = cells_per_metre(projection, i, j)
            for s in range(nt):
                stretch = level_height(1.0, terrain[s, j, i], z_top)
                for k in range(nz):
                    velocity[s, j, i, k, 0] = 60.0 * along_x * u[s, j, i, k]
                    velocity[s, j, i, k, 1] = 60.0 * along_y * v[s, j, i, k]
                    velocity[s, j, i, k, 2] = 60.0 * stretch * w[s, j, i, k]


@kernel()
def level_height(height: float, terrain: float, z_top: float) -> float:
    """Return the level height of a height above ground: levels crowd evenly over terrain, and end at *z_top*; m."""
    return height / (1.0 - terrain / z_top)
