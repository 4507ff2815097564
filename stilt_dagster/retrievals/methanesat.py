"""MethaneSAT methane: L2 swaths and L3 grids.

The schema is as far as public tools tell it, and was not checked against a file: override what differs by ``mapping``.
L3 files keep one profile grid; each cell with a value is a sounding.
"""

from __future__ import annotations

from stilt_dagster.retrievals.granule import Product, by_start

LEVEL_2 = Product(
    {
        "longitude": "Geolocation/longitude",
        "latitude": "Geolocation/latitude",
        "time": "Geolocation/time",
        "value": "Product/xch4",
        "uncertainty": "Product/xch4_uncertainty",
        "quality": "Product/main_quality_flag",
        "quality_is": "flag",
        "surface_pressure": "APrioriProfile/surface_pressure",
        "surface_altitude": "Geolocation/terrain_height",
        "zenith": "Geolocation/viewing_zenith_angle",
        "azimuth": "Geolocation/viewing_azimuth_angle",
        "pressure": "APrioriProfile/pressure_edge",
        "averaging_kernel": "Product/averaging_kernel",
        "prior": "APrioriProfile/ch4_profile",
    },
    by_start,
    {"value": "ppb", "uncertainty": "ppb", "prior": "ppb", "surface_pressure": "hPa", "pressure": "hPa"},
)

LEVEL_3 = Product(
    {
        "longitude": "lon",
        "latitude": "lat",
        "time": "time",
        "value": "xch4",
        "uncertainty": "xch4_uncertainty",
        "surface_pressure": "apriori_data/surface_pressure",
        "surface_altitude": "terrain_height",
        "pressure": "apriori_data/pressure_edge",
        "averaging_kernel": "averaging_kernel",
        "prior": "apriori_data/ch4_profile",
    },
    by_start,
    {"value": "ppb", "uncertainty": "ppb", "prior": "ppb", "surface_pressure": "hPa", "pressure": "hPa"},
)
