"""NAM on its own levels: hourly, in day files of three domains.

NOAA ARL does not publish where these grids end. The boxes below are what each is certain to have, so that a scene near
an edge is given another source, and not one that turns out to be too small.
"""

import datetime as dt

from stilt_dagster.science.meteorology.sources.domain import Domain, LonLatBox
from stilt_dagster.science.meteorology.sources.source import Source


def _nams(name: str, suffix: str, title: str, resolution: float, domain: Domain) -> Source:
    return Source(
        name=name,
        title=f"NAM {title} analysis on hybrid levels",
        layout=f"nams/{{start:%Y/%m/%Y%m%d}}_hysplit.t00z.namsa{suffix}",
        span="day",
        spacing=1,
        first=dt.datetime(2009, 3, 22),
        publication_lag=30,
        resolution=resolution,
        grid=title,
        domain=domain,
        vertical="hybrid",
    )


NAMS = _nams("nams", "", "12 km", 12.0, LonLatBox("contiguous United States", -125, 24, -66, 50))
NAMS_AK = _nams("nams.ak", ".AK", "12 km", 12.0, LonLatBox("Alaska", -170, 53, -130, 72))
NAMS_HI = _nams("nams.hi", ".HI", "2.5 km", 2.5, LonLatBox("Hawaii", -161, 18, -154, 23))
