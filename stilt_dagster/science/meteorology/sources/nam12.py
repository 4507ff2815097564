"""NAM on pressure levels: 3-hourly, 12 km, in day files."""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Lambert
from stilt_dagster.science.meteorology.sources.source import Source

NAM12 = Source(
    name="nam12",
    title="NAM 12 km analysis",
    layout="nam12/{start:%Y/%m/%Y%m%d}_nam12",
    span="day",
    spacing=3,
    first=dt.datetime(2007, 5, 26),
    publication_lag=33,
    resolution=12.0,
    grid="12 km",
    domain=Lambert(
        "North America", nx=614, ny=428, spacing=12.191, parallel=25.0, orientation=265.0, corner=(226.541, 12.19)
    ),
    vertical="pressure",
)
