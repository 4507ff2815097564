"""The resources as Dagster configures them: of a code location, of a test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.pystilt import WHEEL_BUILD, engine_here
from stilt_dagster.science.transport.hysplit import Hysplit

if TYPE_CHECKING:
    from stilt_dagster.science.batches import Batch
    from stilt_dagster.science.meteorology.description import Meteorology
    from stilt_dagster.science.outcomes import Report
    from stilt_dagster.science.part_pool import Progress


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The store of a code location."""

    url: str

    @property
    def store(self) -> Store:
        """The store."""
        return Store(self.url)


class MeteorologyArchive(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The meteorology archive of a code location; *root* is ``STILT_MET``, empty for NOAA's public archives."""

    root: str = ""

    def open(self) -> FileArchive:
        """Return the archive."""
        return FileArchive(self.root)


class TransportEngine(dg.ConfigurableResource):  # type: ignore[type-arg]
    """HYSPLIT-STILT, one process a core."""

    exe_dir: str = Field(
        "", description="Directory of another hycs_std, such as a registered build (STILT_EXE_DIR); empty: pystilt's."
    )
    workers: int = Field(0, ge=0, description="Simulations at a time; 0: one for every core this process may use.")

    def open(self, scratch: Path | None = None) -> Hysplit:
        """Return an engine that runs in *scratch*."""
        return Hysplit(self._directory, scratch)

    @property
    def _directory(self) -> Path | None:
        return Path(self.exe_dir) if self.exe_dir else None

    @property
    def version_here(self) -> str | None:
        """Version of this machine's hycs_std; None if there is none for it.

        Raises
        ------
        EngineError
            If there is none in ``exe_dir``.
        """
        return engine_here(self._directory)

    @property
    def expected_version(self) -> str:
        """What trajectories are to be made with, here or elsewhere: pystilt's build where this machine has none."""
        return self.version_here or WHEEL_BUILD

    @property
    def n_workers(self) -> int:
        """Simulations at a time."""
        return self.workers or available_cores()


class ShardWork(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the shards of a run are simulated and gridded: by the run's own process, on all its cores."""

    def simulate(
        self,
        context: dg.AssetExecutionContext,
        scene: StoredScene,
        shards: Mapping[str, Sequence[Batch]],
        meteorology: Meteorology,
        engine: TransportEngine,
        *,
        rerun: bool,
        report_progress: Progress,
    ) -> Report:
        """Simulate what of some shards is missing, failed, or was made with other inputs.

        Parameters
        ----------
        context : AssetExecutionContext
            Of the run.
        scene : StoredScene
            The scene.
        shards : mapping of str to sequence of Batch
            Whole shards of it.
        meteorology : Path or sequence of Path
            The files of its aggregate, on this machine.
        engine : TransportEngine
            What simulates.
        rerun : bool
            Do everything again.
        report_progress : callable
            Told of receptors done and in all.

        Returns
        -------
        Report
            Of all receptors of the shards, done now or before.
        """
        return scene.simulate(
            shards, meteorology, engine.open, workers=engine.n_workers, rerun=rerun, report_progress=report_progress
        )

    def grid(
        self,
        context: dg.AssetExecutionContext,
        scene: StoredScene,
        shards: Mapping[str, Sequence[Batch]],
        engine: TransportEngine,
        *,
        rerun: bool,
        report_progress: Progress,
    ) -> Report:
        """Make what of some shards' footprints is missing or was made with other particles or settings.

        Parameters and what is returned are as of :meth:`simulate`.

        Raises
        ------
        IncompleteError
            If trajectories are missing, or were made with other inputs.
        """
        return scene.grid(shards, workers=engine.n_workers, rerun=rerun, report_progress=report_progress)


def open_scene(store: StoreResource, engine: TransportEngine, scene: str) -> StoredScene:
    """Return a registered scene, with all that a step of it needs.

    Raises
    ------
    SceneError
        If it is not registered.
    EngineError
        If there is no hycs_std in ``exe_dir``.
    """
    return StoredScene.load(store.store, scene, engine.version_here)


def available_cores() -> int:
    """Return the cores this process may use: its affinity, cut to the quota of its control group (a pod's limit)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores
