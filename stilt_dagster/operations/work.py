"""The science of some shards of a scene, without Dagster: for array jobs, which need no database.

What it makes is what the assets ``trajectories`` and ``footprints`` make: a later `scene run` finds it done and records
it. Two that are given the same shard do the same work, and harm each other's files as little as two runs do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stilt_dagster.operations.plan import require_scene_within
from stilt_dagster.resources.stored_scene import StoredScene, aggregate_files
from stilt_dagster.science.costs.plan import Concurrency
from stilt_dagster.science.costs.sizes import GRIDDING_CORES
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.footprints.footprints import grid_shards
from stilt_dagster.science.footprints.row_error import row_estimator
from stilt_dagster.science.outcomes import Report
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.trajectories import simulate_shards
from stilt_dagster.science.versions import meteorology_key


def work_shards(
    scene: StoredScene,
    shards: Sequence[str],
    open_engine: Callable[[Path], Hysplit],
    workers: int,
    assets: Sequence[str] = ("trajectories", "footprints"),
    report_progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Report:
    """Simulate and grid what of some shards is missing, failed, or was made with other inputs.

    Parameters
    ----------
    scene : StoredScene
        A registered scene whose meteorology aggregate is there.
    shards : sequence of str
        The shards.
    open_engine : callable
        Gives the transport engine that runs in a directory.
    workers : int
        Simulations at a time.
    assets : sequence of str
        What to make: ``trajectories``, ``footprints``, or both.
    report_progress : callable
        Called with the step, receptors done, and receptors in all.

    Returns
    -------
    Report
        Of all receptors of the shards: of their footprints, or of trajectories where these alone are made.

    Raises
    ------
    IncompleteError
        If the meteorology aggregate is not there, or is of an earlier spec.
    BudgetError
        If the scene is planned to take more than its budget.
    """
    require_scene_within(scene.store, scene.spec, Concurrency(workers))
    meteorology = aggregate_files(scene.store, scene.id)
    if scene.aggregate is None or scene.aggregate.key != meteorology_key(scene.spec):
        raise IncompleteError(
            f"meteorology_aggregate of scene {scene.id} is of an earlier spec: materialize it first with "
            f"`stilt-dagster scene run {scene.id} --assets receptors,meteorology_aggregate`"
        )
    batches = scene.batches_of(shards)
    with scene.store.scratch() as scratch, scratch_directory() as runs:
        if "trajectories" in assets:
            report = simulate_shards(
                batches,
                scene.spec.transport,
                meteorology,
                open_engine(runs),
                scene.trajectories,
                scratch,
                workers=workers,
                estimator=row_estimator(scene.spec),
                report_progress=lambda done, total: report_progress("trajectories", done, total),
            )
        if "footprints" in assets:
            report = grid_shards(
                batches,
                scene.spec,
                scene.trajectories,
                scene.footprints,
                scratch,
                workers=min(workers, GRIDDING_CORES),
                report_progress=lambda done, total: report_progress("footprints", done, total),
            )
    return report
