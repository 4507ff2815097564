"""``background``: what the air of each receptor held where its particles ended, and by which side they came."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from stilt_dagster.assets.metadata import described
from stilt_dagster.assets.rerun import KeepConfig
from stilt_dagster.operations.products.matrix import make_background, stored_background
from stilt_dagster.partitions import scenes, to_scene
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures


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
    config: KeepConfig,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Path | None]]:
    """Look at where the particles of all shards of a scene end, in the field and at the boundary it names."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        scene = open_scene(store, transport_engine, context.partition_key)
        path = stored_background(scene) if config.keep else None
        path = path or make_background(scene, meteorology_archive.open(), scratch)
        if path is None:
            yield dg.Output(None, metadata={"stilt/note": "the scene names no field and no boundary"})
            return
        # xarray takes half a second to import, and most scenes name no background.
        from stilt_dagster.science.observations.background_files import BackgroundFile

        with closing(BackgroundFile(path)) as file:
            columns = {name: file.columns.column(name).to_numpy() for name in file.columns.column_names[1:]}
        yield dg.Output(
            path,
            data_version=dg.DataVersion(scene.versions.background),
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
