"""Checks of a jacobian, read from the file that was published."""

from pathlib import Path

import dagster as dg
import h5netcdf
import numpy as np

from stilt_dagster.assets import jacobian as jacobian_asset
from stilt_dagster.partitions import scenes
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.science.footprints.footprint_files import STATUS

_BLOCK = 1 << 20


@dg.asset_check(
    asset=jacobian_asset, partitions_def=scenes, description="Every observation ended well; failed rows are no data."
)
def every_receptor_succeeded(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Warn of failed receptors."""
    with h5netcdf.File(_jacobian(context, store), "r") as file:
        status = file.variables["status"][:]
    counts = {name: int(np.count_nonzero(status == k)) for k, name in enumerate(STATUS)}
    return dg.AssetCheckResult(passed=counts["failed"] == 0, severity=dg.AssetCheckSeverity.WARN, metadata=dict(counts))


@dg.asset_check(
    asset=jacobian_asset,
    partitions_def=scenes,
    description="A row for every receptor; entries finite and not negative, columns ascending; failed rows hold none.",
)
def jacobian_is_valid(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Check a jacobian's structure, a block of entries at a time."""
    scene = store.store.scene(context.partition_key)
    with h5netcdf.File(_jacobian(context, store), "r") as file:
        ids = [v.decode() if isinstance(v, bytes) else v for v in file.variables["obs_id"][:]]
        indptr, status = file.variables["indptr"][:], file.variables["status"][:]
        data, indices = file.variables["data"], file.variables["indices"]
        n_columns = int(file.attrs["shape"][1])
        positive = in_range = ascending = True
        starts = set(indptr.tolist())
        last = -1
        for start in range(0, int(indptr[-1]), _BLOCK):
            values, columns = data[start : start + _BLOCK], indices[start : start + _BLOCK].astype(np.int64)
            # A retrieval's averaging kernel may be below zero, and then so is what it weights.
            positive &= bool(np.isfinite(values).all() and (scene.has_columns or (values >= 0).all()))
            in_range &= bool((columns >= 0).all() and (columns < n_columns).all())
            falls = np.flatnonzero(np.diff(np.r_[last, columns]) <= 0) + start
            ascending &= all(int(k) in starts for k in falls)
            last = int(columns[-1])
    found = {
        "a row for every receptor": ids == scene.receptor_ids,
        "finite, not negative": positive,
        "columns in range": in_range,
        "columns ascending": ascending,
        "only ok rows hold entries": bool(np.all(np.diff(indptr)[status != 0] == 0)),
    }
    return dg.AssetCheckResult(passed=all(found.values()), metadata=dict(found))


def _jacobian(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Path:
    path = store.store.folder("jacobian").get(f"{context.partition_key}.nc")
    assert path is not None, "a check runs after its asset"
    return path
