"""Registering scenes: the spec in the store, the partition, and the record of it that automation and queue read."""

from __future__ import annotations

import json

import dagster as dg

from stilt_dagster.kubernetes.run_coverage import COST_TAG, PRODUCT_TAG
from stilt_dagster.operations.plan import concurrency_of, plan_scene, require_scene_within
from stilt_dagster.resources.store import Store
from stilt_dagster.science.costs.plan import Plan
from stilt_dagster.science.costs.sizes import Load
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.spec import Scene


def register_scene(
    instance: dg.DagsterInstance, store: Store, scene: Scene, *, replace: bool = False, source: str = ""
) -> bool:
    """Write a scene's spec, then add its partition, then record it: so there is no partition without a spec.

    What is recorded, an observation of ``receptors``, tells automation of a new or changed scene, and whoever launches
    its runs how large they are.

    Parameters
    ----------
    instance : DagsterInstance
        Where partitions are kept.
    store : Store
        Where specs are kept.
    scene : Scene
        The scene.
    replace : bool
        Take another spec's place.
    source : str
        The sensor or schedule that registers it, and asks for its first run.

    Returns
    -------
    bool
        Whether anything was new.

    Raises
    ------
    SceneError
        If another spec has the id; it names the fields that differ.
    BudgetError
        If the scene is planned to take more than its budget; nothing is written then.
    PriceError
        If the store's price table, by which its cost is planned, is not usable.
    """
    require_scene_within(store, scene, concurrency_of(instance))
    known = store.has_scene(scene.id)
    if known and (different := store.scene(scene.id).differences(scene)):
        if not replace:
            raise SceneError(
                f"scene {scene.id} is registered with other settings ({', '.join(different[:6])}): "
                "give another id, or use --replace"
            )
        known = False
    has_partition = instance.has_dynamic_partition("scenes", scene.id)
    if known and has_partition and registration_is_recorded(instance, scene.id):
        return False
    plan = plan_scene(store, scene, concurrency_of(instance))
    if not known:
        store.write_scene(scene)
    if not has_partition:
        instance.add_dynamic_partitions("scenes", [scene.id])
    instance.report_runless_asset_event(registration(scene, source, plan))
    return not (known and has_partition)


def registration_is_recorded(instance: dg.DagsterInstance, scene: str) -> bool:
    """Return whether a scene's registration is recorded."""
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), asset_partitions=[scene])
    return bool(instance.fetch_observations(query, limit=1).records)


def registered_by_source(instance: dg.DagsterInstance, scene: str) -> float:
    """Return when a sensor or schedule registered a scene last, s since 1970; 0 if a person did."""
    query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), asset_partitions=[scene])
    for record in instance.fetch_observations(query, limit=1).records:
        if record.asset_observation and "source" in record.asset_observation.metadata:
            return record.timestamp
    return 0.0


def _found_by(scene: Scene, plan: Plan) -> dict[str, str]:
    """Return the run tags by which people find a scene's runs: its retrieval's product, and its planned cost."""
    retrieval, cost = scene.receptors.retrieval, plan.planned.cost
    product = {} if retrieval is None else {PRODUCT_TAG: retrieval.product}
    return {**product, COST_TAG: f"{float(f'{cost.amount:.2g}'):g} {cost.currency}"}


def registration(scene: Scene, source: str, plan: Plan) -> dg.AssetObservation:
    """Return the event that records a registration, with what whoever launches or counts runs wants to know."""
    cost, load = plan.planned.cost, Load.of(scene)
    return dg.AssetObservation(
        asset_key="receptors",
        partition=scene.id,
        description="registered",
        metadata={
            "stilt/receptors": load.receptors,
            "plan/cpu_hours": plan.planned.cpu_hours,
            "plan/cost": cost.amount,
            "load": json.dumps(load.to_dict()),
            "tags": json.dumps({**scene.tags, **_found_by(scene, plan)}),
            "plan": json.dumps({"cost": cost.amount, "currency": cost.currency, "cpu_hours": plan.planned.cpu_hours}),
            **({"source": source} if source else {}),
        },
    )
