"""The science of a scene without Dagster: for array jobs, which need no database.

What it makes is what the assets make: a later `scene run` finds it done and records
it. Two that are given the same shard do the same work, and harm each other's files as little as two runs do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from stilt_dagster.operations.plan import require_scene_within
from stilt_dagster.operations.products.matrix import make_background, make_jacobian
from stilt_dagster.operations.products.report import make_report
from stilt_dagster.operations.status import scene_status
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.stored_scene import OF_SCENES, OF_SHARDS, StoredScene, aggregate_files, missing
from stilt_dagster.science.costs.plan import Concurrency
from stilt_dagster.science.costs.sizes import GRIDDING_CORES
from stilt_dagster.science.errors import IncompleteError, RunFailedError, counted
from stilt_dagster.science.outcomes import Report
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.versions import meteorology_key


def work_shards(
    scene: StoredScene,
    shards: Sequence[str],
    open_engine: Callable[[Path], Hysplit],
    workers: int,
    assets: Sequence[str] = OF_SHARDS,
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
    meteorology = require_work_may_begin(scene, workers)
    batches = scene.batches_of(shards)
    if "trajectories" in assets:
        report = scene.simulate(
            batches, meteorology, open_engine, workers=workers, report_progress=partial(report_progress, "trajectories")
        )
    if "footprints" in assets:
        report = scene.grid(
            batches,
            workers=min(workers, GRIDDING_CORES),
            report_progress=partial(report_progress, "footprints"),
        )
    return report


def require_work_may_begin(scene: StoredScene, workers: int = 1) -> tuple[Path, ...]:
    """Return the files of a scene's meteorology, if they are there and it keeps to its budget.

    Raises
    ------
    IncompleteError
        If the meteorology aggregate is not there, or is of an earlier spec.
    BudgetError
        If the scene is planned to take more than its budget.
    """
    require_scene_within(scene.store, scene.spec, Concurrency(workers))
    advice = f"make it with `stilt-dagster scene run {scene.id} --assets receptors,meteorology_aggregate`"
    if scene.aggregate is None:
        raise IncompleteError(f"meteorology_aggregate of scene {scene.id} is not in the store: {advice}")
    if scene.aggregate.key != meteorology_key(scene.spec):
        raise IncompleteError(f"meteorology_aggregate of scene {scene.id} is of an earlier spec: {advice}")
    return aggregate_files(scene.store, scene.id)


def assemble_scene(scene: StoredScene, archive: FileArchive, assets: Sequence[str] = OF_SCENES) -> list[str]:
    """Make what is made of all shards of a scene, if it is not there, or was made of other parts.

    Parameters
    ----------
    scene : StoredScene
        A registered scene whose shards are done.
    archive : FileArchive
        Where fields and fluxes the scene names are found.
    assets : sequence of str
        What to make: ``background``, if the scene names one, ``jacobian``, ``report``.

    Returns
    -------
    list of str
        What was made; the rest was there.

    Raises
    ------
    IncompleteError
        If parts are missing.
    RunFailedError
        If more receptors failed than the scene may lose.
    """
    require_work_may_begin(scene)
    status = scene_status(scene)
    parts = status.assets["footprints"]
    if parts["state"] != "ready":
        raise IncompleteError(
            f"{parts['of'] - parts['parts']} of {counted(parts['of'], 'part')} of scene {scene.id} are not done: do "
            f"them with `stilt-dagster scene work {scene.id}`, or an array job"
        )
    if status.outcomes["failed"] > scene.spec.max_failed_fraction * status.receptors:
        raise RunFailedError(
            f"{status.outcomes['failed']} of {counted(status.receptors, 'receptor')} failed, more than "
            f"max_failed_fraction {scene.spec.max_failed_fraction:g} of scene {scene.id}: `stilt-dagster scene status "
            f"{scene.id}` lists them"
        )
    made: list[str] = []
    for asset in OF_SCENES:
        if asset not in assets or asset not in status.assets:
            continue
        if made or status.assets[asset]["state"] != "ready":
            _MAKING[asset](scene, archive)
            made.append(asset)
    return made


def _background(scene: StoredScene, archive: FileArchive) -> None:
    with scene.store.scratch() as scratch:
        path = make_background(scene, archive, scratch)
        if path is not None:
            scene.store.folder("background").put(path, f"{scene.id}.parquet")


def _jacobian(scene: StoredScene, archive: FileArchive) -> None:
    from stilt_dagster.science.observations.background_files import BackgroundFile

    background = None
    if scene.spec.background is not None:
        background = scene.store.folder("background").open(f"{scene.id}.parquet", BackgroundFile, whole=True)
        if background is None:
            raise missing("background", scene.id)
    with scene.store.scratch() as scratch:
        path = make_jacobian(scene, archive, background, scratch).path
        assert path is not None, "it was made now"
        scene.store.folder("jacobian").put(path, f"{scene.id}.nc")


def _report(scene: StoredScene, _: FileArchive) -> None:
    scene.store.folder("report").write(f"{scene.id}.html", make_report(scene).html)


_MAKING = {"background": _background, "jacobian": _jacobian, "report": _report}
