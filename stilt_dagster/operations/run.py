"""Running a scene in this process: the three jobs one after the other, what is done left alone."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import DagsterMaxRetriesExceededError
from stilt_dagster.kubernetes.run_coverage import ASSET_TAG, SCENE_TAG, load_of
from stilt_dagster.operations.campaigns.membership import campaign_tags
from stilt_dagster.operations.record import current_versions, read_record
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.operations.status import Status, scene_status
from stilt_dagster.partitions import ASSETS, MADE_WITH, partition_keys, scene_range
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import RunFailedError, UserError
from stilt_dagster.science.pystilt import no_engine
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.settings import cluster

#: The jobs that take a scene from its spec to its report, and the assets each makes; a background if it has one.
RUNS = (
    ("prepare", ("receptors", "meteorology_aggregate")),
    ("simulate", ("trajectories", "footprints")),
    ("assemble", ("background", "jacobian", "report")),
)


@dataclass(frozen=True)
class Selection:
    """What of a scene to run.

    Attributes
    ----------
    assets : tuple of str
        Assets; all by default.
    shards : tuple of str
        Shards of trajectories and footprints, one after the other; all by default.
    everything : bool
        Do all of it again.
    """

    assets: tuple[str, ...] = tuple(ASSETS)
    shards: tuple[str, ...] = SHARDS
    everything: bool = False


def run_scene(
    instance: dg.DagsterInstance,
    scene: StoredScene,
    definitions: Callable[[], dg.Definitions],
    selection: Selection = Selection(),
    report: Callable[[str], None] = lambda line: None,
    tags: Mapping[str, str] | None = None,
) -> Status:
    """Run what of a scene is not done, or is done and not recorded.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are recorded.
    scene : StoredScene
        A registered scene.
    definitions : callable
        Gives the code location, which is loaded only if there is something to run.
    selection : Selection
        What to run.
    report : callable
        Called with a line on what each job did.
    tags : mapping of str to str, optional
        Run tags, besides those every run of the scene has.

    Returns
    -------
    Status
        After it.

    Raises
    ------
    NoEngineError
        If there is something to simulate, and neither this machine has hycs_std nor runs leave it to a cluster; before
        anything is run.
    UserError
        If a run failed for a reason the user can fix.
    RunFailedError
        If a run failed though its input is good: too many receptors failed.
    KeyboardInterrupt
        If it was told to end.
    """
    register_scene(instance, scene.store, scene.spec)  # a spec whose registration was cut short has no partition yet
    with _interrupts() as check:
        status = scene_status(scene)
        _require_engine(scene, status, selection)
        for job, assets in RUNS:
            chosen = tuple(a for a in assets if a in selection.assets and a in status.assets)
            if not chosen:
                continue
            if not selection.everything and _is_done(instance, scene, status, chosen):
                report(f"{job}: nothing to do")
                continue
            if not selection.everything:
                chosen = _without_finished(instance, scene, status, chosen)
            of_scene = {**load_of(instance, scene.id)[1], **campaign_tags(scene.store)(scene.id), **(tags or {})}
            kept = () if selection.everything else _kept(status, chosen)
            _run_job(instance, scene.id, definitions(), job, chosen, kept, selection, of_scene)
            check()
            report(f"{job}: {', '.join(chosen)} done")
            scene = StoredScene(scene.store, scene.spec, scene.hycs_std)  # what it holds of the store has changed
            status = scene_status(scene)
    return status


def _require_engine(scene: StoredScene, status: Status, selection: Selection) -> None:
    """Make sure that a machine without hycs_std has nothing to simulate, unless a cluster does it."""
    if scene.engine_here is None and "trajectories" in selection.assets and not cluster():
        done = status.assets["trajectories"]["state"] == "ready" and status.outcomes["failed"] == 0
        if selection.everything or not done:
            raise no_engine()


def _without_finished(
    instance: dg.DagsterInstance, scene: StoredScene, status: Status, assets: Sequence[str]
) -> tuple[str, ...]:
    """Leave out what is done of assets, if all that is not is made with it: a report makes no jacobian again."""
    with_others = tuple(a for a in assets if a in MADE_WITH)
    others = tuple(a for a in assets if a not in MADE_WITH)
    return with_others if with_others and others and _is_done(instance, scene, status, others) else tuple(assets)


def _kept(status: Status, assets: Sequence[str]) -> tuple[str, ...]:
    """Return which of assets a job that knows no Dagster has made as they should be: these are recorded as they are."""
    taken_over = [a for a in ("background", "jacobian") if a in assets]
    return tuple(taken_over) if all(status.assets[a]["state"] == "ready" for a in taken_over) else ()


def _is_done(instance: dg.DagsterInstance, scene: StoredScene, status: Status, assets: Sequence[str]) -> bool:
    """Return whether assets are as they should be, by their files and by what Dagster recorded of them."""
    if not all(status.assets[a]["state"] == "ready" for a in assets):
        return False
    if "trajectories" in assets and status.outcomes["failed"] > 0:
        return False
    wanted = current_versions(scene)
    record = read_record(instance, [scene.id])
    return all(
        key in record[asset] and record[asset][key].version == wanted[asset]
        for asset in assets
        for key in partition_keys(asset, scene.id)
    )


def _run_job(
    instance: dg.DagsterInstance,
    scene: str,
    definitions: dg.Definitions,
    job: str,
    assets: Sequence[str],
    kept: Sequence[str],
    selection: Selection,
    tags: Mapping[str, str],
) -> None:
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    where: dict[str, Any] = {"partition_key": scene}
    tags = {**tags, SCENE_TAG: scene, ASSET_TAG: ",".join(assets)}
    if job == "simulate":
        rerun = {"config": {"rerun": "all" if selection.everything else "missing"}}
        config["ops"] = dict.fromkeys(assets, rerun)
        where, tags = {}, {**tags, **scene_range(scene, selection.shards)}
    elif kept:
        config["ops"] = {asset: {"config": {"keep": True}} for asset in kept}
    try:
        definitions.resolve_job_def(job).execute_in_process(
            instance=instance, run_config=config, asset_selection=[dg.AssetKey(a) for a in assets], tags=tags, **where
        )
    except dg.Failure as failure:
        kind = UserError if isinstance(failure.__cause__, UserError) else RunFailedError
        raise kind(failure.description or f"{job} failed") from failure
    except DagsterMaxRetriesExceededError as error:
        raise UserError(_last_cause(error)) from error
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Give what raises KeyboardInterrupt if the process was told to end.

    Dagster takes signals over while it runs a job, and forgets one that comes after the job's last step; Python itself
    writes the number of each to a wakeup descriptor.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    received, sending = socket.socketpair()
    with received, sending:
        received.setblocking(False)
        sending.setblocking(False)

        def check() -> None:
            with suppress(BlockingIOError):
                if {signal.SIGINT, signal.SIGTERM} & set(received.recv(4096)):
                    raise KeyboardInterrupt

        before = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        try:
            yield check
        finally:
            signal.set_wakeup_fd(before)


def _last_cause(error: DagsterMaxRetriesExceededError) -> str:
    """Return what the last try said: Dagster hands on its text only, after the name of its class."""
    info = error.user_code_process_error_infos[0]
    while info.cause is not None:
        info = info.cause
    return " ".join(info.message.partition(": ")[2].split())
