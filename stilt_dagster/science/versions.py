"""What identifies each product of a scene: one place that says what goes into its hash, and why.

A *version* is known before a product is made, from the spec, the engine and the checksum of the meteorology. It is
recorded with every materialization, so that what must be made again is told without opening a file. A *key* is
written into a part file or a jacobian; it covers exactly what that one file was made of, so that adding receptors to a
scene keeps the parts whose receptors have not changed.

===================== ================================================================================================
product               its hash covers
===================== ================================================================================================
receptors             ids, which hold time and position; of a retrieval also what was observed, which the table holds
meteorology_aggregate settings, receptors, grid, hours: what decides the crop; then its checksum, as archives change
trajectories          that checksum, the engine's binary, transport settings, receptor ids; of scenes with precision
                      also what decides how many particles there are: the grid's edges, and weights; the version,
                      and no key, also at which share of receptors their engine is held against hycs_std
footprints            trajectories, the grid, the gridding's own version; of weighted particles also their weights
background            trajectories, its settings, weights; the grid where particles are sampled at its edge, or leave it
jacobian              footprints, its format, what was observed, settings of background and transport error; the key
                      also how the engine compares with hycs_std
report                jacobian, the version of the page
===================== ================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from stilt_dagster.science.files.format_numbers import JACOBIAN_FORMAT
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.validation import digest

if TYPE_CHECKING:
    from stilt_dagster.science.engine_agreement import Agreement

#: Raised when footprints of the same particles would come out otherwise, so that they are made anew.
GRIDDING_VERSION = 1

#: Raised when the number of particles that a precision takes would come out otherwise.
_ROW_ESTIMATE = 1

#: Raised when backgrounds of the same particles would come out otherwise.
_BACKGROUND = "background/1"

#: Raised when transport errors of the same particles would come out otherwise.
_TRANSPORT_ERROR = "transport_error/1"

#: Raised when the report of the same jacobian would say something else, so that it is made anew.
_REPORT = "report/1"


# -- receptors ---------------------------------------------------------------------------------------------------------


def releases_version(scene: Scene) -> str:
    """Return the version of where and when a scene releases particles."""
    return digest(["receptors", scene.receptor_ids])


def receptors_version(scene: Scene) -> str:
    """Return the version of a scene's receptor table."""
    releases = releases_version(scene)
    return digest([releases, scene.soundings.digests()]) if scene.has_columns else releases


# -- meteorology -------------------------------------------------------------------------------------------------------


def meteorology_key(scene: Scene) -> str:
    """Return the hash of everything in a scene that decides its meteorology."""
    grid = scene.footprint.grid.settings
    return digest([scene.meteorology.model_dump(), grid, scene.transport.n_hours, scene.receptor_ids])


def meteorology_version(key: str, sha256: str) -> str:
    """Return the version of an aggregate that was made: what it was asked to be, a point, and its checksum."""
    return f"{key}.{sha256}"


# -- trajectories ------------------------------------------------------------------------------------------------------


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
    made_of: list[Any] = [meteorology, engine, _transport(scene), releases_version(scene)]
    if scene.transport.engine_check is not None:
        made_of.append(["engine_check", scene.transport.engine_check])
    return digest(made_of)


def simulation_key(scene: Scene, meteorology: str, engine: str) -> str:
    """Return the hash of what makes every simulation of a scene, its receptor aside."""
    return digest([meteorology, engine, _transport(scene)])


def _transport(scene: Scene) -> dict[str, Any]:
    """Return what of a scene makes the particles of a receptor."""
    identity = scene.transport.identity
    if scene.transport.precision is not None:
        grid = scene.footprint.grid
        identity["row"] = [_ROW_ESTIMATE, grid.extent, grid.projection, scene.weighting.model_dump()]
        if scene.has_columns:
            identity["row"].append(scene.soundings.digests()["kernels"])
    return identity


def batch_key(simulation: str, ids: Sequence[str]) -> str:
    """Return the key of a batch's trajectories: :func:`simulation_key`, and the batch's receptors."""
    return digest([simulation, list(ids)])


# -- footprints --------------------------------------------------------------------------------------------------------


def footprints_version(scene: Scene, trajectories: str) -> str:
    """Return the version of a scene's footprints, of every shard, made of trajectories of a version."""
    made_of = _gridded(scene, trajectories)
    if scene.has_columns:
        made_of.append(scene.soundings.digests()["kernels"])
    return digest(made_of)


def footprint_key(scene: Scene, batch: str, ids: Sequence[str]) -> str:
    """Return the key of a batch's footprints: the batch's own, the grid, and the weights of its particles."""
    made_of = _gridded(scene, batch)
    if scene.has_columns:
        rows = np.array([scene.sounding_rows[receptor] for receptor in ids], np.int64)
        made_of.append(scene.soundings.select(rows).digests()["kernels"])
    return digest(made_of)


def _gridded(scene: Scene, particles: str) -> list[Any]:
    made_of = [particles, scene.footprint.model_dump(), GRIDDING_VERSION]
    if scene.is_weighted:
        made_of.append(scene.weighting.model_dump())
    return made_of


def simulations_digest(ended: Iterable[tuple[str, str]]) -> str:
    """Return the hash of how a batch's simulations ended, which its footprints keep: another try changes it.

    Parameters
    ----------
    ended : iterable of (str, str)
        Each receptor's id and status, in the order of the batch.
    """
    return digest(list(ended))


# -- background, jacobian, report --------------------------------------------------------------------------------------


def background_version(scene: Scene, trajectories: str) -> str:
    """Return the version of a scene's background, made of trajectories of a version."""
    made_of: list[Any] = [_BACKGROUND, trajectories, scene.weighting.model_dump()]
    if scene.background is not None:
        made_of.append(scene.background.model_dump())
        if scene.background.at == "edge" or scene.background.boundary is not None:
            made_of.append(scene.footprint.model_dump())
    if scene.has_columns:
        made_of.append(scene.soundings.digests()["kernels"])
    return digest(made_of)


def jacobian_version(scene: Scene, footprints: str) -> str:
    """Return the version of a scene's jacobian, made of footprints of a version."""
    return digest([JACOBIAN_FORMAT, footprints, *_observed(scene)])


def jacobian_key(scene: Scene, parts: Iterable[tuple[str, str]], agreement: Agreement | None) -> str:
    """Return the key of a jacobian: keys of its footprint files and of their simulations, and the order of its rows.

    Of an engine that is held against hycs_std also how it compares, which the jacobian says.
    """
    made_of = [JACOBIAN_FORMAT, [tuple(part) for part in parts], scene.receptor_ids, *_observed(scene)]
    if agreement is not None:
        made_of.append(asdict(agreement))
    return digest(made_of)


def report_version(jacobian: str) -> str:
    """Return the version of a scene's report, made of a jacobian of a version."""
    return digest([_REPORT, jacobian])


def _observed(scene: Scene) -> list[Any]:
    """Return what of a retrieval, a background and a transport error goes into a jacobian; nothing for other scenes."""
    made_of: list[Any] = [scene.soundings.digests()["observations"]] if scene.has_columns else []
    if scene.background is not None:
        made_of.append(scene.background.model_dump())
    if scene.transport_error is not None:
        made_of.append([_TRANSPORT_ERROR, scene.transport_error.model_dump()])
    return made_of
