"""NCEP/NCAR's reanalysis: 6-hourly, 2.5 degrees, in month files."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Globe
from stilt_dagster.science.meteorology.sources.source import Source

REANALYSIS = Source(
    name="reanalysis",
    title="NCEP/NCAR 2.5-degree global reanalysis",
    layout="reanalysis/{start:%Y}/RP{start:%Y%m}.gbl",
    span="month",
    spacing=6,
    first=dt.datetime(1948, 1, 1),
    publication_lag=24 * 33,
    resolution=278.0,
    grid="2.5 degrees",
    domain=Globe(),
    vertical="pressure",
)
