"""``background``: what the air of each receptor held where its particles ended, and by which side they came."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from stilt_dagster.assets.metadata import described
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
        "Background of each receptor, ppm, where its particles end, and by which side of the grid they leave; of "
        "scenes that name a field or a boundary.",
        "background",
    ),
)
def background(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Path | None]]:
    """Look at where the particles of all shards of a scene end, in the field and at the boundary it names."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        # xarray takes half a second to import, and most scenes name no background.
        from stilt_dagster.science.observations.background import open_field, sample_background
        from stilt_dagster.science.observations.background_files import BackgroundFile, write_background

        scene = open_scene(store, transport_engine, context.partition_key)
        settings = scene.spec.background
        if settings is None:
            yield dg.Output(None, metadata={"stilt/note": "the scene names no field and no boundary"})
            return
        field = None
        if settings.uri is not None:
            found = meteorology_archive.open().fetch([settings.uri], scratch)
            if found is None:
                raise BackgroundError(f"background {settings.uri} does not exist: put it there, or correct the spec")
            window = Window.of(scene.spec.receptor_list, scene.spec.transport.n_hours)
            field = open_field(found, settings, window.first, window.last)
        path, version = scratch / "background.parquet", scene.versions.background
        write_background(sample_background(scene.spec, scene.batches, scene.trajectories, field), version, path)
        with closing(BackgroundFile(path)) as file:
            columns = {name: file.columns.column(name).to_numpy() for name in file.columns.column_names[1:]}
        yield dg.Output(
            path,
            data_version=dg.DataVersion(version),
            metadata={
                "dagster/row_count": len(scene.spec.receptor_list),
                "stilt/receptors": len(scene.spec.receptor_list),
                **_found(columns),
            },
        )


def _found(columns: dict[str, Any]) -> dict[str, int | float | None]:
    """Return what is told of a sampled field and of a boundary."""
    told: dict[str, int | float | None] = {}
    if "background" in columns:
        told["stilt/receptors_with_background"] = int(np.isfinite(columns["background"]).sum())
        told["stilt/background_mean"] = _mean(columns["background"])
        told["stilt/background_least_sampled"] = float(columns["background_sampled"].min())
    if "hbc_inside" in columns:
        told["stilt/boundary_inside"] = _mean(columns["hbc_inside"])
    return told


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of what is known."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
