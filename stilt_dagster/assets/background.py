"""``background``: what the air of each receptor held where its particles ended, from a field the scene names."""

from collections.abc import Iterator

import dagster as dg
import numpy as np

from stilt_dagster.assets.metadata import described
from stilt_dagster.io_managers import BackgroundTable
from stilt_dagster.partitions import scenes, to_scene
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.science.errors import BackgroundError
from stilt_dagster.science.meteorology.files import Window


@dg.asset(
    partitions_def=scenes,
    io_manager_key="background_io_manager",
    deps=[dg.AssetDep("trajectories", partition_mapping=to_scene)],
    code_version="1",
    **described(
        "background",
        "products",
        {"parquet"},
        "Background of each receptor, ppm, sampled where its particles end; of scenes that name a field.",
        "background",
    ),
)
def background(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[BackgroundTable | None]]:
    """Sample the scene's concentration field where the particles of all shards end."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        # xarray takes half a second to import, and most scenes name no field.
        from stilt_dagster.science.observations.background import open_field, sample_background

        scene = open_scene(store, transport_engine, context.partition_key)
        settings = scene.spec.background
        if settings is None:
            yield dg.Output(None, metadata={"stilt/note": "the scene names no field"})
            return
        found = meteorology_archive.open().fetch([settings.uri], scratch)
        if found is None:
            raise BackgroundError(f"background {settings.uri} does not exist: put it there, or correct the spec")
        window = Window.of(scene.spec.receptor_list, scene.spec.transport.n_hours)
        field = open_field(found, settings, window.first, window.last)
        table = sample_background(scene.spec, scene.batches, scene.trajectories, field)
        values = table.column("background").to_numpy()
        version = scene.versions.background
        yield dg.Output(
            (table, version),
            data_version=dg.DataVersion(version),
            metadata={
                "dagster/row_count": len(table),
                "stilt/receptors": len(table),
                "stilt/receptors_with_background": int(np.isfinite(values).sum()),
                "stilt/background_mean": float(np.nanmean(values)) if np.isfinite(values).any() else None,
                "stilt/background_least_sampled": float(table.column("background_sampled").to_numpy().min()),
            },
        )
