"""``jacobian``: a scene's footprints as one sparse matrix over hours of UTC."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import numpy as np

from stilt_dagster.assets.metadata import described, picture, report_metadata
from stilt_dagster.assets.metadata.costs import plan_metadata
from stilt_dagster.assets.metadata.pictures import influence_map
from stilt_dagster.assets.rerun import KeepConfig
from stilt_dagster.operations.plan import concurrency_of, record_actual
from stilt_dagster.operations.products.matrix import make_jacobian, stored_jacobian
from stilt_dagster.partitions import scenes, to_scene
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import counted
from stilt_dagster.science.jacobian.jacobian import flux_hours
from stilt_dagster.science.observations.background_files import BackgroundFile


@dg.asset(
    partitions_def=scenes,
    io_manager_key="jacobian_io_manager",
    deps=[dg.AssetDep("footprints", partition_mapping=to_scene)],
    code_version="1",
    **described(
        "jacobian",
        "products",
        {"netcdf", "scipy"},
        "The scene's matrix (stilt-jacobian/1), ppm (umol m-2 s-1)-1, CSR: observations by cells of the grid and hours "
        "of UTC.",
        "jacobian, stilt-jacobian/1",
    ),
)
def jacobian(
    context: dg.AssetExecutionContext,
    config: KeepConfig,
    background: BackgroundFile | None,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Path | None]]:
    """Stack the footprints of all shards of a scene."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        scene = open_scene(store, transport_engine, context.partition_key)
        made = stored_jacobian(scene) if config.keep else None
        made = made or make_jacobian(scene, meteorology_archive.open(), background, scratch)
        report = made.report
        grid, receptors = scene.spec.footprint.grid, scene.spec.receptor_list
        lon, lat = receptors.longitude[:, 0], receptors.latitude[:, 0]
        title = f"{scene.id}: coverage, sum over {counted(len(receptors), 'observation')}"
        actual = record_actual(scene, concurrency_of(context.instance, transport_engine.workers), report.bytes)
        yield dg.Output(
            made.path,
            data_version=dg.DataVersion(scene.versions.jacobian),
            metadata={
                **report_metadata(report),
                **plan_metadata("actual", actual),
                **_error_metadata(made.errors),
                **_engine_metadata(scene),
                "dagster/row_count": len(receptors),
                "stilt/entries": report.rows,
                "stilt/cells": grid.ny * grid.nx,
                "stilt/flux_hours": 1 if scene.spec.footprint.time_integrate else flux_hours(scene.spec)[1],
                "stilt/picture": picture(influence_map(report.influence, grid, lon, lat, title)),
            },
        )


def _engine_metadata(scene: StoredScene) -> dict[str, str | float]:
    """Return what is shown of the engine that simulated."""
    agreement = scene.agreement
    if agreement is None:
        return {"stilt/engine": scene.engine}
    shown = ("bias", "bias_error", "distance_ratio")
    figures = {f"stilt/engine_{name}": agreement.summary[name] for name in shown if name in agreement.summary}
    counts = {"stilt/engine_verdict": agreement.verdict, "stilt/engine_compared": agreement.compared}
    return {"stilt/engine": scene.engine, **counts, **figures}


def _error_metadata(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return what is shown of errors of transport; nothing where there are none."""
    if not errors:
        return {}
    shown = {
        "stilt/transport_error_median": np.ma.median(np.ma.masked_invalid(errors["transport_error"])),
        "stilt/transport_error_least_covered": np.ma.masked_invalid(errors["transport_error_covered"]).min(),
    }
    return {name: float(value) for name, value in shown.items() if value is not np.ma.masked}
