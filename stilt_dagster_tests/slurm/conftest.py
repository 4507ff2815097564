"""A Slurm cluster, started once for all tests of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stilt_dagster_tests.harness.slurm import Slurm


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    """Four nodes of a CPU each."""
    with Slurm() as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """The cluster, which commands of this process find."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith(("SBATCH_", "SQUEUE_"))]:
        monkeypatch.delenv(name)
    return cluster
