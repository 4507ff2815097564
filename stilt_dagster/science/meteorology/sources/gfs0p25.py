"""GFS: 3-hourly, 0.25 degrees, in day files."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Globe
from stilt_dagster.science.meteorology.sources.source import Source

GFS0P25 = Source(
    name="gfs0p25",
    title="GFS 0.25-degree global analysis",
    layout="gfs0p25/{start:%Y/%m/%Y%m%d}_gfs0p25",
    span="day",
    spacing=3,
    first=dt.datetime(2019, 6, 13),
    publication_lag=36,
    resolution=27.8,
    grid="0.25 degrees",
    domain=Globe(),
    vertical="hybrid",
)
