"""How receptors ended, and what a step did to them: outcomes, counts, time and CPU."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.engine_agreement import Agreement, ReceptorCheck
from stilt_dagster.science.transport.effort import Effort
from stilt_dagster.science.versions import simulations_digest

#: Share of a scene's particles that may leave its meteorology.
TOLERATED_ESCAPES = 0.05


@dataclass
class Outcome:
    """How the simulation of one receptor ended.

    Attributes
    ----------
    receptor : str
        Receptor id.
    status : str
        ``ok`` or ``failed``; of a footprint also ``empty``.
    reason, message, log : str
        Of a failed one: the :class:`Reason`, one line for a person, and the tail of HYSPLIT's log.
    attempts : int
        How often it was tried.
    n_particles : int
        Particles that moved.
    hours_covered : float
        How far back in time the longest-living particle was followed, h.
    escaped_fraction : float
        Share of the particles that left the meteorology's domain before the run's end.
    escaped_reach : float
        How far beyond its edge these would have gone on, degrees, an estimate; 0 of parts made before it was kept.
    outside_fraction : float
        Of a footprint: share of the receptor's influence that lies outside the grid.
    foot_sum, row_sum_error, imbalance : float, optional
        Of a footprint: its sum over hours and cells, the Monte-Carlo standard error of that
        (:attr:`~stilt_dagster.science.footprints.gridding.Footprint.error`), and what is missing of all influence
        beside it and what lies outside (:attr:`~stilt_dagster.science.footprints.gridding.Footprint.imbalance`); None
        of parts made before these were kept.
    check : ReceptorCheck, optional
        Of a simulation: how it compares with hycs_std's, at a receptor where the engine is held against it.
    """

    receptor: str
    status: str = "ok"
    reason: str = ""
    message: str = ""
    log: str = ""
    attempts: int = 1
    n_particles: int = 0
    hours_covered: float = 0.0
    escaped_fraction: float = 0.0
    escaped_reach: float = 0.0
    outside_fraction: float = 0.0
    foot_sum: float | None = None
    row_sum_error: float | None = None
    imbalance: float | None = None
    check: ReceptorCheck | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; without what versions before do not know, where there is nothing in it."""
        return {k: v for k, v in asdict(self).items() if k != "check" or v is not None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Outcome:
        """Return what :meth:`to_dict` gave.

        Raises
        ------
        TypeError
            If it lacks something, or holds something unknown.
        """
        check = data.get("check")
        return cls(**{**data, "check": None if check is None else ReceptorCheck(**check)})


@dataclass(frozen=True)
class Balance:
    """Whether the footprints of some receptors hold all the influence of their particles.

    Attributes
    ----------
    receptors : int
        Footprints that say so.
    gridded : float
        Sum of their influence on the grid, ppm (umol m-2 s-1)-1.
    outside : float
        Sum over them of the share that lies outside the grid.
    imbalance : float
        The largest :attr:`Outcome.imbalance`.
    receptor : str
        The receptor that has it.
    """

    receptors: int = 0
    gridded: float = 0.0
    outside: float = 0.0
    imbalance: float = 0.0
    receptor: str = ""

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Balance:
        """Add up receptors."""
        return cls.sum(
            cls(1, o.foot_sum or 0.0, o.outside_fraction, o.imbalance, o.receptor)
            for o in outcomes
            if o.imbalance is not None
        )

    @classmethod
    def sum(cls, some: Iterable[Balance]) -> Balance:
        """Return the balance of all receptors of several."""
        known = list(some)
        worst = max(known, key=lambda b: b.imbalance, default=cls())
        return cls(
            sum(b.receptors for b in known),
            sum(b.gridded for b in known),
            sum(b.outside for b in known),
            worst.imbalance,
            worst.receptor,
        )


@dataclass(frozen=True)
class Escapes:
    """How many particles of some receptors left the meteorology.

    Attributes
    ----------
    particles, escaped : float
        Particles that moved, and of these those that left.
    reach : float
        The largest :attr:`Outcome.escaped_reach`, degrees.
    worst : list of dict
        ``receptor`` and ``escaped_fraction`` of those that lost the largest share.
    """

    particles: float = 0.0
    escaped: float = 0.0
    reach: float = 0.0
    worst: list[dict[str, Any]] = field(default_factory=list)

    _WORST: ClassVar[int] = 5

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Escapes:
        """Count what receptors lost."""
        return cls.sum(
            cls(
                o.n_particles,
                round(o.n_particles * o.escaped_fraction, 3),
                o.escaped_reach,
                [{"receptor": o.receptor, "escaped_fraction": o.escaped_fraction}] if o.escaped_fraction else [],
            )
            for o in outcomes
        )

    @classmethod
    def sum(cls, some: Iterable[Escapes]) -> Escapes:
        """Return what all receptors of several lost together."""
        known = list(some)
        worst = sorted((w for e in known for w in e.worst), key=lambda w: (-w["escaped_fraction"], w["receptor"]))
        return cls(
            sum(e.particles for e in known),
            round(sum(e.escaped for e in known), 3),
            max((e.reach for e in known), default=0.0),
            worst[: cls._WORST],
        )

    @property
    def fraction(self) -> float:
        """Share of the particles that left."""
        return self.escaped / self.particles if self.particles else 0.0

    @property
    def are_many(self) -> bool:
        """Whether more left than a person need not look at."""
        return self.fraction > TOLERATED_ESCAPES


@dataclass(frozen=True)
class PartSummary:
    """What is asked of a part file most often.

    Attributes
    ----------
    key : str
        What made it.
    simulations : str
        How its simulations ended, see :func:`~stilt_dagster.science.versions.simulations_digest`.
    counts : dict of str to int
        Receptors by outcome.
    failures : list of dict
        Of failed ones ``receptor``, ``reason``, ``message`` and ``attempts``.
    size, rows : int
        Bytes, and particle rows; of footprints cells that are not zero.
    escapes : Escapes, optional
        Of trajectories; None where an index was written before it was kept.
    balance : Balance, optional
        Of footprints; None where an index was written before it was kept.
    effort : Effort, optional
        What making it took; None where it was made before that was kept.
    agreement : Agreement, optional
        Of trajectories: how their engine compares with hycs_std, where it was held against it.
    """

    key: str
    simulations: str
    counts: dict[str, int]
    failures: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    rows: int = 0
    escapes: Escapes | None = None
    balance: Balance | None = None
    effort: Effort | None = None
    agreement: Agreement | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PartSummary:
        """Return what :func:`dataclasses.asdict` gave, of this version or an earlier one.

        Raises
        ------
        TypeError
            If it lacks something, or holds something unknown.
        """
        escapes, balance, agreement = (data.get(name) for name in ("escapes", "balance", "agreement"))
        parts = {
            "escapes": None if escapes is None else Escapes(**escapes),
            "balance": None if balance is None else Balance(**balance),
            "effort": Effort.from_dict(data.get("effort")),
            "agreement": None if agreement is None else Agreement(**agreement),
        }
        return cls(**{**data, **parts})

    @classmethod
    def of(
        cls,
        key: str,
        outcomes: Sequence[Outcome],
        size: int,
        rows: int = 0,
        simulations: str | None = None,
        effort: Effort | None = None,
    ) -> PartSummary:
        """Summarise a part file; *simulations* is that of the particles its footprints were made of."""
        names = ("receptor", "reason", "message", "attempts")
        return cls(
            key,
            simulations_digest((o.receptor, o.status) for o in outcomes) if simulations is None else simulations,
            dict(Counter(o.status for o in outcomes)),
            [{name: getattr(o, name) for name in names} for o in outcomes if o.status == "failed"],
            size,
            rows,
            Escapes.of(outcomes) if simulations is None else None,
            None if simulations is None else Balance.of(outcomes),
            effort,
            Agreement.of(outcomes) if simulations is None and any(o.check for o in outcomes) else None,
        )

    @property
    def failed(self) -> list[Outcome]:
        """The receptors that failed, without their logs."""
        return [Outcome(status="failed", **failure) for failure in self.failures]


@dataclass
class Report:
    """What a step did to a scene's receptors.

    Attributes
    ----------
    outcomes : Counter of str
        Receptors by status: ok, empty, failed.
    reasons : Counter of str
        Failed receptors by reason.
    failures : list of Outcome
        The first failed ones.
    made, kept : int
        Receptors done by this run, and found done.
    files, bytes, rows : int
        Part files, their size, and the particle rows in them.
    seconds, cpu_seconds : float
        Time and CPU this run spent, its children included.
    influence : ndarray
        Of footprints and jacobians: the sum over receptors and hours, shape ``(lat, lon)``.
    sample : Any
        Of trajectories: the first receptor simulated by this run, and its particle table.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    made: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    rows: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    influence: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    sample: tuple[str, Any] | None = None

    def add_part(self, summary: PartSummary) -> None:
        """Add a part file: how its receptors ended, its size, and the rows in it."""
        self.files += 1
        self.bytes += summary.size
        self.rows += summary.rows
        self.outcomes.update(summary.counts)
        for outcome in summary.failed:
            self.reasons[outcome.reason] += 1
            if len(self.failures) < 20:
                self.failures.append(outcome)

    @property
    def receptors(self) -> int:
        """All receptors."""
        return sum(self.outcomes.values())

    @property
    def failed_fraction(self) -> float:
        """Share of receptors that failed."""
        return self.outcomes["failed"] / self.receptors if self.receptors else 0.0

    @property
    def receptors_per_core_hour(self) -> float:
        """Receptors done an hour of CPU."""
        return self.made / self.cpu_seconds * 3600 if self.cpu_seconds else 0.0


class Meter:
    """Time and CPU since it was made, of this process and the children it waited for."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._cpu = self._spent()

    @staticmethod
    def _spent() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))

    def add_to(self, report: Report) -> None:
        """Record what was spent."""
        report.seconds = time.monotonic() - self._start
        report.cpu_seconds = self._spent() - self._cpu
