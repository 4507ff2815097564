"""Particles to footprint: R STILT's ``calc_footprint``, as compiled loops.

The footprint of a receptor is the sum over its particles' steps of ``foot``, spread by a Gaussian kernel that widens
with the particles' spread and age, divided by the number of particles (Lin et al. 2003; Fasoli et al. 2018, GMD 11,
2813, whose ``calc_footprint.r`` the rules are from). It is cut into layers twice in one pass: by hours before the
release, as STILT counts them, and by hours of UTC, as fluxes come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.footprints.kernels import (
    bin_cells,
    interpolate_tracks,
    kernel_widths,
    median_steps,
    since_first_step,
    stamp_kernels,
)
from stilt_dagster.science.footprints.row_error import particles_at_first_end, row_sum_error
from stilt_dagster.science.observations.column_operator import redistributed_weights
from stilt_dagster.science.scenes.grid import Grid

Floats = NDArray[np.float64]

#: R STILT's interpolation times for the first 100 minutes, in tenths of a minute.
_FINE_TIMES = np.concatenate([np.arange(0, 101), np.arange(102, 201, 2), np.arange(205, 1001, 5)]).astype(np.int64)


@dataclass(frozen=True)
class Layer:
    """The part of a footprint in one layer that is not zero everywhere.

    Attributes
    ----------
    hour : int
        The layer: hours from release (-1 is the first hour back), or hours since the UTC hour before release (0).
    y, x : int
        Row and column of the window's south-west cell.
    values : ndarray of float32
        Shape ``(rows, columns)``, ppm (umol m-2 s-1)-1.
    """

    hour: int
    y: int
    x: int
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Footprint:
    """The footprint of one receptor.

    Attributes
    ----------
    layers : tuple of Layer
        By hours from release, the latest first; one with hour -1 where time is integrated.
    utc_layers : tuple of Layer
        By hours of UTC, counted from the hour of release (0, -1, ...), the earliest first.
    total : float
        Sum over particles of ``foot`` divided by their number: all influence, inside the grid or not.
    outside : float
        Influence that fell outside the grid, counted where it was dropped: not the difference of the others.
    magnitude : float
        As *total*, of absolute values: weights may be below zero.
    error : float
        Monte-Carlo standard error of *gridded*, see :mod:`stilt_dagster.science.footprints.row_error`; NaN where
        particles are too few to tell.
    """

    layers: tuple[Layer, ...]
    utc_layers: tuple[Layer, ...]
    total: float
    outside: float = 0.0
    magnitude: float = 0.0
    error: float = 0.0

    @cached_property
    def gridded(self) -> float:
        """Influence on the grid: the sum of the layers."""
        return sum(float(layer.values.sum(dtype=np.float64)) for layer in self.layers)

    @property
    def imbalance(self) -> float:
        """What is missing of, or is too much for, ``gridded + outside = total``, as a share of the magnitude."""
        return abs(self.gridded + self.outside - self.total) / self.magnitude if self.magnitude > 0 else 0.0

    @property
    def is_empty(self) -> bool:
        """Whether the receptor feels nothing of the grid."""
        return not self.layers

    def dense(self, grid: Grid, n_layers: int) -> NDArray[np.float32]:
        """Return the footprint as an array ``(layer, lat, lon)``, hour -1 first."""
        out = np.zeros((n_layers, grid.ny, grid.nx), np.float32)
        for layer in self.layers:
            rows, columns = layer.values.shape
            out[-1 - layer.hour, layer.y : layer.y + rows, layer.x : layer.x + columns] = layer.values
        return out


def calculate_footprint(
    particle: NDArray[np.int32],
    age: NDArray[np.int32] | Floats,
    lon: Floats,
    lat: Floats,
    foot: Floats,
    grid: Grid,
    *,
    minute: int = 0,
    smooth_factor: float = 1.0,
    time_integrate: bool = False,
    weights: Floats | None = None,
    lifetime: float | None = None,
    slabs: int | None = None,
    slanted: bool = False,
) -> Footprint:
    """Calculate the footprint of one receptor.

    Parameters
    ----------
    particle, age, lon, lat, foot : ndarray
        A backward particle table, shape ``(rows,)``, sorted by particle, then by time since release: number, minutes
        since release (negative), degrees, and influence in ppm (umol m-2 s-1)-1.
    grid : Grid
        Where to put it.
    minute : int
        Minute of the hour of the release, which decides the hour of UTC a step falls into.
    smooth_factor : float
        Factor on the kernel's width.
    time_integrate : bool
        One layer instead of one an hour.
    weights : ndarray, optional
        What each particle counts, shape ``(numpar,)``, particle 1 first, in place of one over their number: see
        :mod:`stilt_dagster.science.observations.column_operator`. Where particles go and how wide they are spread
        stays as it is.
    lifetime : float, optional
        First-order lifetime of the gas, h: a step counts ``exp(-time since / lifetime)``.
    slabs : int, optional
        Of a column: in how many slabs of height its particles were released, one each an ensemble. It changes nothing
        but :attr:`Footprint.error`.
    slanted : bool
        Of a column: whether it is.

    Returns
    -------
    Footprint
        Without layers, if no particle touches the grid.
    """
    time = np.rint(np.asarray(age, np.float64) * 10).astype(np.int64)  # tenths of a minute, exact
    start = np.flatnonzero(np.r_[True, np.diff(particle) != 0])
    stop = np.append(start[1:], len(particle))
    n_particles, number = len(start), particle[start]
    total = float(foot.sum()) / n_particles
    slab = None if slabs is None else (number.astype(np.int64) - 1) % slabs
    split = particles_at_first_end(lon[start], lat[start]) if slanted else 0
    if grid.wraps:
        lon = lon % 360
    if _jumps_cells(time, lon, lat, start, stop, grid):
        time, lon, lat, foot, start, stop = _interpolate(time, lon, lat, foot, start, stop)
    if weights is not None:
        foot = foot * np.repeat(redistributed_weights(weights, number) * n_particles, stop - start)
    if lifetime is not None:
        foot = foot * np.exp(time / (600.0 * lifetime))
    if weights is not None or lifetime is not None:
        total = float(foot.sum()) / n_particles
    elapsed = since_first_step(time, start, stop)
    x, y = lon, lat
    if not grid.is_longlat:
        x, y = (np.asarray(v, np.float64) for v in grid.transformer.transform(lon, lat))
    width_of = kernel_widths(elapsed, x, y, smooth_factor, grid.is_longlat)
    x0, x1, y0, y1 = grid.extent
    nx, ny = grid.nx, grid.ny
    halves_x = np.floor(3 * width_of / grid.xres).astype(np.int64)
    halves_y = np.floor(3 * width_of / grid.yres).astype(np.int64)
    half_x, half_y = int(halves_x.max(initial=0)), int(halves_y.max(initial=0))
    keep = (
        (foot != 0)  # weights may be below zero
        & (x >= x0 - half_x * grid.xres)
        & (x < x1 + half_x * grid.xres)
        & (y >= y0 - half_y * grid.yres)
        & (y < y1 + half_y * grid.yres)
    )
    magnitude = float(np.abs(foot).sum()) / n_particles
    outside = float(foot[~keep].sum()) / n_particles
    if not keep.any():
        return Footprint((), (), total, outside, magnitude)
    place = np.repeat(np.arange(n_particles), stop - start)[keep]
    time, elapsed, x, y, foot = time[keep], elapsed[keep], x[keep], y[keep], foot[keep]
    # R's buffered lower-left edges, one whole kernel beyond the grid on each side.
    pad_x, pad_y = 2 * half_x + 1, 2 * half_y + 1
    column = bin_cells(x, x0 - pad_x * grid.xres, grid.xres, nx + 2 * pad_x) - pad_x
    row = bin_cells(y, y0 - pad_y * grid.yres, grid.yres, ny + 2 * pad_y) - pad_y
    hour = np.full(len(time), -1) if time_integrate else np.minimum(time // 600, -1)
    utc = np.zeros(len(time), np.int64) if time_integrate else (time + 10 * minute) // 600
    # Steps of one layer and one UTC hour together, each such piece gridded once.
    piece = hour * 100_000 + utc
    order = np.lexsort((elapsed, -piece))
    bounds = np.flatnonzero(np.r_[True, np.diff(piece[order]) != 0, True])
    sums, contributions = _Sums(ny, nx, n_particles), np.zeros(n_particles)
    for begin, end in pairwise(bounds):
        part = order[begin:end]
        *window, beyond = stamp_kernels(
            row[part],
            column[part],
            foot[part],
            elapsed[part],
            place[part],
            width_of,
            halves_y,
            halves_x,
            grid.yres,
            grid.xres,
            sums.piece,
            contributions,
        )
        sums.add(int(hour[part[0]]), int(utc[part[0]]), window)
        outside += beyond / n_particles
    layers, utc_layers = sums.finish()
    return Footprint(layers, utc_layers, total, outside, magnitude, row_sum_error(contributions, slab, split))


class _Sums:
    """Collects pieces into layers from release and layers of UTC, in the order of time, newest first."""

    def __init__(self, ny: int, nx: int, n_particles: int) -> None:
        self.piece = np.zeros((ny, nx))
        self._n = n_particles
        self._fields = (np.zeros((ny, nx)), np.zeros((ny, nx)))
        self._hours: list[int | None] = [None, None]
        self._windows: list[list[Sequence[int]]] = [[], []]
        self._layers: tuple[list[Layer], list[Layer]] = ([], [])

    def add(self, hour: int, utc: int, window: Sequence[int]) -> None:
        """Add the piece to its layers, and clear it."""
        r0, r1, c0, c1 = window
        if r1 <= r0 or c1 <= c0:
            return
        for kind, which in enumerate((hour, utc)):
            if self._hours[kind] not in (None, which):
                self._close(kind)
            self._hours[kind] = which
            self._fields[kind][r0:r1, c0:c1] += self.piece[r0:r1, c0:c1]
            self._windows[kind].append(window)
        self.piece[r0:r1, c0:c1] = 0

    def _close(self, kind: int) -> None:
        if not self._windows[kind]:
            return
        corners = np.array(self._windows[kind])
        r0, c0 = corners[:, 0].min(), corners[:, 2].min()
        r1, c1 = corners[:, 1].max(), corners[:, 3].max()
        field = self._fields[kind][r0:r1, c0:c1]
        values = (field / self._n).astype(np.float32)
        field[:] = 0
        hour = self._hours[kind]
        assert hour is not None
        if values.any():
            self._layers[kind].append(Layer(hour, int(r0), int(c0), values))
        self._windows[kind] = []

    def finish(self) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        """Return the layers from release, and those of UTC."""
        self._close(0)
        self._close(1)
        return tuple(self._layers[0]), tuple(reversed(self._layers[1]))


def _jumps_cells(
    time: NDArray[np.int64], lon: Floats, lat: Floats, start: NDArray[np.int64], stop: NDArray[np.int64], grid: Grid
) -> bool:
    """Return whether the median particle's median step in the first 100 minutes is wider than a cell."""
    for values, resolution in ((lon, grid.xres), (lat, grid.yres)):
        medians = median_steps(time, values, start, stop)
        medians = medians[~np.isnan(medians)]
        if len(medians) and np.median(medians) > resolution:
            return True
    return False


