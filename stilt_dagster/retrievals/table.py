"""Where a product keeps what soundings are made of: the table that its reader follows, and units it may come in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from netCDF4 import Dataset
from pydantic import Field, field_validator, model_validator

from stilt_dagster.science.validation import Spec

#: A file that declares more levels is taken for damaged or hostile: nothing of it is read.
MAX_LEVELS = 200

#: What units a field may have, and what makes ours of them.
_FRACTIONS = {
    "ppm": 1.0, "ppb": 1e-3, "ppt": 1e-6, "1e-9": 1e-3, "1e-09": 1e-3, "1e-6": 1.0, "1e-06": 1.0,
    "mol mol-1": 1e6, "mol/mol": 1e6, "1": 1e6, "parts per billion": 1e-3, "parts per million": 1.0, "nmol mol-1": 1e-3,
    "nmol/mol": 1e-3, "umol mol-1": 1.0, "umol/mol": 1.0, "1e-9 mol mol-1": 1e-3, "1e-6 mol mol-1": 1.0, "ppbv": 1e-3,
    "ppmv": 1.0,
}  # fmt: skip
_PRESSURES = {"pa": 0.01, "hpa": 1.0, "mbar": 1.0, "mb": 1.0, "kpa": 10.0}
_METRES = {"m": 1.0, "metre": 1.0, "meters": 1.0, "meter": 1.0, "km": 1000.0}
_DEGREES = {
    "degree": 1.0, "degrees": 1.0, "deg": 1.0, "degrees_east": 1.0, "degrees_north": 1.0, "degree_east": 1.0,
    "degree_north": 1.0, "radian": 180 / np.pi, "radians": 180 / np.pi, "rad": 180 / np.pi,
}  # fmt: skip
UNITS: dict[str, dict[str, float]] = {
    "value": _FRACTIONS, "uncertainty": _FRACTIONS, "prior": _FRACTIONS,
    "surface_pressure": _PRESSURES, "pressure": _PRESSURES, "pressure_interval": _PRESSURES,
    "tropopause_pressure": _PRESSURES,
    "surface_altitude": _METRES, "altitude": _METRES,
    "longitude": _DEGREES, "latitude": _DEGREES, "zenith": _DEGREES, "azimuth": _DEGREES,
    "corner_longitude": _DEGREES, "corner_latitude": _DEGREES,
}  # fmt: skip

_Profile = Literal["pressure", "altitude", "averaging_kernel", "prior", "dry_air", "pressure_weight"]


class Table(Spec):
    """Where a product keeps what soundings are made of: paths of variables, such as ``PRODUCT/latitude``.

    The dimensions of ``value`` are the soundings'; other variables have some of these, in any order, and profiles one
    more.
    """

    longitude: str = Field(description="Degrees east, of the centre.")
    latitude: str = Field(description="Degrees north, of the centre.")
    time: str = Field(description="CF time with units, or ISO text.")
    time_offset: str | None = Field(None, description="To be added to time: ms, or what its units say.")
    value: str = Field(description="Column-average dry-air mole fraction.")
    uncertainty: str | None = Field(None, description="Its standard deviation.")
    quality: str | None = Field(None, description="Quality; without, all are 1.")
    quality_is: Literal["fraction", "flag"] = Field(
        "fraction", description="fraction: 0 to 1, good from 0.5; flag: 0 is good."
    )
    surface_pressure: str = Field(description="Pressure at the ground.")
    surface_altitude: str | None = Field(None, description="Height of the ground above sea level.")
    zenith: str | None = Field(None, description="Viewing zenith angle.")
    azimuth: str | None = Field(None, description="Viewing azimuth, clockwise from north, toward the instrument.")
    pressure: str | None = Field(None, description="Pressure of levels, or of the edges of layers, one more.")
    pressure_interval: str | None = Field(None, description="Instead: depth of each of the equal layers.")
    pressure_hybrid: list[tuple[float, float, float]] | None = Field(
        None, max_length=MAX_LEVELS, description="Instead: a, b, c of each edge, a (p_s - p_t) + b p_t + c, hPa."
    )
    tropopause_pressure: str | None = Field(None, description="p_t of pressure_hybrid; p_s is surface_pressure.")
    altitude: str | None = Field(None, description="Heights of pressure, above sea level.")
    averaging_kernel: str | None = Field(
        None, description="Column averaging kernel: a profile, or one number for all layers."
    )
    prior: str | None = Field(
        None, description="Prior: mole fraction, a profile or one number for all layers; or partial columns."
    )
    dry_air: str | None = Field(None, description="Dry air of each layer: makes weights, and fractions of prior.")
    prior_is: Literal["fraction", "partial_column"] = Field("fraction", description="What prior holds.")
    pressure_weight: str | None = Field(None, description="Share of each level of the column, if the product has it.")
    corner_longitude: str | None = Field(None, description="Of the pixel's four corners.")
    corner_latitude: str | None = Field(None, description="Of the pixel's four corners.")
    id: list[str] = Field(default_factory=list, description="Variables that make a sounding's id; its place if none.")
    top_first: bool | list[_Profile] = Field(
        False, description="Whether profiles run from the top of the atmosphere down; or which do."
    )
    units: dict[str, str] = Field(default_factory=dict, description="Units of fields, whatever the file says.")
    repeated: list[Literal["averaging_kernel", "prior"]] = Field(
        default_factory=list, description="Profiles of which the file has one number, for all layers."
    )
    constants: dict[Literal["uncertainty", "averaging_kernel", "prior", "tropopause_pressure"], float] = Field(
        default_factory=dict, description="One value for all soundings and layers, in our units: ppm, 1, or hPa."
    )

    @field_validator("units")
    @classmethod
    def _of_fields(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := value.keys() - _WITH_UNITS:
            raise ValueError(f"{sorted(unknown)[0]} has no units; those of {', '.join(_WITH_UNITS)} can be given")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if twice := [name for name in self.constants if getattr(self, name) is not None]:
            raise ValueError(f"{twice[0]}: name a variable, or give one of constants, not both")
        if self.prior_is == "partial_column" and self.prior is not None and self.dry_air is None:
            raise ValueError("prior_is: partial_column needs dry_air, whose share it is")
        return self


#: Fields whose units a table may say.
_WITH_UNITS = (*UNITS, "time", "time_offset")


#: Finds what was measured, and the version of its processing, in a file's attributes; its name is a last resort.
Identify = Callable[[Dataset, str, dt.datetime], tuple[str, list[str]]]


@dataclass(frozen=True)
class Product:
    """A product: its table, how its files say what they are, and units of fields whose variables may say none."""

    table: dict[str, Any]
    identify: Identify
    units: Mapping[str, str] = field(default_factory=dict)


def by_start(_: Dataset, name: str, first: dt.datetime) -> tuple[str, list[str]]:
    """Identify a granule by the minute of its first sounding; its version is unknown."""
    return f"{first:%Y%m%dt%H%M}", [""]
