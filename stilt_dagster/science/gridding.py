"""Particles to footprint: R STILT's ``calc_footprint``, as compiled loops.

The footprint of a receptor is the sum over its particles' steps of ``foot``, spread by a Gaussian kernel that widens
with the particles' spread and age, divided by the number of particles (Lin et al. 2003; Fasoli et al. 2018, GMD 11,
2813, whose ``calc_footprint.r`` the rules are from). It is cut into layers twice in one pass: by hours before the
release, as STILT counts them, and by hours of UTC, as fluxes come.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.column import present
from stilt_dagster.science.grid import Grid

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
    """

    layers: tuple[Layer, ...]
    utc_layers: tuple[Layer, ...]
    total: float

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
        :mod:`stilt_dagster.science.column`. Where particles go and how wide they are spread stays as it is.
    lifetime : float, optional
        First-order lifetime of the gas, h: a step counts ``exp(-time since / lifetime)``.

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
    if grid.wraps:
        lon = lon % 360
    if _jumps_cells(time, lon, lat, start, stop, grid):
        time, lon, lat, foot, start, stop = _interpolate(time, lon, lat, foot, start, stop)
    if weights is not None:
        foot = foot * np.repeat(present(weights, number) * n_particles, stop - start)
    if lifetime is not None:
        foot = foot * np.exp(time / (600.0 * lifetime))
    if weights is not None or lifetime is not None:
        total = float(foot.sum()) / n_particles
    elapsed = _since_first_step(time, start, stop)
    x, y = lon, lat
    if not grid.is_longlat:
        x, y = (np.asarray(v, np.float64) for v in grid.transformer.transform(lon, lat))
    width_of = _kernel_widths(elapsed, x, y, smooth_factor, grid.is_longlat)
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
    if not keep.any():
        return Footprint((), (), total)
    time, elapsed, x, y, foot = time[keep], elapsed[keep], x[keep], y[keep], foot[keep]
    # R's buffered lower-left edges, one whole kernel beyond the grid on each side.
    pad_x, pad_y = 2 * half_x + 1, 2 * half_y + 1
    column = _bin(x, x0 - pad_x * grid.xres, grid.xres, nx + 2 * pad_x) - pad_x
    row = _bin(y, y0 - pad_y * grid.yres, grid.yres, ny + 2 * pad_y) - pad_y
    hour = np.full(len(time), -1) if time_integrate else np.minimum(time // 600, -1)
    utc = np.zeros(len(time), np.int64) if time_integrate else (time + 10 * minute) // 600
    # Steps of one layer and one UTC hour together, each such piece gridded once.
    piece = hour * 100_000 + utc
    order = np.lexsort((elapsed, -piece))
    bounds = np.flatnonzero(np.r_[True, np.diff(piece[order]) != 0, True])
    sums = _Sums(ny, nx, n_particles)
    for begin, end in pairwise(bounds):
        part = order[begin:end]
        window = _stamp(
            row[part],
            column[part],
            foot[part],
            elapsed[part],
            width_of,
            halves_y,
            halves_x,
            grid.yres,
            grid.xres,
            sums.piece,
        )
        sums.add(int(hour[part[0]]), int(utc[part[0]]), window)
    return sums.finish(total)


class _Sums:
    """Collects pieces into layers from release and layers of UTC, in the order of time, newest first."""

    def __init__(self, ny: int, nx: int, n_particles: int) -> None:
        self.piece = np.zeros((ny, nx))
        self._n = n_particles
        self._fields = (np.zeros((ny, nx)), np.zeros((ny, nx)))
        self._hours: list[int | None] = [None, None]
        self._windows: list[list[tuple[int, int, int, int]]] = [[], []]
        self._layers: tuple[list[Layer], list[Layer]] = ([], [])

    def add(self, hour: int, utc: int, window: tuple[int, int, int, int]) -> None:
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

    def finish(self, total: float) -> Footprint:
        """Return the footprint."""
        self._close(0)
        self._close(1)
        return Footprint(tuple(self._layers[0]), tuple(reversed(self._layers[1])), total)


def _jumps_cells(
    time: NDArray[np.int64], lon: Floats, lat: Floats, start: NDArray[np.int64], stop: NDArray[np.int64], grid: Grid
) -> bool:
    """Return whether the median particle's median step in the first 100 minutes is wider than a cell."""
    for values, resolution in ((lon, grid.xres), (lat, grid.yres)):
        medians = _median_steps(time, values, start, stop)
        medians = medians[~np.isnan(medians)]
        if len(medians) and np.median(medians) > resolution:
            return True
    return False


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _median_steps(time: NDArray[np.int64], values: Floats, start: NDArray[np.int64], stop: NDArray[np.int64]) -> Floats:
    out = np.full(len(start), np.nan)
    for k in range(len(start)):
        end = start[k]
        while end < stop[k] and abs(time[end]) < 1000:
            end += 1
        if end - start[k] > 1:
            out[k] = np.median(np.abs(np.diff(values[start[k] : end])))
    return out


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
    new_time, new_lon, new_lat, new_foot, counts = _interpolate_tracks(time, lon, lat, foot, start, stop, -_FINE_TIMES)
    for low, high in ((-1, 100), (100, 200), (200, 1000)):
        before = foot[(np.abs(time) > low) & (np.abs(time) <= high)].sum()
        span = (np.abs(new_time) > low) & (np.abs(new_time) <= high)
        after = new_foot[span].sum()
        if after > 0:
            new_foot[span] *= before / after
    new_stop = np.cumsum(counts)
    return new_time, new_lon, new_lat, new_foot, new_stop - counts, new_stop


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _interpolate_tracks(
    time: NDArray[np.int64],
    lon: Floats,
    lat: Floats,
    foot: Floats,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    fine: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Floats, Floats, Floats, NDArray[np.int64]]:
    size = len(time) + len(start) * len(fine)
    t, x, y, f = np.empty(size, np.int64), np.empty(size), np.empty(size), np.empty(size)
    counts = np.zeros(len(start), np.int64)
    n = 0
    for k in range(len(start)):
        i, j, begin = start[k], 0, n
        while i < stop[k]:
            # Times fall: the next is the larger of the particle's own and the fine ones inside its span.
            while j < len(fine) and (fine[j] > time[start[k]] or (fine[j] == time[i])):
                j += 1
            if j < len(fine) and fine[j] > time[i] and i > start[k]:
                a, b = i - 1, i
                w = (fine[j] - time[b]) / (time[a] - time[b])
                t[n] = fine[j]
                x[n] = lon[b] + (lon[a] - lon[b]) * w
                y[n] = lat[b] + (lat[a] - lat[b]) * w
                f[n] = foot[b] + (foot[a] - foot[b]) * w
                j += 1
            else:
                t[n], x[n], y[n], f[n] = time[i], lon[i], lat[i], foot[i]
                i += 1
            n += 1
        counts[k] = n - begin
    return t[:n], x[:n], y[:n], f[:n], counts


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _since_first_step(time: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time since each particle's first step, in positive tenths of a minute."""
    out = np.empty(len(time), np.int64)
    for k in range(len(start)):
        first = abs(time[start[k]])
        for i in range(start[k], stop[k]):
            out[i] = abs(time[i]) - first
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _kernel_widths(elapsed: NDArray[np.int64], x: Floats, y: Floats, smooth_factor: float, is_longlat: bool) -> Floats:
    """Return the standard deviation of the smoothing kernel for each elapsed time, ``(longest + 1,)``.

    ``0.06 smooth_factor (var x + var y)^(1/4) sqrt(days) / cos(mean latitude)``, without the cosine on projected grids.
    A time at which fewer than two particles are left takes the width of the nearest time that has one.
    """
    n = elapsed.max() + 1
    count = np.zeros(n, np.int64)
    mean_x, mean_y = np.zeros(n), np.zeros(n)
    for i in range(len(elapsed)):
        count[elapsed[i]] += 1
        mean_x[elapsed[i]] += x[i]
        mean_y[elapsed[i]] += y[i]
    for k in range(n):
        if count[k]:
            mean_x[k] /= count[k]
            mean_y[k] /= count[k]
    squares = np.zeros(n)
    for i in range(len(elapsed)):
        k = elapsed[i]
        squares[k] += (x[i] - mean_x[k]) ** 2 + (y[i] - mean_y[k]) ** 2
    width = np.full(n, np.nan)
    for k in range(n):
        if count[k] > 1:
            spread = (squares[k] / (count[k] - 1)) ** 0.25
            width[k] = smooth_factor * 0.06 * spread * np.sqrt(k / 10.0 / 1440.0)
            if is_longlat:
                width[k] /= np.cos(mean_y[k] * np.pi / 180.0)
    # The nearest time with a width; of two as near, R's which.min takes the earlier in value: the longer elapsed.
    before = np.full(n, -1)
    last = -1
    for k in range(n):
        if not np.isnan(width[k]):
            last = k
        before[k] = last
    following = -1
    out = np.zeros(n)
    for k in range(n - 1, -1, -1):
        if not np.isnan(width[k]):
            following = k
        if before[k] < 0 and following < 0:
            out[k] = 0.0
        elif following >= 0 and (before[k] < 0 or following - k <= k - before[k]):
            out[k] = width[following]
        else:
            out[k] = width[before[k]]
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _bin(values: Floats, first: float, step: float, n: int) -> NDArray[np.int64]:
    """Return the index of the last lower edge ``first + i step`` at or below each value, compared as R does."""
    out = np.empty(len(values), np.int64)
    for k in range(len(values)):
        i = int(np.floor((values[k] - first) / step))
        i = min(max(i, 0), n - 1)
        while i > 0 and first + i * step > values[k]:
            i -= 1
        while i + 1 < n and first + (i + 1) * step <= values[k]:
            i += 1
        out[k] = i
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gauss(half: int, step: float, width: float) -> Floats:
    """Return one side of a separable Gaussian kernel at cell centres, summing to 1."""
    out: Floats = np.empty(2 * half + 1)
    for i in range(2 * half + 1):
        out[i] = np.exp(-(((i - half) * step) ** 2) / (2 * width * width)) if width > 0 else 1.0
    out /= out.sum()
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _stamp(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    foot: Floats,
    elapsed: NDArray[np.int64],
    width_of: Floats,
    halves_y: NDArray[np.int64],
    halves_x: NDArray[np.int64],
    yres: float,
    xres: float,
    out: Floats,
) -> tuple[int, int, int, int]:
    """Add each step's influence, spread by the kernel of its time, to *out*; return the window that was touched.

    Steps come sorted by elapsed time, so each kernel is made once.
    """
    ny, nx = out.shape
    r0, r1, c0, c1 = ny, 0, nx, 0
    last = -1
    kernel_y, kernel_x = np.ones(1), np.ones(1)
    for i in range(len(row)):
        k = elapsed[i]
        hy, hx = halves_y[k], halves_x[k]
        if k != last:
            kernel_y, kernel_x = _gauss(hy, yres, width_of[k]), _gauss(hx, xres, width_of[k])
            last = k
        top, bottom = min(ny, row[i] + hy + 1), max(0, row[i] - hy)
        right, left = min(nx, column[i] + hx + 1), max(0, column[i] - hx)
        if top <= bottom or right <= left:
            continue
        r0, r1, c0, c1 = min(r0, bottom), max(r1, top), min(c0, left), max(c1, right)
        side = kernel_x[left - (column[i] - hx) : right - (column[i] - hx)]
        for r in range(bottom, top):
            weight = foot[i] * kernel_y[r - (row[i] - hy)]
            line = out[r, left:right]
            for c in range(len(line)):
                line[c] += weight * side[c]
    return r0, r1, c0, c1
