"""A receptor's particles: one ensemble, or as many as its row needs to be known well enough.

An ensemble is one run of hycs_std with ``numpar`` particles. Further ones differ in their seed alone, which is made of
that of the first, so that a receptor has the same particles whatever was run before, beside or after it. Particle
numbers go on: those of ensemble ``k`` are ``k numpar + 1`` to ``(k + 1) numpar``, and in each the first is the lowest
of a column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from stilt_dagster.science.engine_agreement import ReceptorCheck
from stilt_dagster.science.errors import TRANSIENT, SimulationFailed
from stilt_dagster.science.meteorology.description import Meteorology
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.escapes import escaped_reach
from stilt_dagster.science.transport.particle_tables import of_run, to_table
from stilt_dagster.science.transport.particles import Particles

#: How often a receptor is tried whose failure may not repeat itself.
ATTEMPTS = 2

#: How a receptor ended; unless it failed its particles, and those of its error run where the scene has such runs.
Result = tuple[Outcome, pa.Table | None, pa.Table | None]


class Engine(Protocol):
    """What simulates a receptor; :class:`~stilt_dagster.science.transport.hysplit.Hysplit` is one."""

    @property
    def version(self) -> str:
        """What makes its particles, beside receptor, settings and meteorology."""

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology) -> Particles:
        """Release particles at a receptor and follow them."""

    def stop(self) -> None:
        """End runs under way."""


class EngineCheck(Protocol):
    """What holds an engine against hycs_std."""

    def compare(self, receptor: Receptor, table: pa.Table, meteorology: Meteorology) -> ReceptorCheck:
        """Return how particles that were simulated at a receptor compare with hycs_std's."""

    def stop(self) -> None:
        """End runs under way."""


def engine_for(settings: TransportSettings, hysplit: Engine) -> Engine:
    """Return the engine that settings ask for.

    Parameters
    ----------
    settings : TransportSettings
        The settings.
    hysplit : Engine
        hycs_std, as this machine has it or not: it is looked for when it runs.
    """
    if settings.engine == "native":
        # What it compiles takes a while to import, and most scenes are simulated by hycs_std.
        from stilt_dagster.science.transport.native.engine import NativeEngine

        return NativeEngine()
    return hysplit


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


def simulate(
    receptor: Receptor,
    settings: TransportSettings,
    meteorology: Meteorology,
    engine: Engine,
    estimator: RowEstimator | None = None,
) -> tuple[Outcome, pa.Table | None]:
    """Simulate one receptor, trying again what may go better the second time.

    Parameters
    ----------
    receptor, settings, meteorology, engine
        As of :func:`run_ensembles`.
    estimator : callable, optional
        Of a scene with ``precision`` what tells how well rows are known.

    Returns
    -------
    (Outcome, pyarrow.Table or None)
        The outcome, and its particles unless it failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            done = run_ensembles(receptor, settings, meteorology, engine, estimator and estimator(receptor))
            outcome = Outcome(
                receptor.id,
                attempts=attempt,
                n_particles=done.n_particles,
                hours_covered=round(done.hours_covered, 3),
                escaped_fraction=round(done.escaped_fraction, 6),
                escaped_reach=round(done.escaped_reach, 2),
            )
            return outcome, done.table
        except SimulationFailed as failure:
            outcome = Outcome(receptor.id, "failed", failure.reason, str(failure), failure.log, attempt)
            if failure.reason not in TRANSIENT:
                break
    return outcome, None


def simulate_runs(
    receptor: Receptor,
    settings: TransportSettings,
    meteorology: Meteorology,
    engine: Engine,
    estimator: RowEstimator | None = None,
    check: EngineCheck | None = None,
) -> Result:
    """Simulate one receptor, and where the settings have errors of winds or mixing once more with these.

    As R STILT's ``simulation_step.r``, whose ``particle`` never has errors, and whose ``particle_error`` does (Lin and
    Gerbig 2005, doi:10.1029/2004GL021127). A receptor fails with either run. The error run is one ensemble. With a
    *check* the outcome says how its particles compare with hycs_std's.
    """
    outcome, table = simulate(receptor, settings.unperturbed, meteorology, engine, estimator)
    if table is not None and check is not None:
        outcome.check = check.compare(receptor, table, meteorology)
    if table is None or not settings.has_error_run:
        return outcome, table, None
    ended, error_table = simulate(receptor, settings.perturbed(receptor), meteorology, engine)
    if error_table is None:
        return replace(ended, message=f"error run: {ended.message}"), None, None
    return outcome, of_run(table, error=False), of_run(error_table, error=True)
