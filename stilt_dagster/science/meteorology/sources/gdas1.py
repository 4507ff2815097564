"""GDAS: 3-hourly, 1 degree, in files of a week of the month."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Globe
from stilt_dagster.science.meteorology.sources.source import Source

GDAS1 = Source(
    name="gdas1",
    title="GDAS 1-degree global analysis",
    layout="gdas1/{start:%Y}/gdas1.{month}{start:%y}.w{week}",
    span="week",
    spacing=3,
    first=dt.datetime(2004, 12, 1),
    publication_lag=24 * 8,
    resolution=111.2,
    grid="1 degree",
    domain=Globe(),
    vertical="pressure",
)
