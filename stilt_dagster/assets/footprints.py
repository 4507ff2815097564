"""``footprints``: the surface influence on every receptor, on the scene's grid."""

import dagster as dg
import numpy as np

from stilt_dagster.assets.metadata import (
    add_shard_metadata,
    described,
    picture,
    raise_if_too_many_failed,
    report_metadata,
)
from stilt_dagster.assets.metadata.pictures import influence_map
from stilt_dagster.assets.progress import progress_of
from stilt_dagster.assets.rerun import Rerun, RerunConfig
from stilt_dagster.partitions import scene_by_shard, shards_of_run
from stilt_dagster.resources.configurable import ShardWork, StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import counted
from stilt_dagster.science.outcomes import Report
from stilt_dagster.science.scenes.spec import Scene


@dg.asset(
    partitions_def=scene_by_shard,
    io_manager_key="footprint_io_manager",
    deps=["trajectories"],
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version="1",
    **described(
        "footprints",
        "transport",
        {"netcdf"},
        "Footprint of each receptor by hours before release, ppm (umol m-2 s-1)-1, R STILT's calc_footprint.",
        "footprints",
    ),
)
def footprints(
    context: dg.AssetExecutionContext,
    config: RerunConfig,
    store: StoreResource,
    transport_engine: TransportEngine,
    shard_work: ShardWork,
) -> str:
    """Grid what of the run's shards is missing or was made with other particles or settings."""
    with user_errors_as_failures():
        scene_id, shard_names = shards_of_run(context)
        scene = open_scene(store, transport_engine, scene_id)
        shards = scene.batches_of(shard_names)
        context.set_data_version(context.asset_key, dg.DataVersion(scene.versions.footprints))
        with progress_of(context, "footprints") as report_progress:
            report = shard_work.grid(
                context,
                scene,
                shards,
                transport_engine,
                rerun=config.rerun is Rerun.all,
                report_progress=report_progress,
            )
        receptors = {shard: sum(len(b.receptors) for b in members) for shard, members in shards.items()}
        shown = {"stilt/picture": _map(scene.spec, report, shards)}
        add_shard_metadata(context, report_metadata(report), receptors, shown)
        raise_if_too_many_failed(scene, report)
        return f"{store.store.root}/footprints/{scene.id}"


def _map(scene: Scene, report: Report, shards: dict[str, list[Batch]]) -> dg.MarkdownMetadataValue:
    """Return a map of the influence on all receptors of the run."""
    receptors = [b.receptors for members in shards.values() for b in members]
    lon, lat = (
        np.concatenate([getattr(r, axis)[:, 0] for r in receptors] or [np.zeros(0)])
        for axis in ("longitude", "latitude")
    )
    title = f"{scene.id}: influence on {counted(len(lon), 'receptor')}, all hours"
    return picture(influence_map(report.influence, scene.footprint.grid, lon, lat, title))
