"""MethaneSAT methane: post-processed L2 swaths, and L3 grids.

Names and the pressure grid are those public tools read; no file was at hand to check them. Neither product is known to
hold an uncertainty: give one, ``mapping: {constants: {uncertainty: 0.02}}``, and override what differs.

Layers are those of the CO2-proxy retrieval: 13 of equal depth from the ground to the tropopause, then edges half way
to 80 hPa and at 80, 50, 10, 1 and 0.1 hPa. L3 files keep the kernel's mass-weighted mean and the prior's column only:
each stands for all layers.
"""

from __future__ import annotations

from typing import Any

from stilt_dagster.retrievals.table import Product, by_start

_HYBRID = [
    *((1 - k / 13, 1.0, 0.0) for k in range(14)),
    (0.0, 0.5, 40.0),
    *((0.0, 0.0, p) for p in (80.0, 50.0, 10.0, 1.0, 0.1)),
]
_UNITS = {"value": "ppb", "prior": "ppb", "surface_pressure": "hPa", "tropopause_pressure": "hPa"}

_TABLE: dict[str, Any] = {
    "surface_pressure": "apriori_data/surface_pressure",
    "tropopause_pressure": "apriori_data/tropopause_pressure",
    "pressure_hybrid": _HYBRID,
    "top_first": True,
}
LEVEL_2 = Product(
    _TABLE
    | {
        "longitude": "geolocation/longitude",
        "latitude": "geolocation/latitude",
        "time": "geolocation/time",
        "value": "product_co2proxy/xch4_co2proxy",
        "quality": "product_co2proxy/main_quality_flag",
        "quality_is": "flag",
        "averaging_kernel": "co2proxy_fit_diagnostics/ch4_averaging_kernel",
        "prior": "apriori_data/ch4_profile",
    },
    by_start,
    _UNITS,
)
LEVEL_3 = Product(
    _TABLE
    | {
        "longitude": "lon",
        "latitude": "lat",
        "time": "time",
        "value": "xch4",
        "surface_altitude": "geolocation/terrain_height",
        "averaging_kernel": "co2proxy_fit_diagnostics/ch4_averaging_kernel_mean",
        "prior": "apriori_data/xch4",
        "repeated": ["averaging_kernel", "prior"],
    },
    by_start,
    {**_UNITS, "surface_altitude": "km", "time": "seconds since 1970-01-01"},
)
