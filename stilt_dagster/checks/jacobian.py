"""Checks of a jacobian, read once from the file that was published."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
import numpy as np

from stilt_dagster.assets import jacobian as jacobian_asset
from stilt_dagster.checks.parts import some_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.errors import counted
from stilt_dagster.science.jacobian.validity import Examined, examine, outliers
from stilt_dagster.science.scratch import Source

VALID = "jacobian_is_valid"
SUMS = "row_sums_equal_footprints"
PLAUSIBLE = "row_sums_are_plausible"
HOURS = "observations_lie_in_flux_hours"

_DESCRIPTIONS = {
    VALID: "A row for every receptor; entries finite and not negative, columns ascending; failed rows hold none.",
    SUMS: "Each row sums to its footprint, which is summed by hours before release, to 1e-6.",
    PLAUSIBLE: "No row's sum is far from the scene's median, by the scene's own spread.",
    HOURS: "Every hour an observation can feel has columns.",
}


@dg.multi_asset_check(
    name="check_jacobian",
    specs=[dg.AssetCheckSpec(name, asset=jacobian_asset, description=text) for name, text in _DESCRIPTIONS.items()],
)
def jacobian_is_right(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
    """Check a jacobian's structure, sums and hours."""
    with user_errors_as_failures():
        scene = store.store.scene(context.partition_key)

        def read(source: Source) -> Examined:
            return examine(source, scene.receptor_ids, scene.transport.n_hours, signed=scene.has_columns)

        found = store.store.folder("jacobian").open(f"{scene.id}.nc", read, whole=True)
        if found is None:
            raise missing("jacobian", scene.id)
    verdict = partial(_result, scene.id)
    again = "materialize jacobian again; if it stays, report it with the scene's spec"
    broken = [name for name, holds in found.structure.items() if not holds]
    yield verdict(VALID, broken, f"does not hold: {', '.join(broken)}: {again}", {**found.structure, **found.outcomes})
    different = found.differing_rows
    yield verdict(
        SUMS,
        different,
        f"{counted(len(different), 'row')} with another sum than the footprint, first {_ids(found, different[:1])}: "
        "materialize footprints with rerun: all, then jacobian; if it stays, report it with the scene's spec",
        {
            "rows compared": int(np.count_nonzero(~np.isnan(found.foot_sum))),
            "differing": some_of(_ids(found, different)),
        },
    )
    far = outliers(np.where(found.status == 0, found.sums, 0.0))
    yield verdict(
        PLAUSIBLE,
        far,
        f"{counted(len(far), 'row')} far from the scene's median, first {_ids(found, far[:1])}: look at these "
        "receptors' positions, heights and meteorology before they go into an inversion",
        {
            "median, ppm (umol m-2 s-1)-1": float(np.median(found.sums[found.status == 0]))
            if 0 in found.status
            else 0.0,
            "outliers": some_of([f"`{found.ids[k]}` {found.sums[k]:.4g}" for k in far]),
        },
        dg.AssetCheckSeverity.WARN,
    )
    late = found.rows_outside_hours
    yield verdict(
        HOURS,
        late,
        f"{counted(len(late), 'observation')} can feel hours without columns: {again}",
        {"observations": len(late)},
    )


def _ids(found: Examined, rows: Sequence[Any]) -> list[str]:
    return [f"`{found.ids[k]}`" for k in rows]


def _result(
    scene: str,
    name: str,
    wrong: Sequence[Any],
    description: str,
    metadata: dict[str, Any],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """Return a verdict: passed if nothing is wrong, which *description* tells of otherwise."""
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=jacobian_asset.key,
        passed=len(wrong) == 0,
        severity=severity,
        metadata={"scene": scene, **metadata},
        description=f"jacobian of {scene}: {description}" if len(wrong) else _DESCRIPTIONS[name],
    )
