"""The transport engine of a code location: which hycs_std, and how many at a time."""

import os
from pathlib import Path

import dagster as dg
from pydantic import Field

from stilt_dagster.science.hysplit import Hysplit


class TransportEngine(dg.ConfigurableResource):  # type: ignore[type-arg]
    """HYSPLIT-STILT, one process a core."""

    exe_dir: str = Field("", description="Directory of another hycs_std, such as a registered build; empty: pystilt's.")
    workers: int = Field(0, ge=0, description="Simulations at a time; 0: one for every core this process may use.")

    def open(self, scratch: Path | None = None) -> Hysplit:
        """Return an engine that runs in *scratch*.

        Raises
        ------
        EngineError
            If there is no hycs_std for this machine.
        """
        return Hysplit(Path(self.exe_dir) if self.exe_dir else None, scratch)

    @property
    def n_workers(self) -> int:
        """Simulations at a time."""
        return self.workers or available_cores()


def available_cores() -> int:
    """Return the cores this process may use: its affinity, cut to the quota of its control group (a pod's limit)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores
