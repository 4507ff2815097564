"""HRRR in Google's public bucket, as stiltctl reads it: NOAA ARL's files, flat, from before those in its own archive.

Nothing public says when it begins. The first date is the first whole day of HRRR version 3; of the files that stiltctl
names, the earliest is of 2019-05-30. Forecasts are those that NOAA ARL makes each hour, 18 hours ahead.
"""

import datetime as dt

from stilt_dagster.science.meteorology.sources.hrrr import CONUS_3KM, HRRR
from stilt_dagster.science.meteorology.sources.source import Source

_ROOT = "https://storage.googleapis.com/high-resolution-rapid-refresh"

HRRR_GOOGLE = Source(
    name="hrrr.google",
    title="HRRR 3 km analysis, Google's mirror",
    layout="noaa_arl_formatted/{start:%Y%m%d_%H}-{last:%H}_hrrr",
    span="6 hours",
    spacing=1,
    first=dt.datetime(2018, 7, 13),
    publication_lag=30,
    resolution=3.0,
    grid="3 km",
    domain=CONUS_3KM,
    vertical="sigma",
    root=_ROOT,
    copy_of=HRRR,
)

#: A simulation reads the run that begins with its first hour; one that takes longer reads another after it. The first
#: date is the earliest that stiltctl names.
HRRR_FORECAST = Source(
    name="hrrr.forecast",
    title="HRRR 3 km forecast, Google's mirror",
    layout="noaa_arl_formatted/forecast/{start:%Y%m%d}/hysplit.t{start:%H}z.hrrrf",
    span="run",
    spacing=1,
    first=dt.datetime(2021, 6, 25),
    publication_lag=4,
    resolution=3.0,
    grid="3 km",
    domain=CONUS_3KM,
    vertical="sigma",
    root=_ROOT,
    horizon=18,
)
