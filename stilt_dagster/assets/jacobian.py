"""``jacobian``: a scene's footprints as one sparse matrix over hours of UTC."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import h5netcdf
import numpy as np
import pandas as pd

from stilt_dagster.assets.common import meteorology_of, picture, planned, report_metadata
from stilt_dagster.failures import explained
from stilt_dagster.io_managers import Shards
from stilt_dagster.partitions import scenes, to_scene
from stilt_dagster.resources import StoreResource, TransportEngine
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.jacobian import build_jacobian, column_sums
from stilt_dagster.science.pictures import influence_map
from stilt_dagster.science.receptors import SHARDS
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.versions import (
    background_version,
    footprints_version,
    jacobian_version,
    trajectories_version,
)


@dg.asset(
    partitions_def=scenes,
    io_manager_key="jacobian_io_manager",
    ins={"footprints": dg.AssetIn(partition_mapping=to_scene)},
    group_name="scene",
    kinds={"netcdf"},
    code_version="1",
    description="The scene's matrix (stilt-jacobian/1): observations by cells of the grid and hours of UTC, CSR.",
)
def jacobian(
    context: dg.AssetExecutionContext,
    footprints: Shards,
    background: tuple[pd.DataFrame, str] | None,
    store: StoreResource,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Path]]:
    """Stack the footprints of all shards of a scene."""
    with explained(), store.store.scratch() as scratch:
        scene = store.store.scene(context.partition_key)
        engine, meteorology = transport_engine.open().version, meteorology_of(store.store, scene)
        shards = planned(scene, meteorology, engine, SHARDS)
        path = scratch / "jacobian.nc"
        particles = trajectories_version(scene, meteorology, engine)
        version = jacobian_version(scene, footprints_version(scene, particles))
        attributes = {"meteorology_digest": meteorology, "transport_engine": engine, "stilt_version": version}
        if background is not None and background[1] != background_version(scene, particles):
            raise IncompleteError(f"background of scene {scene.id} is of other trajectories: materialize it first")
        table = None if background is None else background[0]
        report = build_jacobian(scene, shards, footprints.folder, path, attributes, table)
        cells = scene.footprint.grid.ny * scene.footprint.grid.nx
        yield dg.Output(
            path,
            data_version=dg.DataVersion(version),
            metadata={
                **report_metadata(report),
                "non-zero entries": report.rows,
                "cells": cells,
                "coverage": _map(scene, path),
            },
        )


def _map(scene: Scene, path: Path) -> dg.MarkdownMetadataValue:
    """Return a map of how much each cell's flux is seen by all observations together."""
    receptors = scene.receptor_list
    lon, lat = (
        np.array([v[0] for v in values])
        for values in zip(*((r.longitudes, r.latitudes) for r in receptors), strict=True)
    )
    title = f"{scene.id}: coverage, sum over {len(receptors)} observations"
    with h5netcdf.File(path, "r") as file:
        return picture(influence_map(column_sums(file), scene.footprint.grid, lon, lat, title))
