"""The parts of a spec that say what is observed: soundings, what particles count, background, transport error."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from stilt_dagster.science.validation import Place, Spec

#: HYSPLIT's particle variable that each kind of level is compared with.
LEVEL_VARIABLES = {"pressure": "pres", "agl": "zagl", "asl": "zsfc"}


class Area(Spec):
    """Where soundings are wanted: a box, or a polygon."""

    xmin: float | None = Field(None, ge=-180, le=180, description="Western longitude, degrees.")
    xmax: float | None = Field(
        None, ge=-180, le=180, description="Eastern longitude; west of xmin crosses the antimeridian."
    )
    ymin: float | None = Field(None, ge=-90, le=90, description="Southern latitude, degrees.")
    ymax: float | None = Field(None, ge=-90, le=90, description="Northern latitude, degrees.")
    polygon: list[tuple[float, float]] | None = Field(
        None, min_length=3, max_length=10_000, description="Corners as [longitude, latitude], instead of a box."
    )

    @model_validator(mode="after")
    def _one_outline(self) -> Self:
        box = (self.xmin, self.xmax, self.ymin, self.ymax)
        if self.polygon is None:
            if None in box:
                raise ValueError("needs xmin, xmax, ymin and ymax, or a polygon")
            if self.ymin >= self.ymax or self.xmin == self.xmax:  # type: ignore[operator]
                raise ValueError(f"is empty: x {self.xmin} to {self.xmax}, y {self.ymin} to {self.ymax}")
        else:
            if box != (None,) * 4:
                raise ValueError("give a box or a polygon, not both")
            if not all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in self.polygon):
                raise ValueError("polygon: corners must be [longitude, latitude], degrees, -180 to 180 and -90 to 90")
            if not shapely.Polygon(self.polygon).is_valid:
                raise ValueError("polygon: its sides cross each other")
        return self

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The area's box, ``(west, south, east, north)``; west over east crosses the antimeridian."""
        if self.polygon is not None:
            west, south, east, north = shapely.Polygon(self.polygon).bounds
            return float(west), float(south), float(east), float(north)
        assert self.xmin is not None
        assert self.xmax is not None
        assert self.ymin is not None
        assert self.ymax is not None
        return self.xmin, self.ymin, self.xmax, self.ymax

    def contains(self, longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which positions lie inside; those that are no numbers do not."""
        west, south, east, north = self.box
        with np.errstate(invalid="ignore"):
            lon = np.where(longitude > 180, longitude - 360, longitude)
            across = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
            inside = across & (latitude >= south) & (latitude <= north)
        if self.polygon is not None:
            inside[inside] = shapely.intersects_xy(shapely.Polygon(self.polygon), lon[inside], latitude[inside])
        return np.asarray(inside)


class Aggregation(Spec):
    """How pixels are made super-observations."""

    km: float = Field(gt=0, le=500, description="Size of a cell, km.")
    min_pixels: int = Field(1, ge=1, description="Cells of fewer are left out.")
    correlation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Correlation of the errors of two pixels of a cell: 0 lets them cancel, 1 not at all.",
    )


class Selection(Spec):
    """Which soundings become receptors, in this order: area, quality, then thinned or aggregated."""

    area: Area | None = Field(None, description="Where; everywhere by default.")
    quality: float = Field(0.5, ge=0, le=1, description="Least quality; what a product calls good is 0.5 and above.")
    thin_km: float | None = Field(
        None, gt=0, le=500, description="One sounding a cell of that size, km: the one of the least uncertainty."
    )
    aggregate: Aggregation | None = Field(None, description="Make super-observations.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.thin_km is not None and self.aggregate is not None:
            raise ValueError("thin_km and aggregate exclude each other")
        return self


class Retrieved(Spec):
    """What was read of a retrieval when its scene was registered.

    The soundings themselves are kept beside the spec. Their hashes are of what different products are made of, so that
    a reprocessed retrieval redoes what it changes, and no more.
    """

    granule: str = Field(description="What was measured: the same for each version of it.")
    version: list[str] = Field(description="Stream, collection, processor, time of making; newer ones compare larger.")
    soundings: int = Field(ge=1, description="Receptors.")
    counts: dict[str, int] = Field(description="Soundings read, and left by each step of the selection.")
    positions: str = Field(description="Hash of where and when particles are released.")
    kernels: str = Field(description="Hash of what footprints are weighted with.")
    observations: str = Field(description="Hash of values, uncertainties and priors.")


class Retrieval(Selection):
    """Receptors from the soundings of a satellite's retrieval: a column each."""

    product: str = Field(max_length=40, description="Which reader, such as tropomi_ch4.")
    uri: Place = Field(description="The file: a path, or the URL of an object.")
    mapping: dict[str, Any] | None = Field(None, description="What to read otherwise than the product's table says.")
    geometry: Literal["vertical", "slant"] = Field("vertical", description="Upright, or along the line of sight.")
    top: float = Field(
        3000.0, gt=0, le=30_000, description="Least height of the columns, m: they end at the next level of pressure."
    )
    retrieved: Retrieved | None = Field(None, description="Filled in when the scene is registered.")


class Weighting(Spec):
    """What a particle's influence counts, applied before it is put on the grid: no transport depends on it."""

    averaging_kernel: bool = Field(
        True, description="Of a retrieval: weight with its kernel; false weights with pressure alone."
    )
    lifetime: float | None = Field(None, gt=0, description="First-order lifetime of the gas, h; none by default.")


class Boundary(Spec):
    """The sides and heights that particles leave the box above the footprint's grid by."""

    heights: list[float] = Field(
        default_factory=lambda: [1000.0 * k for k in range(21)],
        min_length=2,
        max_length=101,
        description="Edges of bins of height, m, rising, the last the top of the box; by default 0 to 20 km by 1 km.",
    )
    vertical: Literal["agl", "asl"] = Field("agl", description="Heights are above ground, or above sea level.")

    @field_validator("heights")
    @classmethod
    def _rise(cls, value: list[float]) -> list[float]:
        if any(b <= a for a, b in pairwise(value)):
            raise ValueError(f"must rise from bin to bin (got {value})")
        return value


class Background(Spec):
    """What a receptor's air held before it met the grid: a field sampled where particles end, shares of a boundary."""

    uri: Place | None = Field(None, description="NetCDF with time, level, latitude and longitude: a path or a URL.")
    variable: str | None = Field(None, max_length=200, description="The variable of it that holds mole fractions.")
    units: Literal["ppm", "ppb", "mol mol-1"] | None = Field(None, description="By default what the variable says.")
    vertical: Literal["pressure", "agl", "asl"] = Field(
        "pressure", description="What its levels are: pressure, or height above ground or above sea level."
    )
    at: Literal["end", "edge"] = Field(
        "end", description="Sample where particles end, or where they leave the footprint's grid for good."
    )
    boundary: Boundary | None = Field(
        None, description="Keep by which side and at which height particles leave the footprint's grid."
    )

    @property
    def particle_variables(self) -> list[str]:
        """HYSPLIT's variables of particles it is made of, beside their positions."""
        names = [] if self.uri is None else [LEVEL_VARIABLES[self.vertical]]
        if self.boundary is not None and self.boundary.vertical == "asl":
            names.append(LEVEL_VARIABLES["asl"])
        return list(dict.fromkeys(names))

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what older specs do not have, so that hashes of theirs stay what they were."""
        fields: dict[str, Any] = handler(self)
        if self.boundary is None:
            fields.pop("boundary", None)
        return fields

    @model_validator(mode="after")
    def _is_of_something(self) -> Self:
        if (self.uri is None) != (self.variable is None):
            raise ValueError("uri and variable go together: the field's file, and the variable of it")
        if self.uri is None and self.boundary is None:
            raise ValueError("needs a field (uri and variable), or a boundary, or both")
        return self


class FluxSource(Spec):
    """A field of surface fluxes."""

    uri: Place = Field(description="NetCDF with latitude, longitude, and time if it changes: a path or a URL.")
    variable: str = Field(max_length=200, description="The variable of it that holds fluxes.")
    units: Literal["umol m-2 s-1", "mol m-2 s-1", "nmol m-2 s-1"] | None = Field(
        None, description="By default what the variable says."
    )


class TransportError(Spec):
    """Whose signal the error of transport is told of; it needs errors of winds or mixing in ``transport``."""

    flux: FluxSource = Field(description="Surface fluxes, such as the prior of the inversion.")
    vertical_correlation: float = Field(
        356.0, gt=0, description="Of a column: height over which errors of levels are alike, m; X-STILT's by default."
    )
