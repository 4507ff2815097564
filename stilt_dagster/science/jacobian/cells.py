"""What the columns of one time step are: cells of a grid, or regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError, counted
from stilt_dagster.science.scenes.grid import EARTH_RADIUS

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridCells:
    """Cells of a grid, in C order of (y, x).

    Attributes
    ----------
    y, x : ndarray, shapes (ny,) and (nx,)
        Centres of cells, ascending.
    y_edges, x_edges : ndarray, shapes (ny + 1,) and (nx + 1,)
        Their edges.
    names : tuple of str
        Of the two axes: ``lat, lon``, degrees, or ``y, x``, units of the projection.
    crs : dict
        CF attributes of the coordinate system.
    unit_area : float
        Of a square of one unit of the projection, m2; of no use on longitude and latitude.
    """

    y: Floats
    x: Floats
    y_edges: Floats
    x_edges: Floats
    names: tuple[str, str]
    crs: Mapping[str, Any]
    unit_area: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells in y and in x."""
        return len(self.y), len(self.x)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.y) * len(self.x)

    @cached_property
    def area(self) -> Floats:
        """Of each cell, m2, shape (ny, nx): on longitude and latitude that of the sphere between its edges.

        ``R^2 dlon (sin(north) - sin(south))``, as :attr:`stilt_dagster.science.scenes.grid.Grid.cell_area`.
        """
        if self.is_longlat:
            bands = EARTH_RADIUS**2 * np.diff(np.sin(np.radians(self.y_edges)))
            return np.asarray(np.outer(bands, np.diff(np.radians(self.x_edges))))
        return np.asarray(np.outer(np.diff(self.y_edges), np.diff(self.x_edges)) * self.unit_area)

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions of an array of them."""
        return self.names

    @property
    def is_longlat(self) -> bool:
        """Whether the axes are degrees of latitude and longitude."""
        return self.names == ("lat", "lon")

    @property
    def goes_round(self) -> bool:
        """Whether the cells go once around the Earth, so that the last is next to the first."""
        return self.is_longlat and bool(abs(self.x_edges[-1] - self.x_edges[0] - 360.0) < 1e-6)

    @property
    def y_bounds(self) -> Floats:
        """South and north edge of each row of cells, shape (ny, 2)."""
        return np.column_stack([self.y_edges[:-1], self.y_edges[1:]])

    @property
    def x_bounds(self) -> Floats:
        """West and east edge of each column of cells, shape (nx, 2)."""
        return np.column_stack([self.x_edges[:-1], self.x_edges[1:]])

    @property
    def coordinates(self) -> dict[str, Any]:
        """Coordinates of an array of them."""
        return {self.names[0]: self.y, self.names[1]: self.x}

    def __str__(self) -> str:
        ends = f"{self.x_edges[0]:g} to {self.x_edges[-1]:g}, {self.y_edges[0]:g} to {self.y_edges[-1]:g}"
        return f"{self.shape[0]} x {self.shape[1]} cells of {ends}"

    def is_same_as(self, other: GridCells | Regions) -> bool:
        """Return whether columns of both mean the same."""
        return (
            isinstance(other, GridCells)
            and self.names == other.names
            and np.array_equal(self.y_edges, other.y_edges)
            and np.array_equal(self.x_edges, other.x_edges)
            and has_same_crs(self.crs, other.crs)
        )


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions, each a set of cells with one flux.

    Attributes
    ----------
    names : list of str
        What they are called.
    area : ndarray, shape (n,)
        Of each, m2.
    """

    names: list[str]
    area: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """How many there are."""
        return self.area.shape

    @property
    def size(self) -> int:
        """How many there are."""
        return self.area.size

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimension of an array of them."""
        return ("region",)

    @property
    def coordinates(self) -> dict[str, Any]:
        """Coordinates of an array of them."""
        return {"region": np.array(self.names, dtype=object)}

    def __str__(self) -> str:
        return counted(self.size, "region")

    def is_same_as(self, other: GridCells | Regions) -> bool:
        """Return whether columns of both mean the same."""
        return isinstance(other, Regions) and self.names == other.names


Cells = GridCells | Regions


def require_map(values: xr.DataArray, what: str, dims: tuple[str, ...]) -> None:
    """Make sure that something is an array with coordinates: of plain numbers nobody knows where they are.

    Raises
    ------
    JacobianError
        If it is anything else.
    """
    import xarray as xr

    if not isinstance(values, xr.DataArray):
        raise JacobianError(
            f"an xarray.DataArray of {what} on {', '.join(dims)} is needed, with coordinates (got "
            f"{type(values).__name__})"
        )


def as_numbers(values: Any, what: str) -> Floats:
    """Return values as an array of numbers.

    Raises
    ------
    JacobianError
        If they are none.
    """
    try:
        if not np.iscomplexobj(values):  # of which numpy would drop the imaginary part
            return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise JacobianError(f"{what} must hold real numbers (got {type(values).__name__} {values!r:.80})")


def has_same_crs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two coordinate systems have the same attributes."""
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)
