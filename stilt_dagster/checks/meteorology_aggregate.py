"""Checks of a meteorology aggregate, read from the index records of its files: no field is read."""

import dagster as dg

from stilt_dagster.assets import meteorology_aggregate as aggregate_asset
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing, read_description
from stilt_dagster.science.meteorology.completeness import missing_hours, missing_winds, read_stored_header
from stilt_dagster.science.meteorology.window import Window


@dg.asset_check(
    asset=aggregate_asset,
    blocking=True,
    description="The files hold every hour of the runs, and winds on every level of every hour.",
)
def meteorology_is_complete(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Look for hours and levels that are missing, and warn of receptors outside."""
    with user_errors_as_failures():
        scene = store.store.scene(context.partition_key)
        description = read_description(store.store, scene.id)
        folder = store.store.folder("meteorology_aggregate")
        names = [] if description is None else description.stored_names(scene.id)
        headers = [header for n in names if (header := folder.open(n, read_stored_header, whole=False)) is not None]
        if description is None or len(headers) < len(names):
            raise missing("meteorology_aggregate", scene.id)
    window = Window.of(scene.receptor_list, scene.transport.n_hours)
    problems = missing_hours(headers, window) + [line for header in headers for line in missing_winds(header)]
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    advice = "look at the source's files, or name another meteorology.source, and materialize it again"
    return dg.AssetCheckResult(
        passed=not problems,
        metadata={
            "scene": scene.id,
            "needed": str(window),
            "steps": [len(header.steps) for header in headers],
            "levels": [len(header.levels) - 1 for header in headers],
            "receptors outside": len(description.outside),
        },
        description=f"meteorology of {scene.id}: {'; '.join(problems[:3])}{more}: {advice}"
        if problems
        else f"complete for {window}",
    )
