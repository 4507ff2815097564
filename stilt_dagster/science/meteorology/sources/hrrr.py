"""HRRR: hourly, 3 km, in files of six hours; its first version has names of its own, and ended in 2019."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Lambert
from stilt_dagster.science.meteorology.sources.source import Source

CONUS_3KM = Lambert(
    "contiguous United States", nx=1799, ny=1059, spacing=3.0, parallel=38.5, orientation=262.5, corner=(237.28, 21.138)
)

HRRR = Source(
    name="hrrr",
    title="HRRR 3 km analysis",
    layout="hrrr/{start:%Y/%m/%Y%m%d_%H}-{last:%H}_hrrr",
    span="6 hours",
    spacing=1,
    first=dt.datetime(2019, 6, 12),
    publication_lag=30,
    resolution=3.0,
    grid="3 km",
    domain=CONUS_3KM,
    vertical="sigma",
)

#: It gave way to ``hrrr``; the day is the one that begins with.
HRRR_V1 = Source(
    name="hrrr.v1",
    title="HRRR 3 km analysis, version 1",
    layout="hrrr.v1/{start:%Y/%m}/hysplit.{start:%Y%m%d.%H}z.hrrra",
    span="6 hours",
    spacing=1,
    first=dt.datetime(2015, 6, 15),
    last=dt.datetime(2019, 6, 12, 23),
    publication_lag=None,
    resolution=3.0,
    grid="3 km",
    domain=CONUS_3KM,
    vertical="sigma",
)
