"""The meteorology archives a scene may name, one module a model.

Importing them is cheap: a scene's settings are checked against their names.
"""

from collections.abc import Mapping
from types import MappingProxyType

from stilt_dagster.science.meteorology.sources.gdas0p5 import GDAS0P5
from stilt_dagster.science.meteorology.sources.gdas1 import GDAS1
from stilt_dagster.science.meteorology.sources.gfs0p25 import GFS0P25
from stilt_dagster.science.meteorology.sources.hrrr import HRRR, HRRR_V1
from stilt_dagster.science.meteorology.sources.nam12 import NAM12
from stilt_dagster.science.meteorology.sources.nams import NAMS
from stilt_dagster.science.meteorology.sources.narr import NARR
from stilt_dagster.science.meteorology.sources.reanalysis import REANALYSIS
from stilt_dagster.science.meteorology.sources.source import Source

__all__ = ["SOURCES", "Source"]

#: Every source by its name.
SOURCES: Mapping[str, Source] = MappingProxyType(
    {s.name: s for s in (HRRR, HRRR_V1, NAM12, NAMS, GFS0P25, GDAS1, GDAS0P5, NARR, REANALYSIS)}
)
