"""NCEP's North American Regional Reanalysis: 3-hourly, 32 km, in month files; ended in 2019."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.source import Source

NARR = Source(
    name="narr",
    title="NARR 32 km reanalysis",
    layout="narr/{start:%Y}/NARR{start:%Y%m}",
    span="month",
    spacing=3,
    first=dt.datetime(1979, 1, 1),
    publication_lag=None,
    domain="North America",
    vertical="pressure",
)
