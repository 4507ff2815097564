"""Where, when and how far away the influence on a scene's receptors is, from its jacobian, read a block at a time."""

from __future__ import annotations

from dataclasses import dataclass

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.scenes.grid import EARTH_RADIUS, Grid

#: Most cells of the map a side: a finer grid is summed in blocks.
MAP_CELLS = 360

#: Entries read at a time.
_BLOCK = 1 << 20

#: Edges of the bins of distance, km: ten a decade.
_DISTANCES = 10.0 ** np.arange(0.0, 4.31, 0.1)


@dataclass(frozen=True)
class Influence:
    """The influence on all receptors of a scene, ppm (umol m-2 s-1)-1.

    Attributes
    ----------
    field : ndarray
        Sum over receptors and hours, shape ``(y, x)``, south and west first; cells summed in blocks of a fine grid.
    block : int
        How many cells of the grid a side went into one of *field*.
    extent : tuple of float
        Edges ``(x0, x1, y0, y1)`` of *field*, degrees or units of the projection.
    by_hour : ndarray or None
        Sum by hour before the hour of release, shape ``(n,)``; None where the scene is integrated over time.
    by_distance : ndarray
        Sum by distance of the cell from the receptor, shape ``(n,)``.
    distances : ndarray
        Edges of these bins, km, shape ``(n + 1,)``.
    """

    field: NDArray[np.float64]
    block: int
    extent: tuple[float, float, float, float]
    by_hour: NDArray[np.float64] | None
    by_distance: NDArray[np.float64]
    distances: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Influence on all receptors together."""
        return float(self.by_distance.sum())

    def distance_of(self, share: float) -> float:
        """Return within how many km a share of the influence lies, linear inside a bin; NaN without influence."""
        if self.total <= 0:
            return float("nan")
        inside = np.r_[0.0, np.cumsum(self.by_distance)] / self.total
        return float(np.interp(share, np.maximum.accumulate(inside), self.distances))


def read_influence(file: h5netcdf.File, grid: Grid, minutes: NDArray[np.int64], places: NDArray) -> Influence:
    """Sum a jacobian over its rows, in memory that does not grow with them.

    The distance is that of the cell's centre on a sphere, from the chord between both points:
    ``d = 2 R asin(chord / 2)``.

    Parameters
    ----------
    file : h5netcdf.File
        A ``stilt-jacobian/1``.
    grid : Grid
        Its grid.
    minutes : ndarray of int64
        Release times, minutes since 1970 UTC, shape ``(obs,)``.
    places : ndarray
        Longitude and latitude of the receptors, degrees, shape ``(2, obs)``.
    """
    n_cells = grid.ny * grid.nx
    starts = file.variables["flux_time_bnds"][:, 0]
    hours = starts.astype(np.int64)
    integrated = bool(np.any(np.diff(file.variables["flux_time_bnds"][:], axis=1) != 1))
    # An hour ends with the full hour: what is released at 12:00 feels the hour from 11 first.
    released = (minutes - 1) // 60
    cells, receptors = _on_sphere(*_centres(grid)), _on_sphere(*places)
    limits = (2 * np.sin(np.minimum(_DISTANCES[1:-1] * 500.0 / EARTH_RADIUS, np.pi / 2))) ** 2
    field, by_distance = np.zeros(n_cells), np.zeros(len(_DISTANCES) - 1)
    by_hour = np.zeros(int(released.max() - hours.min()) + 1)
    data, indices, indptr = (file.variables[name] for name in ("data", "indices", "indptr"))
    bounds = indptr[:]
    for start in range(0, int(bounds[-1]), _BLOCK):
        values = data[start : start + _BLOCK].astype(np.float64)
        columns = indices[start : start + _BLOCK].astype(np.int64)
        rows = _rows_of(bounds, start, start + len(values))
        hour, cell = np.divmod(columns, n_cells)
        np.add.at(field, cell, values)
        if not integrated:
            by_hour += np.bincount(released[rows] - hours[hour], values, len(by_hour))
        chord = sum((c[cell] - r[rows]) ** 2 for c, r in zip(cells, receptors, strict=True))
        by_distance += np.bincount(np.searchsorted(limits, chord), values, len(by_distance))
    block = max(1, -(-max(grid.ny, grid.nx) // MAP_CELLS))
    x0, _, y0, _ = grid.extent
    summed = _in_blocks(field.reshape(grid.ny, grid.nx), block)
    extent = (
        x0,
        x0 + summed.shape[1] * block * grid.xres,
        y0,
        y0 + summed.shape[0] * block * grid.yres,
    )
    return Influence(summed, block, extent, None if integrated else by_hour, by_distance, _DISTANCES)


def _centres(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of all cells' centres, degrees, in C order."""
    x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
    if grid.is_longlat:
        return x, y
    lon, lat = grid.transformer.transform(x, y, direction="INVERSE")
    return np.asarray(lon), np.asarray(lat)


def _on_sphere(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Return points of the unit sphere; single precision is 0.4 m on Earth."""
    lam, phi = np.radians(lon), np.radians(lat)
    return [v.astype(np.float32) for v in (np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi))]


def _rows_of(indptr: NDArray[np.int64], start: int, stop: int) -> NDArray[np.int64]:
    """Return the row of each entry from *start* to *stop*."""
    first = int(np.searchsorted(indptr, start, "right")) - 1
    last = int(np.searchsorted(indptr, stop, "left"))
    counts = np.diff(np.clip(indptr[first : last + 1], start, stop)).astype(np.int64)
    return np.repeat(np.arange(first, last), counts)


def _in_blocks(field: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """Return a field summed over blocks of cells, the last of each axis filled up with zeros."""
    if block == 1:
        return field
    ny, nx = (-(-n // block) * block for n in field.shape)
    padded = np.pad(field, ((0, ny - field.shape[0]), (0, nx - field.shape[1])))
    summed: NDArray[np.float64] = padded.reshape(ny // block, block, nx // block, block).sum(axis=(1, 3))
    return summed
