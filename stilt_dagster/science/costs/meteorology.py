"""About how much meteorology a scene reads from an archive that is not asked."""

from __future__ import annotations

import math

from stilt_dagster.science.meteorology.aggregate import Foreseen
from stilt_dagster.science.meteorology.extent.needs import scene_box
from stilt_dagster.science.meteorology.sources import PREFERENCE, SOURCES
from stilt_dagster.science.meteorology.sources.domain import EARTH_RADIUS, Lambert, LonLatBox
from stilt_dagster.science.meteorology.sources.source import Source
from stilt_dagster.science.scenes.spec import Scene

#: Records of a time step that are read, and the share of each: to the northern row of a crop in the middle.
_RECORDS, _SHARE = 180, 0.58

#: Share of what is read that is kept.
_KEPT = 0.08


def typical_aggregate(scene: Scene) -> Foreseen:
    """Return about what a scene's aggregate will be: nothing is known of a directory, whose grid is not."""
    names = scene.meteorology.sources
    if not names:
        return Foreseen(None, 0)
    box = scene_box(scene.receptor_list, scene.footprint.grid)
    sources = [SOURCES[name] for name in names if name in SOURCES]
    if not sources:
        first = scene.time.replace(tzinfo=None)
        sources = [next(s for s in PREFERENCE if s.covers(*box) and s.first <= first <= (s.last or first))]
    receptors, read = scene.receptor_list, 0.0
    hours = float(receptors.minutes.max() - receptors.minutes.min()) / 60 + abs(scene.transport.n_hours)
    for source in sources:
        steps = math.ceil(hours / source.spacing) + 1
        read += steps * _RECORDS * _SHARE * _points(source)
    return Foreseen(round(read), min(round(read * _KEPT), scene.meteorology.budget * len(sources)))


def _points(source: Source) -> float:
    """Return about how many points a source's grid has."""
    domain = source.domain
    if isinstance(domain, Lambert):
        return domain.nx * domain.ny
    if isinstance(domain, LonLatBox):
        degree = math.radians(1) * EARTH_RADIUS
        width, height = (domain.east - domain.west) % 360, domain.north - domain.south
        return width * height * (degree / source.resolution) ** 2
    return 2 * (math.pi * EARTH_RADIUS / source.resolution) ** 2
