"""Checks of trajectories, read from the indexes of their parts: no particle is opened."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from stilt_dagster.assets import trajectories as trajectories_asset
from stilt_dagster.checks.parts import some_of, summaries
from stilt_dagster.operations.log import log_of_failures
from stilt_dagster.partitions import shards_of_run
from stilt_dagster.resources.configurable import StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.engine_agreement import Agreement
from stilt_dagster.science.errors import counted
from stilt_dagster.science.meteorology.extent.margin import escape_warning, margin_to_try
from stilt_dagster.science.outcomes import Escapes, Outcome, PartSummary
from stilt_dagster.science.transport.trajectories import part_summary, read_summary

SIMULATED = "every_receptor_is_simulated"
STAYED = "particles_stay_in_meteorology"
AGREES = "engine_agrees"


@dg.multi_asset_check(
    name="check_trajectories",
    specs=[
        dg.AssetCheckSpec(
            SIMULATED,
            asset=trajectories_asset,
            description="No simulation failed; a verdict a run, of all shards done. What failed is a row of no data.",
        ),
        dg.AssetCheckSpec(
            STAYED,
            asset=trajectories_asset,
            description="No more than 5 % of a scene's particles left its meteorology; a verdict a run, as above.",
        ),
        dg.AssetCheckSpec(
            AGREES,
            asset=trajectories_asset,
            description="The native engine is as hycs_std at the receptors that ran through both: row sums within 2 %, "
            "footprints no farther than 1.3 times two seeds of hycs_std, each with 3 standard errors.",
        ),
    ],
)
def trajectories_are_complete(
    context: dg.AssetCheckExecutionContext, store: StoreResource, transport_engine: TransportEngine
) -> Iterator[dg.AssetCheckResult]:
    """Warn of receptors that failed, and of particles that left the crop; fail of an engine that is not as hycs_std."""
    with user_errors_as_failures():
        scene = open_scene(store, transport_engine, shards_of_run(context)[0])
        parts = summaries(scene, _summary)
        yield _simulated(scene, parts)
        yield _stayed(scene, Escapes.sum(p.escapes for p in parts if p.escapes is not None))
        yield _agrees(scene, Agreement.sum(p.agreement for p in parts if p.agreement is not None))


def _summary(scene: StoredScene, shard: str, batch: Any) -> PartSummary | None:
    """Return what an index says of a part; one of an earlier version, which lacks escapes, is not believed."""
    folder = scene.trajectories(shard)
    found = part_summary(folder, batch)
    return read_summary(folder, batch) if found is not None and found.escapes is None else found


def _simulated(scene: StoredScene, parts: list[PartSummary]) -> dg.AssetCheckResult:
    """Say how many receptors failed, why, and what HYSPLIT logged of the first."""
    failed: list[Outcome] = [o for p in parts for o in p.failed]
    done = sum(sum(p.counts.values()) for p in parts)
    description = f"{done - len(failed)} of {counted(len(scene.spec.receptor_list), 'receptor')} simulated"
    metadata: dict[str, Any] = {"scene": scene.id, "simulated": done - len(failed), "failed": len(failed)}
    if failed:
        first = failed[0]
        description = (
            f"{len(failed)} of {counted(done, 'receptor')} of scene {scene.id} failed; first {first.receptor}: "
            f"{first.message}. Look at `stilt-dagster scene log {scene.id} {first.receptor}`, fix the cause, and "
            "materialize trajectories again: only those that failed are tried"
        )
        metadata["failures"] = some_of([f"`{o.receptor}` {o.reason}: {o.message}" for o in failed])
        metadata["HYSPLIT's log"] = dg.MetadataValue.md(log_of_failures(scene, failed))
    return dg.AssetCheckResult(
        check_name=SIMULATED,
        asset_key=trajectories_asset.key,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=description,
    )


def _stayed(scene: StoredScene, found: Escapes) -> dg.AssetCheckResult:
    """Say how many particles left, and which margin would have held them."""
    assert scene.aggregate is not None, "trajectories are made of it"
    grids = scene.aggregate.grids
    description = f"{found.fraction:.1%} of the particles of scene {scene.id} left its meteorology"
    metadata: dict[str, Any] = {
        "scene": scene.id,
        "escaped fraction": round(found.fraction, 4),
        "worst receptors": some_of([f"`{w['receptor']}` {w['escaped_fraction']:.1%}" for w in found.worst]),
    }
    if found.are_many:
        description = escape_warning(scene.spec, grids, found)
        if (margin := margin_to_try(scene.spec, grids, found)) is not None:
            metadata["margin, degrees"] = margin
    return dg.AssetCheckResult(
        check_name=STAYED,
        asset_key=trajectories_asset.key,
        passed=not found.are_many,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=description,
    )


def _agrees(scene: StoredScene, found: Agreement) -> dg.AssetCheckResult:
    """Say whether the scene's engine is as hycs_std where it was held against it; a warning where it was nowhere."""
    settings = scene.spec.transport
    metadata: dict[str, Any] = {"scene": scene.id, "engine": scene.engine}
    severity = dg.AssetCheckSeverity.WARN
    passed, description = True, f"hycs_std itself simulates scene {scene.id}"
    if settings.engine_check is not None:
        metadata |= {"receptors compared": found.compared, "not compared": found.not_compared, **found.summary}
        if found.reference:
            metadata["hycs_std"] = found.reference
        if found.worst:
            metadata["largest differences"] = some_of(
                [f"`{w['receptor']}` {w['difference']:+.1%}" for w in found.worst]
            )
        if found.not_compared:
            metadata["why not"] = found.reason
        passed = found.verdict == "agrees"
        if disagreements := found.disagreements:
            severity = dg.AssetCheckSeverity.ERROR
            description = (
                f"the native engine differs from hycs_std in scene {scene.id}: {'; '.join(disagreements)}. Use engine: "
                "hysplit for it, and report it with the scene's spec"
            )
        elif passed:
            description = (
                f"the native engine agrees with hycs_std at {counted(found.compared, 'receptor')} of scene {scene.id}: "
                f"bias {found.bias:+.1%}, standard error {found.bias_error:.1%}; distance ratio "
                f"{found.distance_ratio:.2f}, standard error {found.distance_ratio_error:.2f}"
            )
        else:
            why = "engine_check is 0" if settings.engine_check == 0 else found.reason or "none of them feels the grid"
            description = f"the native engine was not held against hycs_std in scene {scene.id}: {why}"
        if passed and found.not_compared:
            description += f"; {found.not_compared} more could not be compared: {found.reason}"
    return dg.AssetCheckResult(
        check_name=AGREES,
        asset_key=trajectories_asset.key,
        passed=passed,
        severity=severity,
        metadata=metadata,
        description=description,
    )
