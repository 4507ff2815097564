"""The meteorology archives a scene may name, one module a model.

Importing them is cheap: a scene's settings are checked against their names.
"""

from collections.abc import Mapping
from types import MappingProxyType

from stilt_dagster.science.meteorology.sources.gdas0p5 import GDAS0P5
from stilt_dagster.science.meteorology.sources.gdas1 import GDAS1
from stilt_dagster.science.meteorology.sources.gfs0p25 import GFS0P25
from stilt_dagster.science.meteorology.sources.hrrr import HRRR, HRRR_V1
from stilt_dagster.science.meteorology.sources.hrrr_google import HRRR_FORECAST, HRRR_GOOGLE
from stilt_dagster.science.meteorology.sources.nam12 import NAM12
from stilt_dagster.science.meteorology.sources.nams import NAMS, NAMS_AK, NAMS_HI
from stilt_dagster.science.meteorology.sources.narr import NARR
from stilt_dagster.science.meteorology.sources.reanalysis import REANALYSIS
from stilt_dagster.science.meteorology.sources.source import NOAA, Source

__all__ = ["AUTO", "PREFERENCE", "SOURCES", "Source", "public_root"]

#: What a scene writes that leaves the choice of its source to what it needs.
AUTO = "auto"

#: Every source that the choice may fall on, the best first: HRRR where it is, else GFS; of earlier times, the finest.
PREFERENCE = (
    HRRR,
    HRRR_GOOGLE,
    HRRR_V1,
    GFS0P25,
    NAMS_HI,
    NAMS,
    NAMS_AK,
    NAM12,
    NARR,
    GDAS0P5,
    GDAS1,
    REANALYSIS,
)

#: Every source by its name.
SOURCES: Mapping[str, Source] = MappingProxyType({s.name: s for s in (*PREFERENCE, HRRR_FORECAST)})

_ROOTS = {s.layout.split("/", 1)[0]: s.root for s in SOURCES.values()} | {s.name: s.root for s in SOURCES.values()}


def public_root(location: str) -> str:
    """Return the URL that a location of a source's file is below where no mirror is named."""
    return _ROOTS.get(location.split("/", 1)[0], NOAA)
