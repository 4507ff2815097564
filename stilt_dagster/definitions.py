"""The code location: every asset, check and job, and what they reach the outside through.

``build_defs`` is the one place they are put together, for production, laptops and tests alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from stilt_dagster.assets import ASSETS
from stilt_dagster.automation import SCHEDULES, SENSORS, external_assets, retrieval_sensors
from stilt_dagster.checks import CHECKS
from stilt_dagster.io_managers import (
    ArlIOManager,
    BackgroundIOManager,
    FootprintIOManager,
    JacobianIOManager,
    ParticleIOManager,
    ReceptorIOManager,
    ReportIOManager,
)
from stilt_dagster.jobs import JOBS
from stilt_dagster.resources.configurable import MeteorologyArchive, ShardWork, StoreResource, TransportEngine
from stilt_dagster.science.validation import trust_hosts
from stilt_dagster.settings import cluster, engine_directory, meteorology_root, slurm_site, store_url, trusts
from stilt_dagster.slurm.shard_work import SlurmWork


def transport_engine(workers: int = 0) -> TransportEngine:
    """Return this machine's engine, with so many simulations at a time; 0: one for every core."""
    return TransportEngine(exe_dir=str(engine_directory() or ""), workers=workers)


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Put the code location together.

    Parameters
    ----------
    resource_overrides : mapping, optional
        Resources to use in place of these, by name.
    """
    trust_hosts(trusts)
    store = StoreResource(url=store_url())
    resources: dict[str, Any] = {
        "store": store,
        "meteorology_archive": MeteorologyArchive(root=meteorology_root()),
        "transport_engine": transport_engine(),
        "shard_work": SlurmWork(site_file=str(slurm_site() or "")) if cluster() == "slurm" else ShardWork(),
    }
    resources.update(resource_overrides or {})
    store = resources["store"]
    resources = {
        "receptor_io_manager": ReceptorIOManager(store=store),
        "arl_io_manager": ArlIOManager(store=store),
        "particle_io_manager": ParticleIOManager(store=store),
        "background_io_manager": BackgroundIOManager(store=store),
        "footprint_io_manager": FootprintIOManager(store=store),
        "jacobian_io_manager": JacobianIOManager(store=store),
        "report_io_manager": ReportIOManager(store=store),
        **resources,
    }
    return dg.Definitions(
        assets=[*ASSETS, *external_assets(store.url)],
        asset_checks=CHECKS,
        jobs=JOBS,
        sensors=[*SENSORS, *retrieval_sensors(store.url)],
        schedules=SCHEDULES,
        resources=resources,
        # The pool of simulations is inside the asset: a process a step would only start Python again.
        executor=dg.in_process_executor,
    )


defs = build_defs()
