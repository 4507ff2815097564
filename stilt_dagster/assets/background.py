"""``background``: what the air of each receptor held where its particles ended, from a field the scene names."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd

from stilt_dagster.assets.common import meteorology_of, planned
from stilt_dagster.failures import explained
from stilt_dagster.io_managers import Shards
from stilt_dagster.partitions import scenes, to_scene
from stilt_dagster.resources import MeteorologyArchive, StoreResource, TransportEngine
from stilt_dagster.science.background import open_field, sample_background
from stilt_dagster.science.errors import BackgroundError
from stilt_dagster.science.meteorology import Window
from stilt_dagster.science.receptors import SHARDS
from stilt_dagster.science.versions import background_version, trajectories_version


@dg.asset(
    partitions_def=scenes,
    io_manager_key="background_io_manager",
    ins={"trajectories": dg.AssetIn(partition_mapping=to_scene)},
    group_name="scene",
    kinds={"parquet"},
    code_version="1",
    description="Background of each receptor, ppm, sampled where its particles end; of scenes that name a field.",
)
def background(
    context: dg.AssetExecutionContext,
    trajectories: Shards,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[tuple[pd.DataFrame, str] | None]]:
    """Sample the scene's concentration field where the particles of all shards end."""
    with explained(), store.store.scratch() as scratch:
        scene = store.store.scene(context.partition_key)
        if scene.background is None:
            yield dg.Output(None, metadata={"background": "the scene names no field"})
            return
        engine, meteorology = transport_engine.open().version, meteorology_of(store.store, scene)
        found = meteorology_archive.open(scratch / "sources").fetch([scene.background.uri])
        if found is None:
            raise BackgroundError(f"background {scene.background.uri} does not exist: put it there, or mend the spec")
        window = Window.of(scene.receptor_list, scene.transport.n_hours)
        field = open_field(found.path, scene.background, window.first, window.last)
        table = sample_background(scene, planned(scene, meteorology, engine, SHARDS), trajectories.folder, field)
        values = table["background"].to_numpy()
        version = background_version(scene, trajectories_version(scene, meteorology, engine))
        yield dg.Output(
            (table, version),
            data_version=dg.DataVersion(version),
            metadata={
                "receptors": len(table),
                "with a background": int(np.isfinite(values).sum()),
                "mean, ppm": float(np.nanmean(values)) if np.isfinite(values).any() else None,
                "least share of particles inside the field": float(table["background_sampled"].min()),
            },
        )
