"""HRRR: hourly, 3 km, in files of six hours; its first version has names of its own, and ended in 2019."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.source import Source

HRRR = Source(
    name="hrrr",
    title="HRRR 3 km analysis",
    layout="hrrr/{start:%Y/%m/%Y%m%d_%H}-{last:%H}_hrrr",
    span="6 hours",
    spacing=1,
    first=dt.datetime(2019, 6, 12),
    publication_lag=30,
    domain="contiguous United States",
    vertical="sigma",
)

HRRR_V1 = Source(
    name="hrrr.v1",
    title="HRRR 3 km analysis, version 1",
    layout="hrrr.v1/{start:%Y/%m}/hysplit.{start:%Y%m%d.%H}z.hrrra",
    span="6 hours",
    spacing=1,
    first=dt.datetime(2015, 6, 15),
    publication_lag=None,
    domain="contiguous United States",
    vertical="sigma",
)
