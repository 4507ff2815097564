"""``jacobian``: a scene's footprints as one sparse matrix over hours of UTC."""

from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa

from stilt_dagster.assets.metadata import described, picture, report_metadata
from stilt_dagster.assets.metadata.costs import plan_metadata
from stilt_dagster.assets.metadata.pictures import influence_map
from stilt_dagster.operations.plan import concurrency_of, record_actual
from stilt_dagster.partitions import scenes, to_scene
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import FluxError, IncompleteError, counted
from stilt_dagster.science.jacobian.jacobian import build_jacobian, flux_hours
from stilt_dagster.science.meteorology.files import Window
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
    background: BackgroundFile | None,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Path]]:
    """Stack the footprints of all shards of a scene."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        scene = open_scene(store, transport_engine, context.partition_key)
        path = scratch / "jacobian.nc"
        version = scene.versions.jacobian
        attributes = {
            "meteorology_digest": scene.meteorology,
            "transport_engine": scene.engine,
            "stilt_version": version,
        }
        if background is not None and background.key != scene.versions.background:
            raise IncompleteError(f"background of scene {scene.id} is of other trajectories: materialize it first")
        errors = _transport_error(scene, meteorology_archive, scratch)
        with nullcontext() if background is None else closing(background):
            report = build_jacobian(scene.spec, scene.batches, scene.footprints, path, attributes, background, errors)
        grid, receptors = scene.spec.footprint.grid, scene.spec.receptor_list
        lon, lat = receptors.longitude[:, 0], receptors.latitude[:, 0]
        title = f"{scene.id}: coverage, sum over {counted(len(receptors), 'observation')}"
        actual = record_actual(scene, concurrency_of(context.instance, transport_engine.workers), report.bytes)
        yield dg.Output(
            path,
            data_version=dg.DataVersion(version),
            metadata={
                **report_metadata(report),
                **plan_metadata("actual", actual),
                **_error_metadata(errors),
                "dagster/row_count": len(receptors),
                "stilt/entries": report.rows,
                "stilt/cells": grid.ny * grid.nx,
                "stilt/flux_hours": 1 if scene.spec.footprint.time_integrate else flux_hours(scene.spec)[1],
                "stilt/picture": picture(influence_map(report.influence, grid, lon, lat, title)),
            },
        )


def _error_metadata(errors: pa.Table | None) -> dict[str, float]:
    """Return what is shown of errors of transport; nothing where there are none."""
    if errors is None:
        return {}
    shown = {
        "stilt/transport_error_median": np.ma.median(np.ma.masked_invalid(errors["transport_error"].to_numpy())),
        "stilt/transport_error_least_covered": np.ma.masked_invalid(errors["transport_error_covered"].to_numpy()).min(),
    }
    return {name: float(value) for name, value in shown.items() if value is not np.ma.masked}


def _transport_error(scene: StoredScene, archive: MeteorologyArchive, scratch: Path) -> pa.Table | None:
    """Return the transport error of each observation; None of a scene that does not ask for it."""
    if scene.spec.transport_error is None:
        return None
    # xarray takes half a second to import, and most scenes name no fluxes.
    from stilt_dagster.science.observations.flux_field import open_flux
    from stilt_dagster.science.observations.transport_error import sample_transport_error

    source = scene.spec.transport_error.flux
    found = archive.open().fetch([source.uri], scratch)
    if found is None:
        raise FluxError(f"fluxes {source.uri} do not exist: put them there, or correct transport_error of the spec")
    window = Window.of(scene.spec.receptor_list, scene.spec.transport.n_hours)
    field = open_flux(found, source, window.first, window.last)
    return sample_transport_error(scene.spec, scene.batches, scene.trajectories, field)
