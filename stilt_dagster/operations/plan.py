"""The plan of a scene, for whoever asks: the command line, assets, sensors, campaigns."""

from __future__ import annotations

from dataclasses import replace

from stilt_dagster.kubernetes.pod_sizes import Load, cores_for, pods_for
from stilt_dagster.resources.store import Store
from stilt_dagster.science.costs.budget import require_within
from stilt_dagster.science.costs.plan import Bytes, Concurrency, Cost, Figures, Plan
from stilt_dagster.science.costs.prediction import predict
from stilt_dagster.science.costs.prices import PRICES, Prices, Usage, packaged_prices, parse_prices, price_of
from stilt_dagster.science.scenes.spec import Scene


def read_prices(store: Store) -> Prices:
    """Return the price table of a store: its ``prices.yaml``, or else the package's.

    Raises
    ------
    PriceError
        If the store's is not usable.
    """
    text = store.folder().read(PRICES)
    return packaged_prices() if text is None else parse_prices(text, f"{store.root}/{PRICES}")


def plan_scene(store: Store, scene: Scene, concurrency: Concurrency) -> Plan:
    """Return the plan of a scene, registered or not.

    Parameters
    ----------
    store : Store
        Its prices are the plan's, and what is known of its parts.
    scene : Scene
        The scene, with its receptors.
    concurrency : Concurrency
        What works at a time.

    Raises
    ------
    PriceError
        If the store's price table is not usable.
    StoreError
        If the store cannot be read.
    """
    n, transport = len(scene.receptor_list), scene.transport
    expected = predict(scene)
    hours = expected.cpu_seconds / 3600
    prices = read_prices(store)
    usage = Usage(hours, 0, 0, expected.trajectories, expected.footprints, expected.jacobian, 0)
    pods, cores = _spread(expected.cpu_seconds, concurrency)
    return Plan(
        scene.id,
        Figures(
            receptors=n,
            particle_hours=n * transport.numpar * abs(transport.n_hours),
            cpu_hours=round(hours, 4),
            pods=pods,
            wall_hours=round(hours / cores, 4),
            bytes=Bytes(None, int(expected.trajectories), int(expected.footprints), int(expected.jacobian)),
            cost=Cost(round(price_of(usage, prices), 4), prices.currency, f"{prices.prices_of}"),
        ),
    )


def _spread(cpu_seconds: float, concurrency: Concurrency) -> tuple[int, float]:
    """Return over how many pods a scene spreads, and how many cores they have together."""
    if not concurrency.in_pods:
        return 1, concurrency.cores
    pods = pods_for(replace(Load(), cpu_seconds=cpu_seconds))
    cores = pods * cores_for(cpu_seconds / pods)
    return pods, min(cores, concurrency.cores or cores)


def require_scene_within(store: Store, scene: Scene, concurrency: Concurrency) -> None:
    """Make sure that a scene keeps to its budget, if it has one; called wherever work on it may begin.

    Raises
    ------
    BudgetError
        Naming each figure that exceeds its limit.
    """
    if scene.budget is not None:
        require_within(plan_scene(store, scene, concurrency), scene.budget, f"scene {scene.id}")
