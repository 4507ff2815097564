"""A run of several assets, or scenes, as one run for each, so that every asset gets a pod of its own size.

A scene's report is made in the run of its jacobian, see :data:`stilt_dagster.partitions.MADE_WITH`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import BACKFILL_ID_TAG, BaseWorkspaceRequestContext, JobSubsetSelector
from stilt_dagster.kubernetes.run_coverage import Coverage, load_of
from stilt_dagster.partitions import runs_of

#: Run tags: the run that must succeed before this one starts, and that there is one.
AFTER_TAG, WAITS_TAG = "stilt/after", "stilt/waits"

_START, _END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def split(
    instance: dg.DagsterInstance, run: dg.DagsterRun, covers: Coverage, workspace: BaseWorkspaceRequestContext
) -> list[dg.DagsterRun]:
    """Put one run for each scene and asset in the place of a run of several, in the order assets build on each other.

    Each but the first of a scene carries the id of the one before it. Ids follow from the run's own, so that doing it
    again after a crash makes no second set.

    A backfill of more scenes than there are shards asks for runs of one shard of all scenes: Dagster cuts ranges along
    the dimension with fewer keys. Their ids follow from the backfill's, so that the first of them makes the runs of all
    shards of each scene, and the others find them made.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are kept.
    run : DagsterRun
        A run of several assets or scenes that is not started; it is deleted.
    covers : Coverage
        What it covers.
    workspace : BaseWorkspaceRequestContext
        Where its code is.

    Returns
    -------
    list of DagsterRun
        The runs; those that are new are not submitted.
    """
    many = covers.scene != covers.last_scene
    group = run.tags.get(BACKFILL_ID_TAG, run.run_id) if many else run.run_id
    parts = [_Part(run, assets, workspace) for assets in runs_of(covers.assets)]
    runs: list[dg.DagsterRun] = []
    for scene, span in _scenes(instance, run, covers) if many else [("", {})]:
        before: dict[str, str] = {}
        samples = load_of(instance, scene or covers.scene)[0].background
        for part in parts:
            if part.name == "background" and not samples:
                continue  # the scene names no field: a pod would find nothing to do
            run_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{group}/{scene}/{part.name}"))
            runs.append(instance.get_run_by_id(run_id) or part.create(instance, run_id, {**span, **before}))
            before = {AFTER_TAG: run_id, WAITS_TAG: "yes"}
    instance.delete_run(run.run_id)
    return runs


def _scenes(instance: dg.DagsterInstance, run: dg.DagsterRun, covers: Coverage) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the scenes of a run's range, and the tags of the range of each one's shards."""
    known = list(instance.get_dynamic_partitions("scenes"))
    places = [known.index(scene) for scene in (covers.scene, covers.last_scene) if scene in known]
    shards = _shards_of_backfill(instance, run, covers.assets[0])
    first, last = (run.tags[tag].partition("|")[2] for tag in (_START, _END))
    for scene in known[min(places) : max(places) + 1] if places else ():
        if shards is not None:
            if scene not in shards:
                continue
            first, last = min(shards[scene]), max(shards[scene])
        ends = (f"{scene}|{first}", f"{scene}|{last}") if first else (scene, scene)
        yield scene, dict(zip((_START, _END), ends, strict=True))


def _shards_of_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun, asset: str) -> dict[str, set[str]] | None:
    """Return what a run's backfill targets of an asset, shards by scene; None if it is of no backfill."""
    backfill = instance.get_backfill(run.tags[BACKFILL_ID_TAG]) if BACKFILL_ID_TAG in run.tags else None
    if backfill is None or backfill.asset_backfill_data is None:
        return None
    shards: dict[str, set[str]] = {}
    subset = backfill.asset_backfill_data.target_subset.get_partitions_subset(dg.AssetKey(asset))
    for key in subset.get_partition_keys():
        scene, _, shard = key.partition("|")
        shards.setdefault(scene, set()).add(shard)
    return shards


class _Part:
    """One asset of a run, or those made together: what runs of them alone are made of."""

    def __init__(self, run: dg.DagsterRun, assets: tuple[str, ...], workspace: BaseWorkspaceRequestContext) -> None:
        origin = run.remote_job_origin
        assert origin is not None, "a submitted run knows where its code is"
        self.name = assets[0]
        self._keys = frozenset(dg.AssetKey(asset) for asset in assets)
        self._tags = run.tags
        self._graph = workspace.asset_graph
        selected = run.asset_check_selection
        self._checks = frozenset(check for check in selected if check.asset_key in self._keys) if selected else None
        selector = JobSubsetSelector(
            location_name=origin.location_name,
            repository_name=origin.repository_origin.repository_name,
            job_name=run.job_name,
            op_selection=None,
            asset_selection=list(self._keys),
            asset_check_selection=None if self._checks is None else list(self._checks),
        )
        self._job = workspace.get_code_location(origin.location_name).get_job(selector)
        self._config = dict(run.run_config)
        if isinstance(self._config.get("ops"), dict):
            self._config["ops"] = {name: value for name, value in self._config["ops"].items() if name in assets}
        self._plan = workspace.get_execution_plan(self._job, self._config, step_keys_to_execute=None, known_state=None)

    def create(self, instance: dg.DagsterInstance, run_id: str, tags: dict[str, str]) -> dg.DagsterRun:
        """Create a run of the assets, with tags besides those of the run it takes the place of."""
        return instance.create_run(
            job_name=self._job.name,
            run_id=run_id,
            run_config=self._config,
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={**self._tags, **tags},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=None,
            execution_plan_snapshot=self._plan.execution_plan_snapshot,
            job_snapshot=self._job.job_snapshot,
            parent_job_snapshot=self._job.parent_job_snapshot,
            asset_selection=self._keys,
            asset_check_selection=self._checks,
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=self._job.get_remote_origin(),
            job_code_origin=self._job.get_python_origin(),
            asset_graph=self._graph,
        )
