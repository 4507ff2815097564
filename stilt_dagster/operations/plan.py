"""The plan of a scene, for whoever asks: the command line, assets, sensors, campaigns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stilt_dagster.operations.calibrations import read_calibration, record_calibration
from stilt_dagster.resources.store import Store
from stilt_dagster.science.costs.budget import require_within
from stilt_dagster.science.costs.plan import Bytes, Concurrency, Cost, Figures, Plan
from stilt_dagster.science.costs.prediction import Calibration, Prediction, predict
from stilt_dagster.science.costs.prices import (
    PRICES,
    PriceError,
    Prices,
    Usage,
    packaged_prices,
    parse_prices,
    price_of,
)
from stilt_dagster.science.costs.sizes import Load, cores_for, runs_for
from stilt_dagster.science.costs.spent import Spent, as_simulated, calibrate
from stilt_dagster.science.errors import EngineError, MeteorologyError
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.versions import meteorology_key

if TYPE_CHECKING:
    import dagster as dg

    from stilt_dagster.operations.status import Status
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.meteorology.aggregate import Foreseen
    from stilt_dagster.science.meteorology.description import Description

#: Objects of a scene beside its parts: spec, receptors, aggregate, indexes, jacobian.
_OBJECTS = 40


def read_prices(store: Store) -> Prices:
    """Return the price table of a store: its ``prices.yaml``, or else the package's.

    Raises
    ------
    PriceError
        If the store's is not usable.
    """
    text = store.folder().read(PRICES)
    return packaged_prices() if text is None else parse_prices(text, f"{store.root}/{PRICES}")


def concurrency_of(instance: dg.DagsterInstance | None = None, workers: int = 0) -> Concurrency:
    """Return what works at a time: this machine's cores, or the pods of the cluster that an instance launches runs on.

    Parameters
    ----------
    instance : DagsterInstance, optional
        Where runs are launched; this process without one.
    workers : int
        Simulations at a time on this machine; 0: one a core.
    """
    from stilt_dagster.resources.configurable import available_cores

    if instance is not None and _launches_pods(instance):
        return Concurrency(_cores_of_queue(instance), in_pods=True)
    return Concurrency(workers or available_cores())


def _launches_pods(instance: dg.DagsterInstance) -> bool:
    """Return whether runs become pods, by the instance's configuration.

    The launcher itself is not made: it reads credentials of Kubernetes, which run pods and people do not have.
    """
    launcher = instance.get_ref().run_launcher_data if instance.is_persistent else None
    return launcher is not None and launcher.module_name.startswith("stilt_dagster.kubernetes")


def _cores_of_queue(instance: dg.DagsterInstance) -> int:
    """Return how many cores the queue gives to runs at a time; 0 where its configuration is not known here."""
    import dagster as dg

    try:
        return int(getattr(instance.run_coordinator, "max_cores", 0))
    except dg.DagsterError:  # it is in the environment of the daemon, and not of this process
        return 0


def plan_scene(store: Store, scene: Scene, concurrency: Concurrency, aggregate: Description | None = None) -> Plan:
    """Return the plan of a scene, registered or not, before anything of it is made.

    Parameters
    ----------
    store : Store
        Its prices are the plan's, and what its other scenes took calibrates the CPU.
    scene : Scene
        The scene, with its receptors.
    concurrency : Concurrency
        What works at a time.
    aggregate : Description, optional
        Its meteorology, if that is made already.

    Raises
    ------
    PriceError
        If the store's price table is not usable.
    StoreError
        If the store cannot be read.
    """
    known, found = read_calibration(store, scene.transport.engine), _meteorology(scene)
    read, kept = found.bytes_read, found.bytes_written
    if aggregate is not None:
        read, kept = _bytes_read(aggregate), _size(aggregate)
    calibration = Calibration(cpu=1.0 if known is None else known.cpu, inside=found.inside)
    why = "" if known is None else f"CPU of scene {known.scene} on {known.machine}"
    planned = _planned(store, scene, concurrency, calibration, read, kept)
    most = None
    if scene.transport.precision is not None:
        limit = scene.model_copy(update={"transport": scene.transport.at_most})
        most = _planned(store, limit, concurrency, calibration, read, kept)
    return Plan(scene.id, planned, calibrated=why, at_most=most)


def plan_stored(scene: StoredScene, concurrency: Concurrency, status: Status | None = None) -> Plan:
    """Return the plan of a registered scene, calibrated on its own first parts, and what it took so far.

    Parameters
    ----------
    scene : StoredScene
        The scene.
    concurrency : Concurrency
        What works at a time.
    status : Status, optional
        How far it is; looked up without.

    Raises
    ------
    PriceError
        If the store's price table is not usable.
    StoreError
        If the store cannot be read.
    """
    from stilt_dagster.operations.status import scene_status

    spent = (scene_status(scene) if status is None else status).spent
    known = scene.aggregate
    aggregate = known if known is not None and known.key == meteorology_key(scene.spec) else None
    plan = plan_scene(scene.store, scene.spec, concurrency, aggregate)
    if aggregate is None or not spent.parts:
        return plan
    measured = calibrate(scene.spec, spent)
    if measured is not None:
        read, kept = _bytes_read(aggregate), _size(aggregate)
        spec = as_simulated(scene.spec, spent)
        planned = _planned(scene.store, spec, concurrency, measured, read, kept)
        plan = replace(plan, planned=planned, calibrated="its own first parts")
    return replace(plan, actual=actual_figures(scene, spent, concurrency))


def actual_figures(scene: StoredScene, spent: Spent, concurrency: Concurrency, jacobian: int | None = None) -> Figures:
    """Return what a scene took, by the files of its store.

    Parameters
    ----------
    scene : StoredScene
        The scene.
    spent : Spent
        What its parts took.
    concurrency : Concurrency
        What works at a time.
    jacobian : int, optional
        Bytes of its jacobian, where that is not in the store yet.
    """
    from stilt_dagster.science.scratch import size_of

    if jacobian is None:
        jacobian = scene.store.folder("jacobian").open(f"{scene.id}.nc", size_of, whole=False)
    description = scene.aggregate
    read = None if description is None else _bytes_read(description)
    cpu, transport = spent.cpu_seconds, scene.spec.transport
    if cpu is not None and jacobian is not None:
        cpu += predict(scene.spec).scene_cpu_seconds  # of processes that no file tells of
    released = float(spent.receptors * transport.released)
    if transport.precision is not None:
        released += spent.particles - spent.receptors * transport.numpar
    usage = Usage(
        cpu_hours=(cpu or 0.0) / 3600,
        meteorology_read=read or 0,
        meteorology=0 if description is None else _size(description),
        trajectories=spent.trajectories,
        footprints=spent.footprints,
        jacobian=jacobian or 0,
        objects=2 * len(spent.parts) + _OBJECTS,
    )
    return Figures(
        receptors=spent.receptors,
        particle_hours=round(released * abs(transport.n_hours)),
        cpu_hours=None if cpu is None else round(cpu / 3600, 6),
        pods=None if concurrency.in_pods else 1,
        wall_hours=None if spent.seconds is None else round(spent.seconds / 3600, 6),
        bytes=Bytes(read, spent.trajectories, spent.footprints, jacobian),
        cost=_cost(usage, read_prices(scene.store)),
    )


def record_actual(scene: StoredScene, concurrency: Concurrency, jacobian: int) -> Figures | None:
    """Return what a scene took whose jacobian, of so many bytes, has just been made; keep it for plans of others.

    None, if the price table is not usable: all is computed by now, and must not be lost for that.
    """
    from stilt_dagster.operations.status import spent_on

    spent = spent_on(scene)
    record_calibration(scene, spent)
    try:
        return actual_figures(scene, spent, concurrency, jacobian)
    except PriceError:
        return None


def require_scene_within(store: Store, scene: Scene, concurrency: Concurrency) -> None:
    """Make sure that a scene keeps to its budget, if it has one; called wherever work on it may begin.

    Raises
    ------
    BudgetError
        Naming each figure that exceeds its limit.
    """
    if scene.budget is not None:
        require_within(plan_scene(store, scene, concurrency), scene.budget, f"scene {scene.id}")


def _planned(
    store: Store,
    scene: Scene,
    concurrency: Concurrency,
    calibration: Calibration,
    meteorology_read: int | None,
    meteorology: int,
) -> Figures:
    """Return the figures of a prediction."""
    transport, expected = scene.transport, predict(scene, calibration)
    hours = (expected.cpu_seconds + expected.scene_cpu_seconds) / 3600
    pods, cores = _spread(expected, concurrency)
    usage = Usage(
        cpu_hours=hours,
        meteorology_read=meteorology_read or 0,
        meteorology=meteorology,
        trajectories=expected.trajectories,
        footprints=expected.footprints,
        jacobian=expected.jacobian,
        objects=2 * expected.files + _OBJECTS,
    )
    n = len(scene.receptor_list)
    return Figures(
        receptors=n,
        particle_hours=n * transport.released * abs(transport.n_hours),
        cpu_hours=round(hours, 6),
        pods=pods,
        wall_hours=round((expected.cpu_seconds / cores + expected.scene_cpu_seconds) / 3600, 6),
        bytes=Bytes(meteorology_read, *map(round, (expected.trajectories, expected.footprints, expected.jacobian))),
        cost=_cost(usage, read_prices(store)),
    )


def _cost(usage: Usage, prices: Prices) -> Cost:
    return Cost(round(price_of(usage, prices), 6), prices.currency, f"{prices.prices_of}")


def _spread(expected: Prediction, concurrency: Concurrency) -> tuple[int, float]:
    """Return over how many pods a scene spreads, and how many cores they have together, no more than its parts need."""
    cores = float(concurrency.cores)
    pods = 1
    if concurrency.in_pods:
        pods = runs_for(Load(cpu_seconds=expected.cpu_seconds))
        together = pods * cores_for(expected.cpu_seconds / pods)
        cores = min(together, concurrency.cores or together)
    return pods, cores


def _meteorology(scene: Scene) -> Foreseen:
    """Return how much meteorology a scene reads and keeps.

    Of an archive on this machine that is found out; of one elsewhere it is estimated, since asking takes longer than a
    plan may.
    """
    from stilt_dagster.resources.meteorology_archive import FileArchive
    from stilt_dagster.science.costs.meteorology import typical_aggregate
    from stilt_dagster.science.meteorology.aggregate import foresee_aggregate
    from stilt_dagster.settings import meteorology_root

    place = scene.meteorology.directory or meteorology_root()
    if place and ("://" not in place or place.startswith("file://")):
        try:
            return foresee_aggregate(scene, FileArchive(meteorology_root()))
        except (MeteorologyError, EngineError):  # it is for the aggregate to say what is missing
            return typical_aggregate(scene)
    return typical_aggregate(scene)


def _bytes_read(description: Description) -> int:
    """Return how many bytes of archives were read for an aggregate."""
    return sum(int(g.kept.get("bytes_read", 0)) for g in description.grids)


def _size(description: Description) -> int:
    """Return about how large an aggregate is, from its description: some six records a level and hour."""
    return sum(6 * g.nx * g.ny * len(g.levels) * len(g.times) for g in description.grids)
