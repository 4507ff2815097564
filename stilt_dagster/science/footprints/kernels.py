"""The compiled loops of the gridding: each a rule of R STILT's ``calc_footprint.r``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel

Floats = NDArray[np.float64]


@kernel()
def median_steps(time: NDArray[np.int64], values: Floats, start: NDArray[np.int64], stop: NDArray[np.int64]) -> Floats:
    """Return the median |step| of each particle in its first 100 minutes; NaN where it has no two positions."""
    out = np.full(len(start), np.nan)
    for k in range(len(start)):
        end = start[k]
        while end < stop[k] and abs(time[end]) < 1000:
            end += 1
        if end - start[k] > 1:
            out[k] = np.median(np.abs(np.diff(values[start[k] : end])))
    return out


@kernel()
def interpolate_tracks(
    time: NDArray[np.int64],
    lon: Floats,
    lat: Floats,
    foot: Floats,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    fine: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Floats, Floats, Floats, NDArray[np.int64]]:
    """Put particles at the times *fine* too, inside their spans: positions and influence linear between steps.

    Returns time, longitude, latitude, influence, and how many rows each particle has.
    """
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


@kernel()
def since_first_step(time: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time since each particle's first step, in positive tenths of a minute."""
    out = np.empty(len(time), np.int64)
    for k in range(len(start)):
        first = abs(time[start[k]])
        for i in range(start[k], stop[k]):
            out[i] = abs(time[i]) - first
    return out


@kernel()
def kernel_widths(elapsed: NDArray[np.int64], x: Floats, y: Floats, smooth_factor: float, is_longlat: bool) -> Floats:
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


@kernel()
def bin_cells(values: Floats, first: float, step: float, n: int) -> NDArray[np.int64]:
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


@kernel()
def gaussian(half: int, step: float, width: float) -> Floats:
    """Return one side of a separable Gaussian kernel at cell centres, summing to 1."""
    out: Floats = np.empty(2 * half + 1)
    for i in range(2 * half + 1):
        out[i] = np.exp(-(((i - half) * step) ** 2) / (2 * width * width)) if width > 0 else 1.0
    out /= out.sum()
    return out


@kernel()
def stamp_kernels(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    foot: Floats,
    elapsed: NDArray[np.int64],
    particle: NDArray[np.int64],
    width_of: Floats,
    halves_y: NDArray[np.int64],
    halves_x: NDArray[np.int64],
    yres: float,
    xres: float,
    out: Floats,
    by_particle: Floats,
) -> tuple[int, int, int, int, float]:
    """Add each step's influence, spread by the kernel of its time, to *out*, and all of it to its particle's sum.

    Steps come sorted by elapsed time, so each kernel is made once. Returns the window that was touched, and how much
    influence the kernels spread beyond the edges of *out*.
    """
    ny, nx = out.shape
    r0, r1, c0, c1 = ny, 0, nx, 0
    beyond = 0.0
    last = -1
    kernel_y, kernel_x = np.ones(1), np.ones(1)
    for i in range(len(row)):
        k = elapsed[i]
        hy, hx = halves_y[k], halves_x[k]
        if k != last:
            kernel_y, kernel_x = gaussian(hy, yres, width_of[k]), gaussian(hx, xres, width_of[k])
            last = k
        top, bottom = min(ny, row[i] + hy + 1), max(0, row[i] - hy)
        right, left = min(nx, column[i] + hx + 1), max(0, column[i] - hx)
        if top <= bottom or right <= left:
            beyond += foot[i]
            continue
        r0, r1, c0, c1 = min(r0, bottom), max(r1, top), min(c0, left), max(c1, right)
        side = kernel_x[left - (column[i] - hx) : right - (column[i] - hx)]
        inside = 1.0
        if top - bottom <= 2 * hy or right - left <= 2 * hx:
            inside = kernel_y[bottom - (row[i] - hy) : top - (row[i] - hy)].sum() * side.sum()
            beyond += foot[i] * (1.0 - inside)
        by_particle[particle[i]] += foot[i] * inside
        for r in range(bottom, top):
            weight = foot[i] * kernel_y[r - (row[i] - hy)]
            line = out[r, left:right]
            for c in range(len(line)):
                line[c] += weight * side[c]
    return r0, r1, c0, c1, beyond
