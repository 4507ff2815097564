"""The demo: a scene on meteorology made from formulas, so that real HYSPLIT runs with no network."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from stilt_dagster.demo.granule import write_granule_example
from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.errors import StoreError
from stilt_dagster.science.scenes.loading import parse_scene
from stilt_dagster.science.scenes.spec import Scene

__all__ = ["Weather", "demo_scene", "make_meteorology", "write_granule_example"]


def demo_scene(directory: Path) -> Scene:
    """Make the demo's meteorology, unless it is there, and return its scene.

    Parameters
    ----------
    directory : Path
        Where the meteorology goes.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    weather = Weather(speed=4.0, direction=200, veer=4.0, shear=True, hill=600)
    try:
        make_meteorology(directory, "2023-07-15T00:00", 24, (-114.6, 38.8, -110.4, 42.4), weather)
    except OSError as error:
        raise StoreError(
            f"cannot write {directory}: {error.strerror}; set STILT_STORE to a directory with room"
        ) from error
    text = files(__package__).joinpath("scene.yaml").read_text().replace("METEOROLOGY", json.dumps(str(directory)))
    return parse_scene(text, "the demo's scene", directory)
