"""``footprints``: the surface influence on every receptor, on the scene's grid."""

import dagster as dg
import numpy as np

from stilt_dagster.assets.common import (
    Rerun,
    RerunConfig,
    add_shard_metadata,
    meteorology_of,
    picture,
    planned,
    progress,
    raise_if_too_many_failed,
    report_metadata,
)
from stilt_dagster.failures import explained
from stilt_dagster.io_managers import Shards
from stilt_dagster.partitions import scene_by_shard, shards_of_run
from stilt_dagster.resources import StoreResource, TransportEngine
from stilt_dagster.science.batches import Batch, Report
from stilt_dagster.science.footprints import grid_shards
from stilt_dagster.science.pictures import influence_map
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.versions import footprints_version, trajectories_version


@dg.asset(
    partitions_def=scene_by_shard,
    io_manager_key="footprint_io_manager",
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="scene",
    kinds={"netcdf"},
    code_version="1",
    description="Footprint of each receptor by hours before release, ppm (umol m-2 s-1)-1, R STILT's calc_footprint.",
)
def footprints(
    context: dg.AssetExecutionContext,
    config: RerunConfig,
    trajectories: Shards,
    store: StoreResource,
    transport_engine: TransportEngine,
) -> Shards:
    """Grid what of the run's shards is missing or was made with other particles or settings."""
    with explained():
        scene_id, shard_names = shards_of_run(context)
        scene = store.store.scene(scene_id)
        made = Shards(store.store, "footprints", scene_id)
        engine, meteorology = transport_engine.open().version, meteorology_of(store.store, scene)
        shards = planned(scene, meteorology, engine, shard_names)
        version = footprints_version(scene, trajectories_version(scene, meteorology, engine))
        context.set_data_version(context.asset_key, dg.DataVersion(version))
        with store.store.scratch() as scratch, progress(context, "footprints") as tell:
            report = grid_shards(
                shards,
                scene,
                trajectories.folder,
                made.folder,
                scratch,
                workers=transport_engine.n_workers,
                rerun=config.rerun is Rerun.all,
                progress=tell,
            )
        add_shard_metadata(context, report_metadata(report), {"footprint sum": _map(scene, report, shards)})
        raise_if_too_many_failed(scene, report)
        return made


def _map(scene: Scene, report: Report, shards: dict[str, list[Batch]]) -> dg.MarkdownMetadataValue:
    """Return a map of the influence on all receptors of the run."""
    receptors = [r for members in shards.values() for b in members for r in b.receptors]
    lon, lat = (np.array([v[0] for v in (getattr(r, axis) for r in receptors)]) for axis in ("longitudes", "latitudes"))
    title = f"{scene.id}: influence on {len(receptors)} receptors, all hours"
    return picture(influence_map(report.influence, scene.footprint.grid, lon, lat, title))
