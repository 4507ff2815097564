"""OCO-2 and OCO-3 carbon dioxide: L2 Lite files, one a day.

Source: OCO-2 & OCO-3 Data Product User's Guide (JPL D-55208). Profiles have 20 levels, from the top down; the kernel is
the normalised column averaging kernel, and the pressure weights are the retrieval's.
"""

from __future__ import annotations

import datetime as dt
import re

from netCDF4 import Dataset

from stilt_dagster.retrievals.table import Product

_NAME = re.compile(r"_B(?P<build>\d+[A-Za-z]*)_(?P<made>\d{12})")


def identify(file: Dataset, name: str, first: dt.datetime) -> tuple[str, list[str]]:
    """Return the day, and the build and time of making, which the file's attributes or its name say."""
    said = " ".join(str(getattr(file, a, "")) for a in ("id", "title", "BuildId", "CollectionLabel", "identifier"))
    match = _NAME.search(said) or _NAME.search(name)
    version = [match["build"].lower(), match["made"]] if match else [str(getattr(file, "date_created", "")).lower()]
    return f"{first:%Y%m%d}", version


LITE = Product(
    {
        "longitude": "longitude",
        "latitude": "latitude",
        "time": "time",
        "value": "xco2",
        "uncertainty": "xco2_uncertainty",
        "quality": "xco2_quality_flag",
        "quality_is": "flag",
        "surface_pressure": "Retrieval/psurf",
        "surface_altitude": "Sounding/altitude",
        "zenith": "sensor_zenith_angle",
        "azimuth": "Sounding/sensor_azimuth_angle",
        "pressure": "pressure_levels",
        "averaging_kernel": "xco2_averaging_kernel",
        "prior": "co2_profile_apriori",
        "pressure_weight": "pressure_weight",
        "corner_longitude": "vertex_longitude",
        "corner_latitude": "vertex_latitude",
        "id": ["sounding_id"],
        "top_first": True,
    },
    identify,
)
