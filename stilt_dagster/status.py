"""How far a scene is, read from the store alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h5netcdf

from stilt_dagster.io_managers.arl import read_description
from stilt_dagster.resources.store import Store
from stilt_dagster.science import footprints, trajectories
from stilt_dagster.science.background import read_background
from stilt_dagster.science.batches import Batch, ahead, kept, plan
from stilt_dagster.science.jacobian import jacobian_key
from stilt_dagster.science.meteorology import Description, meteorology_key
from stilt_dagster.science.particles import Outcome, ParticleFile, Source
from stilt_dagster.science.receptor_store import stored_version
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.versions import (
    background_version,
    footprints_version,
    jacobian_version,
    receptors_version,
    trajectories_version,
)

#: What an asset can be: not there, there in part, made of something that has changed since, or as it should be.
STATES = ("missing", "partial", "stale", "ready")


@dataclass
class Status:
    """How far a scene is.

    Attributes
    ----------
    scene : str
        The scene.
    receptors : int
        How many there are.
    outcomes : Counter of str
        Receptors by ``ok``, ``empty``, ``failed`` and ``pending``.
    failures : list of Outcome
        The failed ones.
    assets : dict of str to dict
        ``state`` (:data:`STATES`) of each asset, and of those made of parts how many are done.
    """

    scene: str
    receptors: int
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether every asset is as it should be and no receptor is failed that another try may save."""
        return all(a["state"] == "ready" for a in self.assets.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "scene": self.scene,
            "receptors": self.receptors,
            **{name: self.outcomes[name] for name in ("ok", "empty", "failed", "pending")},
            "failures": [{"receptor": o.receptor, "reason": o.reason, "message": o.message} for o in self.failures],
            "assets": self.assets,
        }


def scene_status(store: Store, scene_id: str, engine: str) -> Status:
    """Return how far a scene is.

    Parameters
    ----------
    store : Store
        The store.
    scene_id : str
        The scene.
    engine : str
        Version of the transport engine, which is part of what makes trajectories.

    Returns
    -------
    Status

    Raises
    ------
    SceneError
        If the scene is not registered.
    StoreError
        If the store cannot be read.
    """
    scene = store.scene(scene_id)
    ids = [r.id for r in scene.receptor_list]
    status = Status(scene_id, len(ids))
    status.assets["receptors"] = {"state": _receptors(store, scene)}
    description = read_description(store, scene_id)
    if description is None or not store.folder("meteorology_aggregate").has(f"{scene_id}.arl"):
        met = "missing"
    else:
        met = "ready" if description.key == meteorology_key(scene) else "stale"
    status.assets["meteorology_aggregate"] = {"state": met}
    known = description is not None and description.key == meteorology_key(scene)
    batches = plan(scene, description.sha256, engine) if description and known else {}
    grids = _parts(store, scene, [b for members in batches.values() for b in members], status)
    if scene.background is not None:
        status.assets["background"] = {"state": _background(store, scene, description, engine)}
    wanted = None
    if description and known:
        particles = trajectories_version(scene, description.sha256, engine)
        wanted = jacobian_version(scene, footprints_version(scene, particles))
    status.assets["jacobian"] = {"state": _jacobian(store, scene, grids, wanted, status)}
    return status


def _receptors(store: Store, scene: Scene) -> str:
    found = store.folder("receptors").open(f"{scene.id}.parquet", stored_version, whole=False)
    if found is None:
        return "missing"
    ids, version = found
    same = version == receptors_version(scene) if scene.has_columns else ids == [r.id for r in scene.receptor_list]
    return "ready" if same else "stale"


def _parts(store: Store, scene: Scene, batches: list[Batch], status: Status) -> list[footprints.FootprintFile] | None:
    """Count outcomes over the part files, and return those of footprints if all are there."""
    done = Counter[str]()
    grids: list[footprints.FootprintFile] = []
    pending = {r.id for r in scene.receptor_list}
    shards = {batch.shard for batch in batches}
    particles_of, grids_of = (
        kept(partial(store.folder, asset, scene.id), shards) for asset in ("trajectories", "footprints")
    )

    def read(batch: Batch) -> tuple[ParticleFile | None, footprints.FootprintFile | None]:
        particles = trajectories.read_part(particles_of(batch.shard), batch)
        if particles is None:
            return None, None
        particles.close()
        part = footprints.read_part(grids_of(batch.shard), batch, scene)
        if part is not None:
            part.close()
        return particles, part

    for _, (particles, part) in ahead(read, batches):
        if particles is None:
            continue
        done["trajectories"] += 1
        outcomes = [o for o in particles.outcomes if o.status == "failed"]
        if part is not None and part.particles == footprints.particles_digest(particles):
            done["footprints"] += 1
            grids.append(part)
            outcomes = part.outcomes
        for outcome in outcomes:
            status.outcomes[outcome.status] += 1
            pending.discard(outcome.receptor)
            if outcome.status == "failed":
                status.failures.append(outcome)
    status.outcomes["pending"] = len(pending)
    for asset in ("trajectories", "footprints"):
        state = "ready" if batches and done[asset] == len(batches) else "partial" if done[asset] else "missing"
        status.assets[asset] = {"state": state, "parts": done[asset], "of": len(batches)}
    return grids if batches and len(grids) == len(batches) else None


def _background(store: Store, scene: Scene, description: Description | None, engine: str) -> str:
    try:
        found = store.folder("background").open(f"{scene.id}.parquet", read_background, whole=False)
    except ValueError:
        return "missing"
    if found is None:
        return "missing"
    wanted = description and background_version(scene, trajectories_version(scene, description.sha256, engine))
    return "ready" if found[1] == wanted else "stale"


def _jacobian(
    store: Store, scene: Scene, grids: list[footprints.FootprintFile] | None, wanted: str | None, status: Status
) -> str:
    """Return a jacobian's state; where parts have aged out of the store, it tells what they told of receptors."""
    ids = [r.id for r in scene.receptor_list]

    def read(source: Source) -> tuple[str, str | None, list[Outcome]]:
        with h5netcdf.File(source, "r") as file:
            outcomes = (
                footprints.read_outcomes(file, ids) if grids is None and file.dimensions["obs"].size == len(ids) else []
            )
            return str(file.attrs["stilt_key"]), file.attrs.get("stilt_version"), outcomes

    try:
        found = store.folder("jacobian").open(f"{scene.id}.nc", read, whole=False)
    except (OSError, KeyError):
        return "missing"
    if found is None:
        return "missing"
    key, version, outcomes = found
    if grids is not None:
        return "ready" if key == jacobian_key(grids, scene) else "stale"
    if wanted is None or version != wanted:
        return "stale"
    # What parts there are was counted; the rest, and only if all of it is gone, is as the jacobian says.
    if not sum(status.outcomes[name] for name in ("ok", "empty", "failed")):
        status.outcomes.update(Counter(o.status for o in outcomes))
        status.outcomes["pending"] -= len(outcomes)
        status.failures += [o for o in outcomes if o.status == "failed"]
    return "ready"
