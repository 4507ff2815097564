"""Checks of the receptor table, read from the file that was published."""

import dagster as dg
import numpy as np

from stilt_dagster.assets import receptors as receptors_asset
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.errors import counted
from stilt_dagster.science.scenes.receptor_table import read_receptors


@dg.asset_check(
    asset=receptors_asset,
    blocking=True,
    description="Ids are unique, positions finite, and the receptors those of the spec.",
)
def receptors_are_valid(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Check a receptor table."""
    with user_errors_as_failures():
        scene = store.store.scene(context.partition_key)
        table = store.store.folder("receptors").open(f"{scene.id}.parquet", read_receptors, whole=True)
        if table is None:
            raise missing("receptors", scene.id)
    found = {
        "unique ids": len(set(table.ids)) == len(table),
        "finite positions": all(bool(np.isfinite(v).all()) for v in (table.longitude, table.latitude, table.height)),
        "as in the spec": table.ids == scene.receptor_ids,
    }
    passed = all(found.values())
    advice = "correct the scene's receptors, register it with --replace, and materialize receptors again"
    return dg.AssetCheckResult(
        passed=passed,
        metadata={"scene": scene.id, **found},
        description=counted(len(table), "receptor") if passed else f"receptors of {scene.id} are not valid: {advice}",
    )
