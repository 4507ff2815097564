"""Versions of a scene's products: hashes of all that each is made of, known before it is made.

Recorded with what was made, they tell what must be made again without opening a file: when a spec, the meteorology, the
engine or a method has changed.
"""

from __future__ import annotations

from stilt_dagster.science.footprints import GRIDDING_VERSION
from stilt_dagster.science.jacobian import FORMAT
from stilt_dagster.science.meteorology import Description, meteorology_key
from stilt_dagster.science.scene import Scene, digest

__all__ = [
    "footprints_version",
    "jacobian_version",
    "meteorology_key",
    "meteorology_version",
    "receptors_version",
    "trajectories_version",
]


def receptors_version(scene: Scene) -> str:
    """Return the version of a scene's receptor table."""
    return digest(["receptors", [r.id for r in scene.receptor_list]])


def meteorology_version(description: Description) -> str:
    """Return the version of an aggregate that was made: what it was asked to be, a point, and its checksum.

    What lies before the point is :func:`meteorology_key`; what lies behind changes when an archive does.
    """
    return f"{description.key}.{description.sha256}"


def trajectories_version(scene: Scene, meteorology: str, engine: str) -> str:
    """Return the version of a scene's trajectories, of every shard.

    Parameters
    ----------
    scene : Scene
        The scene.
    meteorology : str
        Checksum of its meteorology aggregate.
    engine : str
        Version of the transport engine.
    """
    return digest([meteorology, engine, scene.transport.identity, receptors_version(scene)])


def footprints_version(scene: Scene, trajectories: str) -> str:
    """Return the version of a scene's footprints, of every shard, made of trajectories of a version."""
    return digest([trajectories, scene.footprint.model_dump(), GRIDDING_VERSION])


def jacobian_version(footprints: str) -> str:
    """Return the version of a scene's jacobian, made of footprints of a version."""
    return digest([FORMAT, footprints])