def _interpolate(
    time: NDArray[np.int64],
    lon: Floats,
    lat: Floats,
    foot: Floats,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Floats, Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Put particles at finer times in their first 100 minutes, and keep the influence of each of three spans.

    Positions and ``foot`` are linear between a particle's own steps; ``foot`` is then scaled so that its sums over
    10, 20 and 100 minutes stay what they were.
    """
    new_time, new_lon, new_lat, new_foot, counts = interpolate_tracks(time, lon, lat, foot, start, stop, -_FINE_TIMES)
    for low, high in ((-1, 100), (100, 200), (200, 1000)):
        before = foot[(np.abs(time) > low) & (np.abs(time) <= high)].sum()
        span = (np.abs(new_time) > low) & (np.abs(new_time) <= high)
        after = new_foot[span].sum()
        if after > 0:
            new_foot[span] *= before / after
    new_stop = np.cumsum(counts)
    return new_time, new_lon, new_lat, new_foot, new_stop - counts, new_stop


def sparse_row(
    footprint: Footprint, ny: int, nx: int, release_hour: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the cells of a footprint that are not zero, by hours of UTC.

    Parameters
    ----------
    footprint : Footprint
        The footprint.
    ny, nx : int
        Grid size.
    release_hour : int
        Index of the UTC hour of release.

    Returns
    -------
    (columns, values)
        Ascending columns ``hour * ny * nx + y * nx + x``, and influence.
    """
    columns, values = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for layer in footprint.utc_layers:
        y, x = np.nonzero(layer.values)
        columns.append(((release_hour + layer.hour) * ny + y + layer.y) * nx + x + layer.x)
        values.append(layer.values[y, x])
    return np.concatenate(columns), np.concatenate(values)
