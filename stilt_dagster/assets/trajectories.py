"""``trajectories``: the particles of every receptor, simulated by HYSPLIT-STILT."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from stilt_dagster.assets.metadata import (
    add_shard_metadata,
    described,
    picture,
    raise_if_too_many_failed,
    report_metadata,
)
from stilt_dagster.assets.metadata.pictures import plume
from stilt_dagster.assets.progress import progress_of
from stilt_dagster.assets.receptors import require_current_receptors
from stilt_dagster.assets.rerun import Rerun, RerunConfig
from stilt_dagster.partitions import scene_by_shard, shards_of_run, to_scene
from stilt_dagster.resources.configurable import ShardWork, StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.transport.particle_tables import positions
from stilt_dagster.science.transport.trajectories import first_particles, particle_rows


@dg.asset(
    partitions_def=scene_by_shard,
    io_manager_key="particle_io_manager",
    deps=[dg.AssetDep("receptors", partition_mapping=to_scene)],
    ins={
        # Dagster infers no type from tuple[Path, ...].
        "meteorology_aggregate": dg.AssetIn(
            partition_mapping=to_scene, dagster_type=dg.PythonObjectDagsterType(tuple, "Files")
        ),
    },
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version="1",
    **described(
        "trajectories",
        "transport",
        {"hysplit", "parquet"},
        "Particles of each receptor, minute by minute: position (degrees), height (m above ground), influence on the "
        "receptor (foot, ppm (umol m-2 s-1)-1).",
        "trajectories",
    ),
)
def trajectories(
    context: dg.AssetExecutionContext,
    config: RerunConfig,
    meteorology_aggregate: tuple[Path, ...],
    store: StoreResource,
    transport_engine: TransportEngine,
    shard_work: ShardWork,
) -> str:
    """Simulate what of the run's shards is missing, failed, or was made with other inputs."""
    with user_errors_as_failures():
        scene_id, shard_names = shards_of_run(context)
        scene = open_scene(store, transport_engine, scene_id)
        require_current_receptors(store.store, scene.spec)
        shards = scene.batches_of(shard_names)
        with progress_of(context, "trajectories") as report_progress:
            report = shard_work.simulate(
                context,
                scene,
                shards,
                meteorology_aggregate,
                transport_engine,
                rerun=config.rerun is Rerun.all,
                report_progress=report_progress,
            )
        context.set_data_version(context.asset_key, dg.DataVersion(scene.versions.trajectories))
        sample = report.sample or first_particles(shards, scene.trajectories)
        shown = {} if sample is None else {"stilt/picture": _plume(shards, *sample)}
        rows = {shard: particle_rows(scene.trajectories(shard), members) for shard, members in shards.items()}
        add_shard_metadata(context, {**report_metadata(report), "stilt/particle_rows": report.rows}, rows, shown)
        raise_if_too_many_failed(scene, report)
        return f"{store.store.root}/trajectories/{scene.id}"


def _plume(shards: dict[str, list[Batch]], receptor: str, table: Any) -> dg.MarkdownMetadataValue:
    """Return a picture of one receptor's particles."""
    _, age, lon, lat, _ = positions(table)
    some = np.linspace(0, len(age) - 1, min(len(age), 4000)).astype(int)
    at = next(
        (float(b.receptors.longitude[k, 0]), float(b.receptors.latitude[k, 0]))
        for members in shards.values()
        for b in members
        for k, name in enumerate(b.receptors.ids)
        if name == receptor
    )
    return picture(plume(np.abs(age[some]) / 60, lon[some], lat[some], at, f"particles of {receptor}"))
