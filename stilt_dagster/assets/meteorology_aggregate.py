"""``meteorology_aggregate``: the ARL file a scene's simulations read, or those of nested grids."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from stilt_dagster.assets.metadata import described
from stilt_dagster.assets.receptors import require_current_receptors
from stilt_dagster.io_managers import Aggregate
from stilt_dagster.partitions import scenes
from stilt_dagster.resources.configurable import MeteorologyArchive, StoreResource, TransportEngine
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.science.errors import counted
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.meteorology.description import Description, file_name
from stilt_dagster.science.versions import meteorology_version


@dg.asset(
    partitions_def=scenes,
    deps=["receptors"],
    io_manager_key="arl_io_manager",
    code_version="1",
    **described(
        "meteorology_aggregate",
        "meteorology",
        {"arl"},
        "Meteorology cut to the scene in space and time: a NOAA ARL file a grid, every hour of the runs in it.",
        "meteorology_aggregate",
    ),
)
def meteorology_aggregate(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    meteorology_archive: MeteorologyArchive,
    transport_engine: TransportEngine,
) -> Iterator[dg.Output[Aggregate]]:
    """Find, verify, crop and join the meteorology of a scene."""
    with user_errors_as_failures(), store.store.scratch() as scratch:
        scene = store.store.scene(context.partition_key)
        require_current_receptors(store.store, scene)
        path = scratch / "aggregate.arl"
        description = build_aggregate(
            scene,
            meteorology_archive.open(),
            path,
            forecasts=bool(transport_engine.exe_dir),
        )
        if description.outside:
            n, some = len(description.outside), ", ".join(description.outside[:5])
            verb = "lies" if n == 1 else "lie"
            context.log.warning(f"{counted(n, 'receptor')} {verb} outside the meteorology and will fail: {some}")
        paths = tuple(path.with_name(file_name(path.stem, k + 1)) for k in range(len(description.grids)))
        yield dg.Output(
            Aggregate(paths, description),
            data_version=dg.DataVersion(meteorology_version(description.key, description.sha256)),
            metadata={
                **_metadata(description),
                "stilt/receptors_outside": len(description.outside),
                "stilt/sha256": description.sha256,
                "stilt/files": len(paths),
                "stilt/bytes": sum(p.stat().st_size for p in paths),
            },
        )


def _metadata(description: Description) -> dict[str, Any]:
    """Return what a person wants to know of the grids, one after the other where they are several."""
    grids = description.grids
    return {
        "stilt/model": ", ".join(g.model for g in grids),
        "stilt/times": "; ".join(f"{g.times[0]} to {g.times[-1]} ({len(g.times)})" for g in grids),
        "stilt/steps": len(grids[0].times),
        "stilt/grid": "; ".join(f"{g.nx} x {g.ny}" for g in grids),
        "stilt/extent": "; ".join(str(g.extent) for g in grids),
        "stilt/source": str(grids[0].kept.get("source", "")),
        "stilt/crop": "; ".join(str(g.kept.get("crop", "")) for g in grids),
        "stilt/levels": "; ".join(str(g.kept.get("levels", "")) for g in grids),
        "stilt/records_repacked": sum(int(g.kept.get("records_packed_anew", 0)) for g in grids),
        "stilt/bytes_read": sum(int(g.kept.get("bytes_read", 0)) for g in grids),
        "stilt/bytes_of_files": sum(int(g.kept.get("bytes_of_files", 0)) for g in grids),
        "stilt/source_files": dg.MetadataValue.md("\n".join(f"- {s['name']}" for g in grids for s in g.sources)),
    }
