"""Which margin would have held particles that left a scene's meteorology."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stilt_dagster.science.meteorology.arl.grids import Box
from stilt_dagster.science.meteorology.description import GridDescription
from stilt_dagster.science.meteorology.extent.needs import scene_box
from stilt_dagster.science.outcomes import Escapes
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
    box = scene_box(scene.receptor_list, scene.footprint.grid)
    has = max(scene.meteorology.margin or 0.0, _widest_side(box, grid))
    return float(min(round(math.ceil((has + reach) / _STEP) * _STEP, 1), 180.0))


def margin_to_try(scene: Scene, grids: Sequence[GridDescription], found: Escapes) -> float | None:
    """Return the margin that is estimated to hold the particles that left, degrees; None if no margin can."""
    return margin_that_holds(scene, grids[-1], found.reach) if scene.meteorology.crop and found.reach else None


def escape_warning(scene: Scene, grids: Sequence[GridDescription], found: Escapes) -> str:
    """Return that many particles left a scene's meteorology, and what to do.

    Parameters
    ----------
    scene : Scene
        The scene.
    grids : sequence of GridDescription
        Its meteorology, the finest grid first.
    found : Escapes
        How many particles left.
    """
    advice = "name a larger source around it, such as source: [hrrr, gfs0p25]"
    if scene.meteorology.crop:
        margin = margin_to_try(scene, grids, found)
        advice = f"raise meteorology.margin{'' if margin is None else f' to {margin:g}'}, or {advice}"
    return f"{found.fraction:.1%} of the particles of scene {scene.id} left its meteorology: {advice}"


def _widest_side(box: Box, grid: GridDescription) -> float:
    west, south, east, north = box
    left, bottom, right, top = grid.extent
    width = (right - left) % 360
    around = width * grid.nx >= 359.9 * (grid.nx - 1)
    sides = [(west - left) % 360, (right - east) % 360]
    inside = sum(sides) + (east - west) % 360 <= width + 0.01
    return max(south - bottom, top - north, 0.0, *(sides if inside and not around else ()))
