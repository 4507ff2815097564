"""A run of several assets as one run for each, so that every asset gets a pod of its own size."""

from __future__ import annotations

import uuid

import dagster as dg
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from stilt_dagster.cluster.runs import Coverage

#: Run tags: the run that must succeed before this one starts, and that there is one.
AFTER_TAG, WAITS_TAG = "stilt/after", "stilt/waits"


def split(
    instance: dg.DagsterInstance, run: dg.DagsterRun, covers: Coverage, workspace: BaseWorkspaceRequestContext
) -> list[dg.DagsterRun]:
    """Put one run for each asset in the place of a run of several, in the order they build on each other.

    Each but the first carries the id of the one before it. Ids follow from the run's own, so that doing it again after
    a crash makes no second set.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are kept.
    run : DagsterRun
        A run of several assets that is not started; it is deleted.
    covers : Coverage
        Its assets.
    workspace : BaseWorkspaceRequestContext
        Where its code is.

    Returns
    -------
    list of DagsterRun
        The runs, none of them submitted.
    """
    runs: list[dg.DagsterRun] = []
    for asset in covers.assets:
        run_id = str(uuid.uuid5(uuid.UUID(run.run_id), asset))
        made = instance.get_run_by_id(run_id)
        if made is None:
            tags = {AFTER_TAG: runs[-1].run_id, WAITS_TAG: "yes"} if runs else {}
            made = _run_of(instance, run, asset, run_id, tags, workspace)
        runs.append(made)
    instance.delete_run(run.run_id)
    return runs


def _run_of(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    asset: str,
    run_id: str,
    tags: dict[str, str],
    workspace: BaseWorkspaceRequestContext,
) -> dg.DagsterRun:
    """Create a run like *run* of one of its assets."""
    origin = run.remote_job_origin
    assert origin is not None, "a submitted run knows where its code is"
    key = dg.AssetKey(asset)
    selected = run.asset_check_selection
    checks = frozenset(check for check in selected if check.asset_key == key) if selected else None
    selector = JobSubsetSelector(
        location_name=origin.location_name,
        repository_name=origin.repository_origin.repository_name,
        job_name=run.job_name,
        op_selection=None,
        asset_selection=[key],
        asset_check_selection=None if checks is None else list(checks),
    )
    job: RemoteJob = workspace.get_code_location(origin.location_name).get_job(selector)
    config = dict(run.run_config)
    if isinstance(config.get("ops"), dict):
        config["ops"] = {name: value for name, value in config["ops"].items() if name == asset}
    plan = workspace.get_execution_plan(job, config, step_keys_to_execute=None, known_state=None)
    return instance.create_run(
        job_name=run.job_name,
        run_id=run_id,
        run_config=config,
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={**run.tags, **tags},
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=None,
        execution_plan_snapshot=plan.execution_plan_snapshot,
        job_snapshot=job.job_snapshot,
        parent_job_snapshot=job.parent_job_snapshot,
        asset_selection=frozenset({key}),
        asset_check_selection=checks,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
        asset_graph=workspace.asset_graph,
    )
