"""Checks of the receptor table."""

import dagster as dg
import numpy as np
import pyarrow as pa

from stilt_dagster.assets import receptors as receptors_asset
from stilt_dagster.partitions import scenes


@dg.asset_check(
    asset=receptors_asset, partitions_def=scenes, blocking=True, description="Ids are unique and positions finite."
)
def receptors_are_valid(context: dg.AssetCheckExecutionContext, receptors: pa.Table) -> dg.AssetCheckResult:
    """Check a receptor table."""
    unique = len(set(receptors.column("receptor").to_pylist())) == len(receptors)
    finite = all(bool(np.isfinite(receptors.column(name).to_numpy()).all()) for name in ("longitude", "latitude"))
    return dg.AssetCheckResult(passed=unique and finite, metadata={"unique ids": unique, "finite positions": finite})
