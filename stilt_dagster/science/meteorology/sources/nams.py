"""NAM on its own levels: hourly, 12 km, in day files."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.source import Source

NAMS = Source(
    name="nams",
    title="NAM 12 km analysis on hybrid levels",
    layout="nams/{start:%Y/%m/%Y%m%d}_hysplit.t00z.namsa",
    span="day",
    spacing=1,
    first=dt.datetime(2009, 3, 22),
    publication_lag=30,
    domain="contiguous United States",
    vertical="hybrid",
)
