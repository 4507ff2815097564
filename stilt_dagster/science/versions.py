"""Versions of a scene's products: hashes of all that each is made of, known before it is made.

Recorded with what was made, they tell what must be made again without opening a file: when a spec, the meteorology, the
engine or a method has changed.
"""

from __future__ import annotations

from typing import Any

from stilt_dagster.science.footprints import GRIDDING_VERSION
from stilt_dagster.science.jacobian import FORMAT, observed
from stilt_dagster.science.meteorology import Description, meteorology_key
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.spec import digest

__all__ = [
    "background_version",
    "footprints_version",
    "jacobian_version",
    "meteorology_key",
    "meteorology_version",
    "receptors_version",
    "trajectories_version",
]


def releases_version(scene: Scene) -> str:
    """Return the version of where and when a scene releases particles."""
    return digest(["receptors", [r.id for r in scene.receptor_list]])


def receptors_version(scene: Scene) -> str:
    """Return the version of a scene's receptor table: of a retrieval it holds what was observed, too."""
    releases = releases_version(scene)
    return digest([releases, scene.soundings.digests()]) if scene.has_columns else releases


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
    return digest([meteorology, engine, scene.transport.identity, releases_version(scene)])


def footprints_version(scene: Scene, trajectories: str) -> str:
    """Return the version of a scene's footprints, of every shard, made of trajectories of a version."""
    made_of = [trajectories, scene.footprint.model_dump(), GRIDDING_VERSION]
    if scene.is_weighted:
        made_of.append(scene.weighting.model_dump())
    if scene.has_columns:
        made_of.append(scene.soundings.digests()["kernels"])
    return digest(made_of)


def background_version(scene: Scene, trajectories: str) -> str:
    """Return the version of a scene's background, made of trajectories of a version."""
    made_of: list[Any] = ["background/1", trajectories, scene.weighting.model_dump()]
    if scene.background is not None:
        made_of.append(scene.background.model_dump())
        if scene.background.at == "edge":
            made_of.append(scene.footprint.model_dump())
    if scene.has_columns:
        made_of.append(scene.soundings.digests()["kernels"])
    return digest(made_of)


def jacobian_version(scene: Scene, footprints: str) -> str:
    """Return the version of a scene's jacobian, made of footprints of a version."""
    return digest([FORMAT, footprints, *observed(scene)])
