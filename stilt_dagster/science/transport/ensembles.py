"""A receptor's particles: one ensemble, or as many as its row needs to be known well enough.

An ensemble is one run of hycs_std with ``numpar`` particles. Further ones differ in their seed alone, which is made of
that of the first, so that a receptor has the same particles whatever was run before, beside or after it. Particle
numbers go on: those of ensemble ``k`` are ``k numpar + 1`` to ``(k + 1) numpar``, and in each the first is the lowest
of a column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from stilt_dagster.science.meteorology.description import Meteorology
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.escapes import escaped_reach
from stilt_dagster.science.transport.particle_tables import to_table
from stilt_dagster.science.transport.particles import Particles


class Engine(Protocol):
    """What simulates a receptor; :class:`~stilt_dagster.science.transport.hysplit.Hysplit` is one."""

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology) -> Particles:
        """Release particles at a receptor and follow them."""

    def stop(self) -> None:
        """End runs under way."""


class RowEstimate(Protocol):
    """What the particles of a receptor say of its row."""

    def add(self, particles: Particles) -> None:
        """Add an ensemble, whose particles are numbered from 1."""

    @property
    def relative_error(self) -> float:
        """Standard error of the row's sum over that sum; NaN if that cannot be told yet."""


#: Gives the estimate of a receptor's row, before it has particles.
RowEstimator = Callable[[Receptor], RowEstimate]


@dataclass(frozen=True)
class Simulated:
    """The particles of a receptor.

    Attributes
    ----------
    table : pyarrow.Table
        As they are stored, those of all ensembles.
    n_particles : int
        Particles that moved.
    hours_covered : float
        How far back the longest-living one was followed, h.
    escaped_fraction : float
        Share of them that left the meteorology.
    escaped_reach : float
        How far these would have gone on, degrees: of the ensemble in which it is farthest.
    """

    table: pa.Table
    n_particles: int
    hours_covered: float
    escaped_fraction: float
    escaped_reach: float


def run_ensembles(
    receptor: Receptor,
    settings: TransportSettings,
    meteorology: Meteorology,
    engine: Engine,
    estimate: RowEstimate | None = None,
) -> Simulated:
    """Simulate a receptor once, and with an estimate until its row is known to ``precision``.

    Parameters
    ----------
    receptor : Receptor
        Where and when.
    settings : TransportSettings
        How; of a scene with ``precision`` no more than ``max_numpar`` particles are released.
    meteorology : Path or sequence of Path
        The files of the scene's aggregate.
    engine : Engine
        What simulates.
    estimate : RowEstimate, optional
        Told of each ensemble.

    Raises
    ------
    SimulationFailed
        If one of the ensembles fails.
    """
    ensembles = [_run(receptor, settings, meteorology, engine, 0, estimate)]
    if estimate is not None and settings.precision is not None:
        while len(ensembles) < settings.max_ensembles and not estimate.relative_error <= settings.precision:
            ensembles.append(_run(receptor, settings, meteorology, engine, len(ensembles), estimate))
    if len(ensembles) == 1:
        return ensembles[0]
    released = sum(e.n_particles for e in ensembles)
    return Simulated(
        pa.concat_tables([e.table for e in ensembles]),
        released,
        max(e.hours_covered for e in ensembles),
        sum(e.n_particles * e.escaped_fraction for e in ensembles) / released,
        max(e.escaped_reach for e in ensembles),
    )


def _run(
    receptor: Receptor,
    settings: TransportSettings,
    meteorology: Meteorology,
    engine: Engine,
    number: int,
    estimate: RowEstimate | None,
) -> Simulated:
    """Simulate one ensemble."""
    particles = engine.run(receptor, settings.ensemble(receptor, number), meteorology)
    if estimate is not None:
        estimate.add(particles)
    hours, escaped = particles.coverage(settings.n_hours)
    reach = escaped_reach(particles, settings.n_hours) if escaped else 0.0
    numbers = particles.columns["particle"]
    particles.columns["particle"] = numbers + np.asarray(number * settings.numpar, numbers.dtype)
    return Simulated(to_table(receptor.id, particles), particles.n_particles, hours, escaped, reach)
