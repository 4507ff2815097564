"""GDAS at 0.5 degrees, 3-hourly, in day files; ended in 2019."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Globe
from stilt_dagster.science.meteorology.sources.source import Source

GDAS0P5 = Source(
    name="gdas0p5",
    title="GDAS 0.5-degree global analysis",
    layout="gdas0p5/{start:%Y/%m/%Y%m%d}_gdas0p5",
    span="day",
    spacing=3,
    first=dt.datetime(2007, 9, 1),
    last=dt.datetime(2019, 6, 12, 21),
    publication_lag=None,
    resolution=55.6,
    grid="0.5 degrees",
    domain=Globe(),
    vertical="hybrid",
)
