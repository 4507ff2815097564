"""NCEP's North American Regional Reanalysis: 3-hourly, 32 km, in month files; ended in 2019."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Lambert
from stilt_dagster.science.meteorology.sources.source import Source

NARR = Source(
    name="narr",
    title="NARR 32 km reanalysis",
    layout="narr/{start:%Y}/NARR{start:%Y%m}",
    span="month",
    spacing=3,
    first=dt.datetime(1979, 1, 1),
    last=dt.datetime(2019, 12, 31, 21),
    publication_lag=None,
    resolution=32.463,
    grid="32 km",
    domain=Lambert(
        "North America", nx=349, ny=277, spacing=32.463, parallel=50.0, orientation=253.0, corner=(214.5, 1.0)
    ),
    vertical="pressure",
)
