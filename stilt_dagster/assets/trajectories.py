"""``trajectories``: the particles of every receptor, simulated by HYSPLIT-STILT."""

import dagster as dg
import numpy as np
import pandas as pd

from stilt_dagster.assets.common import (
    Rerun,
    RerunConfig,
    add_shard_metadata,
    check_receptors,
    picture,
    planned,
    progress,
    raise_if_too_many_failed,
    report_metadata,
)
from stilt_dagster.failures import explained
from stilt_dagster.io_managers import Aggregate, Shards
from stilt_dagster.partitions import scene_by_shard, shards_of_run, to_scene
from stilt_dagster.resources import StoreResource, TransportEngine
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.particles import positions
from stilt_dagster.science.pictures import plume
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.trajectories import read_part, removing_damaged, simulate_shards
from stilt_dagster.science.versions import trajectories_version


@dg.asset(
    partitions_def=scene_by_shard,
    io_manager_key="particle_io_manager",
    ins={
        "receptors": dg.AssetIn(partition_mapping=to_scene),
        "meteorology_aggregate": dg.AssetIn(partition_mapping=to_scene),
    },
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="scene",
    kinds={"parquet"},
    code_version="1",
    description="Particles of each receptor, minute by minute: position, height, influence on it (foot).",
)
def trajectories(
    context: dg.AssetExecutionContext,
    config: RerunConfig,
    receptors: pd.DataFrame,
    meteorology_aggregate: Aggregate,
    store: StoreResource,
    transport_engine: TransportEngine,
) -> Shards:
    """Simulate what of the run's shards is missing, failed, or was made with other inputs."""
    with explained():
        scene_id, shard_names = shards_of_run(context)
        scene = store.store.scene(scene_id)
        check_receptors(scene, receptors)
        made = Shards(store.store, "trajectories", scene_id)
        with (
            store.store.scratch() as scratch,
            scratch_directory() as runs,
            progress(context, "trajectories") as tell,
        ):
            engine = transport_engine.open(runs)
            meteorology = meteorology_aggregate.description.sha256
            shards = planned(scene, meteorology, engine.version, shard_names)
            report = simulate_shards(
                shards,
                scene.transport,
                meteorology_aggregate.path,
                engine,
                made.folder,
                scratch,
                workers=transport_engine.n_workers,
                rerun=config.rerun is Rerun.all,
                progress=tell,
            )
        version = trajectories_version(scene, meteorology, engine.version)
        context.set_data_version(context.asset_key, dg.DataVersion(version))
        shown = {} if not report.outcomes["ok"] else {"plume": _plume(made, shards)}
        add_shard_metadata(context, {**report_metadata(report), "particle rows": report.rows}, shown)
        raise_if_too_many_failed(scene, report)
        return made


def _plume(made: Shards, shards: dict[str, list[Batch]]) -> dg.MarkdownMetadataValue:
    """Return a picture of the first receptor's particles."""
    for batch in (b for members in shards.values() for b in members):
        part = read_part(made.folder(batch.shard), batch)
        with removing_damaged(made.folder(batch.shard), batch):
            first = next(part.tables(("particle", "age", "lon", "lat", "foot")), None) if part else None
        if first is not None:
            receptor, table = first
            _, age, lon, lat, _ = positions(table)
            some = np.linspace(0, len(age) - 1, min(len(age), 4000)).astype(int)
            at = next((r.longitudes[0], r.latitudes[0]) for r in batch.receptors if r.id == receptor)
            return picture(plume(np.abs(age[some]) / 60, lon[some], lat[some], at, f"particles of {receptor}"))
    raise AssertionError("a shard with an ok receptor has its particles")
