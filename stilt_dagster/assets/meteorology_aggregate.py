"""``meteorology_aggregate``: the one ARL file a scene's simulations read."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from stilt_dagster.assets.receptors import check_receptors
from stilt_dagster.io_managers import Aggregate
from stilt_dagster.partitions import scenes
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.versions import meteorology_version


@dg.asset(
    partitions_def=scenes,
    io_manager_key="arl_io_manager",
    group_name="scene",
    kinds={"arl"},
    code_version="1",
    description="Meteorology cut to the scene in space and time: one NOAA ARL file, every hour of the runs in it.",
)
def meteorology_aggregate(
    context: dg.AssetExecutionContext,
    receptors: pa.Table,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Aggregate]]:
    """Find, verify, crop and join the meteorology of a scene."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        scene = store.store.scene(context.partition_key)
        check_receptors(scene, receptors)
        path = scratch / "aggregate.arl"
        description = build_aggregate(
            scene,
            meteorology_archive.open(scratch / "sources"),
            path,
            forecasts=bool(transport_engine.exe_dir),
        )
        if description.outside:
            some = ", ".join(description.outside[:5])
            context.log.warning(
                f"{len(description.outside)} receptors lie outside the meteorology and will fail: {some}"
            )
        size = path.stat().st_size
        yield dg.Output(
            Aggregate(path, description),
            data_version=dg.DataVersion(meteorology_version(description.key, description.sha256)),
            metadata={
                "model": description.model,
                "times": f"{description.times[0]} to {description.times[-1]} ({len(description.times)})",
                "grid": f"{description.nx} x {description.ny}, {len(description.levels)} levels",
                "extent": str(description.extent),
                "sources": dg.MetadataValue.md("\n".join(f"- {s['name']}" for s in description.sources)),
                "receptors outside": len(description.outside),
                "sha256": description.sha256,
                "bytes": size,
            },
        )
