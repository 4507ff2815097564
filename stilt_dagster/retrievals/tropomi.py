"""TROPOMI methane (Sentinel-5P): the operational L2 product, and the blended TROPOMI+GOSAT one.

Sources: Sentinel-5P L2 Product User Manual Methane (SRON-S5P-LEV2-MA-001); Balasus et al. 2023,
doi:10.5194/amt-16-3787-2023. Profiles have 12 layers of equal depth, from the top down.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from netCDF4 import Dataset

from stilt_dagster.retrievals.table import Product

_STREAMS = {"NRTI": "0", "OFFL": "1", "RPRO": "2", "BLND": "3"}
_NAME = re.compile(
    r"S5P_(?P<stream>[A-Z]{4})_L2__CH4____(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{5})_(?P<collection>\d{2})_"
    r"(?P<processor>\d{6})_(?P<made>\d{8}T\d{6})"
)


def identify(file: Dataset, name: str, first: dt.datetime) -> tuple[str, list[str]]:
    """Return the orbit, and the stream, collection, processor and time of making: as the product's id says."""
    match = _NAME.search(str(getattr(file, "id", ""))) or _NAME.search(name)
    orbit = int(match["orbit"] if match else getattr(file, "orbit", -1))
    if orbit < 0:
        return f"{first:%Y%m%dt%H%M}", [""]
    day = match["start"][:8] if match else f"{first:%Y%m%d}"
    if match is None:
        processor = "".join(f"{int(n):02d}" for n in re.findall(r"\d+", str(getattr(file, "processor_version", ""))))
        return f"{day}-o{orbit:05d}", ["1", "", processor, str(getattr(file, "date_created", "")).lower()]
    parts = (match["collection"], match["processor"], match["made"].lower())
    return f"{day}-o{orbit:05d}", [_STREAMS.get(match["stream"], "1"), *parts]


_SUPPORT = "PRODUCT/SUPPORT_DATA"
_OPERATIONAL: dict[str, Any] = {
    "longitude": "PRODUCT/longitude",
    "latitude": "PRODUCT/latitude",
    "time": "PRODUCT/time_utc",
    "value": "PRODUCT/methane_mixing_ratio_bias_corrected",
    "uncertainty": "PRODUCT/methane_mixing_ratio_precision",
    "quality": "PRODUCT/qa_value",
    "surface_pressure": f"{_SUPPORT}/INPUT_DATA/surface_pressure",
    "surface_altitude": f"{_SUPPORT}/INPUT_DATA/surface_altitude",
    "zenith": f"{_SUPPORT}/GEOLOCATIONS/viewing_zenith_angle",
    "azimuth": f"{_SUPPORT}/GEOLOCATIONS/viewing_azimuth_angle",
    "pressure_interval": f"{_SUPPORT}/INPUT_DATA/pressure_interval",
    "altitude": f"{_SUPPORT}/INPUT_DATA/altitude_levels",
    "averaging_kernel": f"{_SUPPORT}/DETAILED_RESULTS/column_averaging_kernel",
    "prior": f"{_SUPPORT}/INPUT_DATA/methane_profile_apriori",
    "prior_is": "partial_column",
    "dry_air": f"{_SUPPORT}/INPUT_DATA/dry_air_subcolumns",
    "corner_longitude": f"{_SUPPORT}/GEOLOCATIONS/longitude_bounds",
    "corner_latitude": f"{_SUPPORT}/GEOLOCATIONS/latitude_bounds",
    "id": ["PRODUCT/scanline", "PRODUCT/ground_pixel"],
    "top_first": True,
}
OPERATIONAL = Product(_OPERATIONAL, identify)

_BLENDED: dict[str, Any] = {
    name: value.rsplit("/", 1)[-1] if isinstance(value, str) and "/" in value else value
    for name, value in _OPERATIONAL.items()
    if name not in ("zenith", "azimuth", "altitude", "id")
}
BLENDED = Product(_BLENDED | {"value": "methane_mixing_ratio_blended"}, identify)
