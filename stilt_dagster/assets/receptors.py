"""``receptors``: where and when a scene releases particles."""

import dagster as dg
import numpy as np
import pyarrow as pa

from stilt_dagster.assets.common import picture
from stilt_dagster.failures import explained
from stilt_dagster.partitions import scenes
from stilt_dagster.resources import StoreResource
from stilt_dagster.science.pictures import influence_map
from stilt_dagster.science.receptor_store import stored_receptors
from stilt_dagster.science.receptors import receptor_table
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.versions import receptors_version


@dg.asset(
    partitions_def=scenes,
    io_manager_key="receptor_io_manager",
    group_name="scene",
    kinds={"parquet"},
    code_version="1",
    description="Receptors, one row each: id, shard, time (UTC), position, height (m); of a retrieval its soundings.",
)
def receptors(context: dg.AssetExecutionContext, store: StoreResource) -> pa.Table:
    """Make the receptor table of a scene from its spec."""
    with explained():
        scene = store.store.scene(context.partition_key)
        table = receptor_table(scene.receptor_list)
        lon, lat = table["longitude"].to_numpy(), table["latitude"].to_numpy()
        version = receptors_version(scene)
        context.set_data_version(context.asset_key, dg.DataVersion(version))
        context.add_output_metadata(
            {
                **_selection(scene),
                "receptors": len(table),
                "first time": f"{table['time'].min():%Y-%m-%d %H:%M} UTC",
                "last time": f"{table['time'].max():%Y-%m-%d %H:%M} UTC",
                "predicted CPU of hycs_std, h": round(scene.predicted_cpu / 3600, 2),
                "preview": dg.MetadataValue.md(table.head(5).to_string(index=False)),
                "map": picture(
                    influence_map(np.zeros((1, 1)), scene.footprint.grid, lon, lat, f"{scene.id}: receptors")
                ),
            }
        )
        return stored_receptors(scene, table, version)


def _selection(scene: Scene) -> dict[str, int]:
    """Return how many of a retrieval's soundings each step of the selection left."""
    retrieval = scene.receptors.retrieval
    if retrieval is None or retrieval.retrieved is None:
        return {}
    return {f"soundings {name.replace('_', ' ')}": n for name, n in retrieval.retrieved.counts.items()}
