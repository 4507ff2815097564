"""Checks of footprints, read from the indexes of their parts: no footprint is opened."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from stilt_dagster.assets import footprints as footprints_asset
from stilt_dagster.checks.parts import summaries
from stilt_dagster.partitions import shards_of_run
from stilt_dagster.resources.configurable import StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import counted
from stilt_dagster.science.footprints.footprints import part_summary
from stilt_dagster.science.outcomes import Balance, PartSummary

CONSERVED = "influence_is_conserved"
FELT = "influence_is_not_zero"

#: Largest share of a receptor's influence that may be neither on the grid nor outside it: layers are float32.
TOLERANCE = 1e-5


@dg.multi_asset_check(
    name="check_footprints",
    specs=[
        dg.AssetCheckSpec(
            CONSERVED,
            asset=footprints_asset,
            description="All influence of the particles, until they end or leave the meteorology, is on the grid or "
            "outside it, to 1e-5; a verdict a run, of all shards done.",
        ),
        dg.AssetCheckSpec(
            FELT,
            asset=footprints_asset,
            description="Some receptor feels fluxes on the grid; a verdict a run, of all shards done.",
        ),
    ],
)
def footprints_hold_all_influence(
    context: dg.AssetCheckExecutionContext, store: StoreResource, transport_engine: TransportEngine
) -> Iterator[dg.AssetCheckResult]:
    """Add up influence on the grid and outside, and look for a scene that feels nothing."""
    with user_errors_as_failures():
        scene = open_scene(store, transport_engine, shards_of_run(context)[0])
        parts = summaries(scene, _summary)
        yield _conserved(scene, parts)
        yield _felt(scene, parts)


def _summary(scene: StoredScene, shard: str, batch: Any) -> PartSummary | None:
    return part_summary(scene.footprints(shard), batch, scene.spec)


def _conserved(scene: StoredScene, parts: list[PartSummary]) -> dg.AssetCheckResult:
    balance = Balance.sum(p.balance for p in parts if p.balance is not None)
    passed = balance.imbalance <= TOLERANCE
    description = f"the influence of {counted(balance.receptors, 'receptor')} is on the grid or outside it"
    if not passed:
        description = (
            f"{balance.imbalance:.1e} of the influence of receptor {balance.receptor} is neither on the grid nor "
            "outside it: materialize footprints again with rerun: all; if it stays, report it with the scene's spec"
        )
    elif not balance.receptors:
        description = "the footprints are of a version that did not keep their balance: rerun: all makes them anew"
    return dg.AssetCheckResult(
        check_name=CONSERVED,
        asset_key=footprints_asset.key,
        passed=passed,
        metadata={
            "scene": scene.id,
            "largest imbalance": balance.imbalance,
            "influence on the grid, ppm (umol m-2 s-1)-1": balance.gridded,
            "mean share outside": balance.outside / balance.receptors if balance.receptors else 0.0,
        },
        description=description,
    )


def _felt(scene: StoredScene, parts: list[PartSummary]) -> dg.AssetCheckResult:
    counts = sum((Counter(p.counts) for p in parts), Counter[str]())
    passed = counts["ok"] > 0 or not counts["empty"]
    description = f"{counted(counts['ok'], 'receptor')} {'feels' if counts['ok'] == 1 else 'feel'} fluxes on the grid"
    if not passed:
        description = (
            f"none of {counted(counts['empty'], 'receptor')} of scene {scene.id} feels fluxes on the grid: place the "
            "footprint's grid upwind of the receptors, around the particles the picture of trajectories shows"
        )
    return dg.AssetCheckResult(
        check_name=FELT,
        asset_key=footprints_asset.key,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"scene": scene.id, **{name: counts[name] for name in ("ok", "empty", "failed")}},
        description=description,
    )
