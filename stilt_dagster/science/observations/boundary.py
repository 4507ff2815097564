"""Boundary: by which side, where along it and how high a receptor's particles leave the box above the footprint's grid.

An inversion over a limited domain knows fluxes inside it alone; what the air held when it came in is the boundary's.
With ``c`` the mole fraction along the boundary, what an observation would be without fluxes inside is linear in it,
``background = hbc_weight * sum(hbc * c)``, so that ``c`` can be estimated together with the fluxes (Lunt et al. 2016,
doi:10.5194/gmd-9-3213-2016; Ganesan et al. 2014, doi:10.5194/acp-14-3855-2014).

The box is that of the footprint's cells, up to the highest edge of the bins of height: the domain that fluxes are
estimated on. A particle has left where it crosses a face of the box for the last time. One that never comes back to a
face because it ends first, or because the meteorology ends inside the box, is counted as ``inside``, at the height it
ends at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.scenes.grid import Grid

Floats = NDArray[np.float64]

#: Where a particle can be when it has left the box for good, in this order; ``inside`` is where it has not.
SIDES = ("north", "east", "south", "west", "top", "inside")

_NORTH, _EAST, _SOUTH, _WEST, _TOP, _INSIDE = range(len(SIDES))

#: Farther from a projection's origin than anything on Earth, in its units.
_FAR = 1e12


@dataclass(frozen=True)
class Exits:
    """Where each of a receptor's particles left the box, a value a particle.

    Attributes
    ----------
    side : ndarray of int
        Index into :data:`SIDES`.
    x, y : ndarray
        Where it crossed the face, in the coordinates of the grid; where it ended, of those inside.
    height : ndarray
        Likewise, m.
    row : ndarray of int
        Row of the table it had left by; its last, of those inside.
    """

    side: NDArray[np.int64]
    x: Floats
    y: Floats
    height: Floats
    row: NDArray[np.int64]


@dataclass(frozen=True)
class Box:
    """The box above a footprint's grid, its sides cut into cells.

    A cell of a side is a bin of height by a cell of the grid along it: ``(height, lon)`` of north and south, ``(height,
    lat)`` of east and west (``x`` and ``y`` of a projected grid). ``top`` and ``inside`` are cut by height alone. All
    cells are numbered one after the other, in the order of :data:`SIDES`.

    Parameters
    ----------
    grid : Grid
        The footprint's grid.
    heights : tuple of float
        Edges of the bins of height, m, rising.
    """

    grid: Grid
    heights: tuple[float, ...]

    @property
    def n_heights(self) -> int:
        """Number of bins of height."""
        return len(self.heights) - 1

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Cells along each side, at one height."""
        return (self.grid.nx, self.grid.ny, self.grid.nx, self.grid.ny, 1, 1)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Number of the first cell of each side, and of all cells, shape ``(7,)``."""
        return np.concatenate([[0], np.cumsum(np.multiply(self.widths, self.n_heights))]).astype(np.int64)

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(self.offsets[-1])

    def exits(self, particle: NDArray[Any], lon: Floats, lat: Floats, height: Floats) -> Exits:
        """Find where particles leave the box for good.

        Parameters
        ----------
        particle : ndarray of int
            Number of the particle of each row; rows are in the order of particle and time.
        lon, lat : ndarray
            Degrees.
        height : ndarray
            m, as the edges of bins are.

        Returns
        -------
        Exits
            One a particle, in order. Between the last row inside and the next, particles move in a straight line. Those
            that never were inside count where they were released, at the face they lie farthest beyond.
        """
        x, y = self._on_grid(lon, lat)
        x0, x1, y0, y1, top = self._faces
        within = (y >= y0) & (y < y1) & (height < top)
        if not self.grid.is_global:
            within &= (x >= x0) & (x < x1)
        last = np.flatnonzero(np.append(np.diff(particle) != 0, True))
        first = np.append(0, last[:-1] + 1)
        seen = np.maximum.accumulate(np.where(within, np.arange(len(x)), -1))[last]
        never = seen < first
        before = np.where(never, first, seen)
        after = np.where(never, first, np.minimum(before + 1, last))
        east, north = self._eastward(x[after] - x[before]), y[after] - y[before]
        up = height[after] - height[before]
        start = np.stack([y[before], x[before], y[before], x[before], height[before]])
        step = np.stack([north, east, north, east, up])
        side, part = _first_face(start, step, np.array([y1, x1, y0, x0, top]), self._beyond(start, step, never))
        inside = ~never & (before == last)
        side, part = np.where(inside, _INSIDE, side), np.where(inside | never, 0.0, part)
        return Exits(side, x[before] + part * east, y[before] + part * north, height[before] + part * up, after)

    def cells(self, exits: Exits) -> NDArray[np.int64]:
        """Return the number of the cell of each exit."""
        level = np.clip(np.searchsorted(self.heights, exits.height, side="right") - 1, 0, self.n_heights - 1)
        x0, _, y0, _, _ = self._faces
        x = (exits.x - x0) % 360 if self.grid.is_global else exits.x - x0
        ix = np.clip(np.floor(x / self.grid.xres), 0, self.grid.nx - 1).astype(np.int64)
        iy = np.clip(np.floor((exits.y - y0) / self.grid.yres), 0, self.grid.ny - 1).astype(np.int64)
        along = np.select([np.isin(exits.side, (_NORTH, _SOUTH)), np.isin(exits.side, (_EAST, _WEST))], [ix, iy], 0)
        number: NDArray[np.int64] = self.offsets[exits.side] + level * np.array(self.widths)[exits.side] + along
        return number

    def shares(self, cells: NDArray[np.int64], weights: Floats) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the cells that particles left by, ascending, and the share of their weight that left by each.

        Shares sum to 1. There are none where the weights sum to 0: what an observation does not see has no boundary.
        """
        total = float(weights.sum())
        if total == 0:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        found, place = np.unique(cells, return_inverse=True)
        return found.astype(np.int32), (np.bincount(place, weights) / total).astype(np.float32)

    def by_side(self, cells: NDArray[Any]) -> NDArray[np.int64]:
        """Return where cells are in an array of ``(side, height)``, in C order: those along a side are one."""
        side = np.searchsorted(self.offsets, cells, side="right") - 1
        place: NDArray[np.int64] = side * self.n_heights + (cells - self.offsets[side]) // np.array(self.widths)[side]
        return place

    @cached_property
    def _faces(self) -> tuple[float, float, float, float, float]:
        """Western, eastern, southern, northern and upper face."""
        edges = (self.grid.x_edges[0], self.grid.x_edges[-1], self.grid.y_edges[0], self.grid.y_edges[-1])
        x0, x1, y0, y1 = (float(v) for v in edges)
        return x0, x1, y0, y1, self.heights[-1]

    def _on_grid(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Return positions in the coordinates of the grid."""
        if not self.grid.is_longlat:
            # What the projection does not know of comes back as infinite, which no line can be drawn to.
            x, y = (np.clip(v, -_FAR, _FAR) for v in self.grid.transformer.transform(lon, lat))
            return np.asarray(x, np.float64), np.asarray(y, np.float64)
        return (lon % 360 if self.grid.wraps else lon), lat

    def _eastward(self, step: Floats) -> Floats:
        """Return steps in x the short way around the Earth."""
        return (step + 180) % 360 - 180 if self.grid.is_longlat else step

    def _beyond(self, start: Floats, step: Floats, never: NDArray[np.bool_]) -> Floats:
        """Return how far positions after a step lie beyond each face, shape ``(5, n)``; above 0 is outside.

        In units of the grid, and for the top in metres, which counts only where no other face is passed by those that
        never were inside. The sides of a grid that goes around the Earth are none.
        """
        x0, x1, y0, y1, top = self._faces
        end = start + step
        out = np.stack([end[_NORTH] - y1, end[_EAST] - x1, y0 - end[_SOUTH], x0 - end[_WEST], end[_TOP] - top])
        if self.grid.is_global:
            out[[_EAST, _WEST]] = -np.inf
        elif self.grid.is_longlat:
            # Outside since the release, the nearer of both sides is the one passed, the short way around the Earth.
            east, west = (start[_EAST] - x1) % 360, (x0 - start[_WEST]) % 360
            aside = never & ((start[_EAST] < x0) | (start[_EAST] >= x1))
            out[_EAST] = np.where(aside, np.where(east <= west, east, -west), out[_EAST])
            out[_WEST] = np.where(aside, np.where(west < east, west, -east), out[_WEST])
        lateral = out[:_TOP].max(axis=0)
        out[_TOP] = np.where(never & (lateral >= 0), -np.inf, out[_TOP])
        return out


def _first_face(start: Floats, step: Floats, faces: Floats, beyond: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return which face a straight step crosses first, and after which part of it, 0 to 1.

    ``t = (face - start) / step`` of each face that is passed; where rounding has none be passed, the nearest to it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((beyond >= 0) & (step != 0), (faces[:, None] - start) / step, np.inf)
    side = np.where(np.isfinite(t).any(axis=0), t.argmin(axis=0), beyond.argmax(axis=0))
    part = np.take_along_axis(t, side[None], axis=0)[0]
    return side, np.clip(np.where(np.isfinite(part), part, 1.0), 0.0, 1.0)
