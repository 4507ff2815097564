"""Which margin would have held particles that left a scene's meteorology."""

from __future__ import annotations

import math

from stilt_dagster.science.meteorology.aggregate import scene_box
from stilt_dagster.science.meteorology.crop import Box
from stilt_dagster.science.meteorology.description import GridDescription
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
    # A crop is wider than asked for, by some cells or what a valid file needs; the narrowest side counts.
    box = scene_box(scene.receptor_list, scene.footprint.grid)
    has = max(scene.meteorology.margin or 0.0, _narrowest_side(box, grid.extent))
    return min(round(math.ceil((has + reach) / _STEP) * _STEP, 1), 180.0)


def _narrowest_side(box: Box, extent: list[float]) -> float:
    west, south, east, north = box
    sides = [south - extent[1], extent[3] - north]
    if west <= east and extent[0] <= west and east <= extent[2]:  # neither crosses the antimeridian
        sides += [west - extent[0], extent[2] - east]
    return max(min(sides), 0.0)
