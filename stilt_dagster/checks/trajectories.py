"""Checks of trajectories, read from the indexes of their parts: no particle is opened."""

from typing import Any

import dagster as dg

from stilt_dagster.assets import trajectories as trajectories_asset
from stilt_dagster.partitions import shards_of_run
from stilt_dagster.resources.configurable import StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.meteorology.extent.margin import escape_warning, margin_to_try
from stilt_dagster.science.outcomes import Escapes
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.transport.trajectories import part_summary, read_summary


@dg.asset_check(
    asset=trajectories_asset,
    description="No more than 5 % of a scene's particles left its meteorology; a verdict a run, of all shards done.",
)
def particles_stay_in_meteorology(
    context: dg.AssetCheckExecutionContext, store: StoreResource, transport_engine: TransportEngine
) -> dg.AssetCheckResult:
    """Warn of particles that left the crop, and say which margin would have held them."""
    scene_id, _ = shards_of_run(context)
    scene = open_scene(store, transport_engine, scene_id)
    found = _escapes(scene)
    assert scene.aggregate is not None, "trajectories are made of it"
    grids = scene.aggregate.grids
    description = f"{found.fraction:.1%} of the particles of scene {scene.id} left its meteorology"
    worst = "\n".join(f"- `{w['receptor']}` {w['escaped_fraction']:.1%}" for w in found.worst)
    metadata: dict[str, Any] = {
        "scene": scene.id,
        "escaped fraction": round(found.fraction, 4),
        "worst receptors": dg.MetadataValue.md(worst or "none"),
    }
    if found.are_many:
        description = escape_warning(scene.spec, grids, found)
        if (margin := margin_to_try(scene.spec, grids, found)) is not None:
            metadata["margin, degrees"] = margin
    return dg.AssetCheckResult(
        passed=not found.are_many, severity=dg.AssetCheckSeverity.WARN, metadata=metadata, description=description
    )


def _escapes(scene: StoredScene) -> Escapes:
    """Return what the scene's parts lost that are there; those whose index is of an earlier version are opened."""
    summaries = []
    for batch in (b for members in scene.batches_of(SHARDS).values() for b in members):
        folder = scene.trajectories(batch.shard)
        summary = part_summary(folder, batch)
        if summary is not None and summary.escapes is None:
            summary = read_summary(folder, batch)
        if summary is not None and summary.escapes is not None:
            summaries.append(summary.escapes)
    return Escapes.sum(summaries)
