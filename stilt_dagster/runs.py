"""Running a scene in this process: the three jobs one after the other, what is done left alone."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterMaxRetriesExceededError

from stilt_dagster.definitions import defs
from stilt_dagster.partitions import register_scene, scene_range
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import UserError
from stilt_dagster.status import Status, scene_status

#: The jobs that take a scene from its spec to its jacobian, and the assets each makes; a background if it has one.
RUNS = (
    ("prepare", ("receptors", "meteorology_aggregate")),
    ("simulate", ("trajectories", "footprints")),
    ("assemble", ("background", "jacobian")),
)


def engine_version() -> str:
    """Return the version of the code location's transport engine.

    Raises
    ------
    EngineError
        If there is no hycs_std for this machine.
    """
    return str(defs.resources["transport_engine"].open().version)  # type: ignore[index]


def run_scene(
    instance: dg.DagsterInstance,
    store: Store,
    scene: str,
    *,
    everything: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Status:
    """Run what of a scene is not done.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are recorded.
    store : Store
        Where the scene is.
    scene : str
        Id of a registered scene.
    everything : bool
        Do all of it again.
    say : callable
        Told what each job did.

    Returns
    -------
    Status
        After it.

    Raises
    ------
    UserError
        If a run failed for a reason the user can mend.
    KeyboardInterrupt
        If it was told to end.
    """
    version = engine_version()
    register_scene(instance, store, store.scene(scene))  # a spec whose registration was cut short has no partition yet
    with _interrupts() as check:
        _run_jobs(instance, store, scene, version, everything, say, check)
    return scene_status(store, scene, version)


def _run_jobs(
    instance: dg.DagsterInstance,
    store: Store,
    scene: str,
    version: str,
    everything: bool,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> None:
    rerun = {"config": {"rerun": "all" if everything else "missing"}}
    for job, assets in RUNS:
        status = scene_status(store, scene, version)
        assets = tuple(a for a in assets if a in status.assets)
        ready = all(status.assets[a]["state"] == "ready" for a in assets)
        retry = "trajectories" in assets and status.outcomes["failed"] > 0
        if ready and not retry and not everything:
            say(f"{job}: nothing to do")
            continue
        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        where: dict[str, Any] = {"partition_key": scene}
        if job == "simulate":
            config["ops"] = dict.fromkeys(assets, rerun)
            where = {"tags": scene_range(scene)}
        try:
            selected = [dg.AssetKey(a) for a in assets]
            defs.resolve_job_def(job).execute_in_process(
                instance=instance, run_config=config, asset_selection=selected, **where
            )
        except dg.Failure as failure:
            raise UserError(failure.description or f"{job} failed") from failure
        except DagsterMaxRetriesExceededError as error:
            raise UserError(_last_cause(error)) from error
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        check()
        say(f"{job}: {', '.join(assets)} done")


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Give what raises KeyboardInterrupt if the process was told to end.

    Dagster takes signals over while it runs a job, and forgets one that comes after the job's last step; Python itself
    notes them all where it is told to.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    noted, noting = socket.socketpair()
    with noted, noting:
        noted.setblocking(False)
        noting.setblocking(False)

        def check() -> None:
            with suppress(BlockingIOError):
                if {signal.SIGINT, signal.SIGTERM} & set(noted.recv(4096)):
                    raise KeyboardInterrupt

        before = signal.set_wakeup_fd(noting.fileno(), warn_on_full_buffer=False)
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
