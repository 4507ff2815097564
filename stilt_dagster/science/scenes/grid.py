"""The grid a footprint lies on: cell edges, centres and areas, on longitude/latitude or in a projection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Radius of the sphere cell areas are computed on, m: the authalic radius of WGS84, so that areas sum to Earth's.
EARTH_RADIUS = 6_371_007.2

LONGLAT = "+proj=longlat"


def count_cells(lower: float, upper: float, step: float) -> int:
    """Return how many whole cells of *step* fit between *lower* and *upper*.

    R's ``head(seq(lower, upper, by = step), -1)`` (calc_footprint.r): the tolerance covers what decimal
    bounds lose in binary (``40.93 - 40.45`` is ``0.4799999999999969``), so the last cell is not dropped.
    """
    scale = max(abs(lower), abs(upper), abs(upper - lower))
    return int(np.floor((upper - lower) / step + 16 * np.finfo(float).eps * scale / step))


@dataclass(frozen=True)
class Grid:
    """A regular grid of cells, each as wide as its neighbours.

    Parameters
    ----------
    xmin, xmax, ymin, ymax : float
        Outer edges, in degrees (also of a projected grid, whose corners are projected, as in R STILT).
        ``xmax < xmin`` or ``xmax > 180`` crosses the antimeridian.
    xres, yres : float
        Cell size, in degrees, or in the units of the projection.
    projection : str
        PROJ string of the grid; ``+proj=longlat`` is longitude/latitude.
    """

    xmin: float
    xmax: float
    xres: float
    ymin: float
    ymax: float
    yres: float
    projection: str = LONGLAT

    @property
    def settings(self) -> dict[str, Any]:
        """What the grid is made with, as plain data."""
        return asdict(self)

    @property
    def is_longlat(self) -> bool:
        """Whether the cells are in degrees of longitude and latitude."""
        return LONGLAT in self.projection.replace(" ", "").replace("latlong", "longlat")

    @property
    def wraps(self) -> bool:
        """Whether the grid crosses the antimeridian, so that positions are taken in 0 to 360 degrees."""
        return self.is_longlat and (self.xmax < self.xmin or self.xmax > 180) and not self.is_global

    @property
    def is_global(self) -> bool:
        """Whether the grid goes once around the Earth, from wherever it starts."""
        return self.is_longlat and (self.xmax - self.xmin) % 360 == 0

    @cached_property
    def transformer(self) -> Any:
        """The pyproj transformer from longitude/latitude to the grid's projection."""
        from pyproj import Transformer

        return Transformer.from_crs("EPSG:4326", self.projection, always_xy=True)

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """Edges ``(x0, x1, y0, y1)`` in the coordinates positions are binned in.

        R STILT's: 0 to 360 degrees where the grid crosses the antimeridian, -180 to 180 where it goes around the
        Earth, and for a projected grid its south-west and north-east corners, projected.
        """
        if not self.is_longlat:
            xs, ys = self.transformer.transform([self.xmin, self.xmax], [self.ymin, self.ymax])
            return float(min(xs)), float(max(xs)), float(min(ys)), float(max(ys))
        if self.is_global:
            return -180.0, 180.0, self.ymin, self.ymax
        if self.wraps:
            return self.xmin % 360, self.xmax % 360, self.ymin, self.ymax
        return self.xmin, self.xmax, self.ymin, self.ymax

    @property
    def nx(self) -> int:
        """Number of cells in x (longitude)."""
        x0, x1, _, _ = self.extent
        return count_cells(x0, x1, self.xres)

    @property
    def ny(self) -> int:
        """Number of cells in y (latitude)."""
        _, _, y0, y1 = self.extent
        return count_cells(y0, y1, self.yres)

    @cached_property
    def x_edges(self) -> NDArray[np.float64]:
        """Cell edges in x, shape ``(nx + 1,)``; eastward, so past 180 where the grid crosses the antimeridian."""
        return np.round(self.extent[0] + np.arange(self.nx + 1) * self.xres, 10)

    @cached_property
    def y_edges(self) -> NDArray[np.float64]:
        """Cell edges in y, shape ``(ny + 1,)``, south to north."""
        return np.round(self.extent[2] + np.arange(self.ny + 1) * self.yres, 10)

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Cell centres in x, shape ``(nx,)``."""
        return np.round(self.extent[0] + (np.arange(self.nx) + 0.5) * self.xres, 10)

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Cell centres in y, shape ``(ny,)``."""
        return np.round(self.extent[2] + (np.arange(self.ny) + 0.5) * self.yres, 10)

    @cached_property
    def cell_area(self) -> NDArray[np.float64]:
        """Area of each cell, m2, shape ``(ny, nx)``.

        On longitude/latitude the exact area between two parallels and two meridians of a sphere,
        ``R^2 dlon (sin(north) - sin(south))``; on a projected grid the product of the cell's sides in metres.
        """
        if self.is_longlat:
            strips = np.diff(np.sin(np.radians(self.y_edges)))
            row = EARTH_RADIUS**2 * np.radians(self.xres) * strips
            return np.repeat(row[:, None], self.nx, axis=1)
        from pyproj import CRS

        to_metre = CRS.from_user_input(self.projection).axis_info[0].unit_conversion_factor
        return np.full((self.ny, self.nx), self.xres * self.yres * to_metre**2)
