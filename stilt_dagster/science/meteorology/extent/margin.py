"""Which margin would have held particles that left a scene's meteorology."""

from __future__ import annotations

import math

from stilt_dagster.science.meteorology.arl.grids import Box
from stilt_dagster.science.meteorology.description import GridDescription
from stilt_dagster.science.meteorology.extent.needs import scene_box
from stilt_dagster.science.scenes.spec import Scene

#: What a margin is rounded up to, degrees.
_STEP = 0.1


def margin_that_holds(scene: Scene, grid: GridDescription, reach: float) -> float:
    """Return the ``meteorology.margin`` by which particles would have stayed, an estimate as *reach* is.

    Parameters
    ----------
    scene : Scene
        The scene.
    grid : GridDescription
        The outermost grid of its meteorology.
    reach : float
        How far beyond it they would have gone on, degrees.
    """
    # Which side they left on is not known: the widest counts, of a crop that follows the wind.
    has = max(
        scene.meteorology.margin or 0.0, _widest_side(scene_box(scene.receptor_list, scene.footprint.grid), grid.extent)
    )
    return float(min(round(math.ceil((has + reach) / _STEP) * _STEP, 1), 180.0))


def _widest_side(box: Box, extent: list[float]) -> float:
    west, south, east, north = box
    sides = [south - extent[1], extent[3] - north]
    if (
        extent[2] - extent[0] < 359 and extent[0] <= west <= east <= extent[2]
    ):  # not around the globe, nor across its seam
        sides += [west - extent[0], extent[2] - east]
    return max(*sides, 0.0)
