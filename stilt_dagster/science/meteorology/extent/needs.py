"""What a scene needs of its meteorology: where its receptors and its footprint are, when, and how high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from stilt_dagster.science.meteorology.arl.grids import Box
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.spec import Scene

#: Releases whose winds are looked at, at most.
_RELEASES = 5


@dataclass(frozen=True)
class Needs:
    """What a scene needs of its meteorology.

    Attributes
    ----------
    receptors : tuple of float
        The box of its receptors, degrees.
    box : tuple of float
        The box of its receptors and its footprint's grid.
    releases : sequence of Timestamp
        The first and the last release, and some between.
    n_hours : int
        Length of a run, negative backward.
    top : float
        The highest release, m.
    """

    receptors: Box
    box: Box
    releases: Sequence[pd.Timestamp]
    n_hours: int
    top: float

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """Return what a scene needs."""
        receptors = scene.receptor_list
        times = np.unique(receptors.time)
        picked = times[np.unique(np.linspace(0, len(times) - 1, _RELEASES).round().astype(int))]
        return cls(
            receptors=scene_box(receptors),
            box=scene_box(receptors, scene.footprint.grid),
            releases=[pd.Timestamp(time) for time in picked],
            n_hours=scene.transport.n_hours,
            top=float(receptors.height.max()),
        )


def scene_box(receptors: Receptors, grid: Grid | None = None) -> Box:
    """Return the box that holds the receptors, and the footprint's grid where one is given, degrees.

    West lies over east where the box crosses the antimeridian.
    """
    lons, lats = receptors.longitude, receptors.latitude
    if grid is None:
        # The longitudes are those of one side of the antimeridian, or of the side that they are closer together on.
        turned = np.stack([(lons + 180) % 360 - 180, lons % 360])
        lons = turned[int(np.ptp(turned[1]) < np.ptp(turned[0]))]
        west, east, south, north = lons.min(), lons.max(), lats.min(), lats.max()
    else:
        west, east = (grid.xmin, grid.xmax) if grid.xmin <= grid.xmax else (grid.xmin, grid.xmax + 360)
        # Bring receptors to the side of the antimeridian the grid is on.
        centre = (west + east) / 2
        lons = (lons - centre + 180) % 360 - 180 + centre
        west, east = min(west, lons.min()), max(east, lons.max())
        south, north = min(grid.ymin, lats.min()), max(grid.ymax, lats.max())
    if east - west >= 360:
        return -180.0, float(south), 180.0, float(north)
    east = (east + 180) % 360 - 180 if east > 180 else east
    return float((west + 180) % 360 - 180), float(south), float(east), float(north)
