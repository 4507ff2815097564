"""Which runs a scene needs next, from what Dagster recorded of it: no file is opened.

Every materialization carries its version (:mod:`stilt_dagster.science.versions`). An asset is due when it was never
made, was made of other things than it would be now, or before the shards it is made of. So a new scene goes from asset
to asset, and a changed spec or new meteorology makes again what depends on it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stilt_dagster.operations.record import Materialized, Record
from stilt_dagster.partitions import MADE_WITH
from stilt_dagster.science.costs.sizes import Load, runs_for
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.versions import (
    background_version,
    footprints_version,
    jacobian_version,
    meteorology_key,
    receptors_version,
    report_version,
    trajectories_version,
)


@dataclass(frozen=True)
class Step:
    """A run that is due.

    Attributes
    ----------
    scene : str
        The scene.
    asset : str
        The asset to materialize.
    shards : tuple of str
        First and last shard of the run; none for assets of whole scenes.
    key : str
        What makes the run this one: the same as long as nothing has changed.
    """

    scene: str
    asset: str
    shards: tuple[str, ...]
    key: str

    @property
    def assets(self) -> tuple[str, ...]:
        """What its run makes: the asset, and those made with it, which are then due too."""
        return self.asset, *(made for made, other in MADE_WITH.items() if other == self.asset)

    @property
    def partition(self) -> dict[str, str]:
        """Run tags that select the partitions."""
        if not self.shards:
            return {"dagster/partition": self.scene}
        first, last = (f"{self.scene}|{shard}" for shard in self.shards)
        return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def next_steps(scene: Scene, record: Record, engine: str, load: Load) -> list[Step]:
    """Return the runs a scene needs next; none when it is done.

    Shards go on by themselves: the footprints of those whose trajectories are there do not wait for the others.

    Parameters
    ----------
    scene : Scene
        The scene, as it is now.
    record : Record
        What was made of it.
    engine : str
        Version of the transport engine.
    load : Load
        What the scene asks of a cluster, which decides over how many runs its shards spread.
    """
    receptors = record["receptors"].get(scene.id, Materialized())
    wanted = receptors_version(scene)
    if receptors.version != wanted:
        return [_step(scene, "receptors", (), wanted, [receptors])]
    aggregate = record["meteorology_aggregate"].get(scene.id, Materialized())
    asked, _, checksum = aggregate.version.partition(".")
    if asked != (wanted := meteorology_key(scene)):
        return [_step(scene, "meteorology_aggregate", (), wanted, [aggregate])]

    version = trajectories_version(scene, checksum, scene.transport.engine_version(engine) or "")
    steps: list[Step] = []
    groups = _groups(runs_for(load))
    particles = {shard: record["trajectories"].get(f"{scene.id}|{shard}", Materialized()) for shard in SHARDS}
    grids = {shard: record["footprints"].get(f"{scene.id}|{shard}", Materialized()) for shard in SHARDS}
    of_grids = footprints_version(scene, version)
    for group in groups:
        stale = [s for s in group if particles[s].version != version]
        if stale:
            steps.append(_step(scene, "trajectories", _span(stale), version, [particles[s] for s in group]))
            continue
        stale = [s for s in group if grids[s].version != of_grids or grids[s].number < particles[s].number]
        if stale:
            made = [*(particles[s] for s in group), *(grids[s] for s in group)]
            steps.append(_step(scene, "footprints", _span(stale), of_grids, made))
    sampled = record["background"].get(scene.id, Materialized())
    if scene.background is not None and all(particles[s].version == version for s in SHARDS):
        wanted = background_version(scene, version)
        if sampled.version != wanted or sampled.number < max(particles[s].number for s in SHARDS):
            steps.append(_step(scene, "background", (), wanted, [sampled, *particles.values()]))
    if steps:
        return steps
    matrix = record["jacobian"].get(scene.id, Materialized())
    wanted = jacobian_version(scene, of_grids)
    if matrix.version != wanted or matrix.number < max(sampled.number, *(grids[s].number for s in SHARDS)):
        return [_step(scene, "jacobian", (), wanted, [matrix, sampled, *grids.values()])]
    page = record["report"].get(scene.id, Materialized())
    wanted = report_version(wanted)
    if page.version != wanted or page.number < matrix.number:
        return [_step(scene, "report", (), wanted, [page, matrix])]
    return []


def _groups(pods: int) -> list[Sequence[str]]:
    """Return the shards in as many groups as there are pods."""
    size = -(-len(SHARDS) // pods)
    return [SHARDS[i : i + size] for i in range(0, len(SHARDS), size)]


def _span(shards: Sequence[str]) -> tuple[str, str]:
    return shards[0], shards[-1]


def _step(scene: Scene, asset: str, shards: tuple[str, ...], version: str, after: Iterable[Materialized]) -> Step:
    newest = max(made.number for made in after)
    place = "-".join(shards)
    return Step(scene.id, asset, shards, "/".join(p for p in (scene.id, asset, place, version, str(newest)) if p))
