"""``receptors``: where and when a scene releases particles."""

import dagster as dg
import numpy as np
import pyarrow as pa

from stilt_dagster.assets.metadata import described, picture
from stilt_dagster.assets.metadata.costs import plan_metadata
from stilt_dagster.assets.metadata.pictures import receptor_map
from stilt_dagster.operations.plan import concurrency_of, plan_scene
from stilt_dagster.partitions import scenes
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.costs.budget import require_within
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.scenes.receptor_table import stored_receptors, stored_version
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.versions import receptors_version


@dg.asset(
    partitions_def=scenes,
    io_manager_key="receptor_io_manager",
    code_version="1",
    **described(
        "receptors",
        "observations",
        {"parquet"},
        "Receptors, one row each: id, shard, time (UTC), position (degrees), height (m); of a retrieval its soundings.",
        "receptors",
    ),
)
def receptors(context: dg.AssetExecutionContext, store: StoreResource, transport_engine: TransportEngine) -> pa.Table:
    """Make the receptor table of a scene from its spec."""
    with user_errors_as_failures():
        scene = store.store.scene(context.partition_key)
        plan = plan_scene(store.store, scene, concurrency_of(context.instance, transport_engine.workers))
        require_within(plan, scene.budget, f"scene {scene.id}")
        some, version = scene.receptor_list, receptors_version(scene)
        lon, lat = some.longitude[:, 0], some.latitude[:, 0]
        title = f"{scene.id}: receptors"
        context.set_data_version(context.asset_key, dg.DataVersion(version))
        context.add_output_metadata(
            {
                **_selection(scene),
                **plan_metadata("plan", plan.planned),
                "dagster/row_count": len(some),
                "stilt/receptors": len(some),
                "stilt/first_time": _utc(some.time.min()),
                "stilt/last_time": _utc(some.time.max()),
                "stilt/preview": dg.MetadataValue.md("\n".join(f"- `{i}`" for i in some.ids[:5])),
                "stilt/picture": picture(receptor_map(scene.footprint.grid, lon, lat, title)),
            }
        )
        return stored_receptors(scene, version)


def _utc(time: np.datetime64) -> str:
    return f"{str(time).replace('T', ' ')} UTC"


def require_current_receptors(store: Store, scene: Scene) -> None:
    """Make sure the stored receptor table is the one of a scene's spec; only its footer is read.

    Raises
    ------
    IncompleteError
        If there is none, or the spec has changed since.
    """
    version = store.folder("receptors").open(f"{scene.id}.parquet", stored_version, whole=False)
    if version is None:
        raise missing("receptors", scene.id)
    if version != receptors_version(scene):
        raise IncompleteError(f"receptors of scene {scene.id} are of an earlier spec: materialize receptors first")


def _selection(scene: Scene) -> dict[str, dg.MetadataValue]:  # type: ignore[type-arg]
    """Return how many of a retrieval's soundings each step of the selection left, as a table."""
    retrieval = scene.receptors.retrieval
    if retrieval is None or retrieval.retrieved is None:
        return {}
    rows = [f"| {name.replace('_', ' ')} | {n} |" for name, n in retrieval.retrieved.counts.items()]
    return {"stilt/soundings": dg.MetadataValue.md("\n".join(["| soundings | |", "|---|---:|", *rows]))}
