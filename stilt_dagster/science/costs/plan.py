"""The plan of a scene, before it runs and beside what it took: receptors, CPU, pods, time, bytes, money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Bytes:
    """Bytes read, and bytes of each product; None is unknown.

    Attributes
    ----------
    meteorology_read, trajectories, footprints, jacobian : int or None
        Bytes.
    """

    meteorology_read: int | None = None
    trajectories: int | None = None
    footprints: int | None = None
    jacobian: int | None = None

    @property
    def written(self) -> int:
        """Bytes of trajectories, footprints and jacobian."""
        return sum(part or 0 for part in (self.trajectories, self.footprints, self.jacobian))


@dataclass(frozen=True)
class Cost:
    """Money.

    Attributes
    ----------
    amount : float
        In *currency*.
    currency : str
        ISO 4217 code.
    prices_of : str
        The day the prices are of.
    """

    amount: float
    currency: str
    prices_of: str


@dataclass(frozen=True)
class Concurrency:
    """What works at a time.

    Attributes
    ----------
    cores : int
        Cores, all together; 0: no cap.
    in_pods : bool
        Whether a scene is spread over pods; else one process does it.
    """

    cores: int
    in_pods: bool = False


@dataclass(frozen=True)
class Figures:
    """What something takes, planned or actual.

    Attributes
    ----------
    receptors : int
        Receptors; of an actual figure those that are done.
    particle_hours : int
        Receptors times particles times hours; those of error runs included.
    cpu_hours : float or None
        CPU of all processes, h.
    pods : int or None
        Pods that trajectories spread over; 1 on one machine.
    wall_hours : float or None
        From start to end at the configured concurrency, h.
    bytes : Bytes
        Read and written.
    cost : Cost
        Money.
    """

    receptors: int
    particle_hours: int
    cpu_hours: float | None
    pods: int | None
    wall_hours: float | None
    bytes: Bytes
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What a scene, or several, will take.

    Attributes
    ----------
    scene : str
        The scene; of several what they are called together.
    planned : Figures
        Before it runs; with ``precision`` that of receptors with ``numpar`` particles, until the first parts say more.
    at_most : Figures or None
        With ``precision`` that of receptors with all the particles they may have.
    actual : Figures or None
        What it has taken so far; None before it runs.
    calibrated : str
        What the CPU was measured on: this scene's own parts, other scenes of this store, or nothing (empty).
    """

    scene: str
    planned: Figures
    actual: Figures | None = None
    calibrated: str = ""
    at_most: Figures | None = None

    @property
    def limit(self) -> Figures:
        """The most it will take, as far as can be told."""
        return self.planned if self.at_most is None else self.at_most

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, see docs/how-to/costs.md."""
        data = {"scene": self.scene, **self.planned.to_dict(), "calibrated": self.calibrated}
        if self.at_most is not None:
            data["at_most"] = self.at_most.to_dict()
        return data if self.actual is None else {**data, "actual": self.actual.to_dict()}

    @classmethod
    def total(cls, name: str, plans: Sequence[Plan], concurrency: Concurrency) -> Plan:
        """Return the plan of several scenes, worked on together.

        Parameters
        ----------
        name : str
            What they are called together.
        plans : sequence of Plan
            One or more.
        concurrency : Concurrency
            What works at a time.
        """
        actual = [plan.actual for plan in plans if plan.actual is not None]
        return cls(
            name,
            _sum([plan.planned for plan in plans], concurrency),
            _sum(actual, concurrency) if actual else None,
            plans[0].calibrated if len({plan.calibrated for plan in plans}) == 1 else "",
            _sum([plan.limit for plan in plans], concurrency) if any(plan.at_most for plan in plans) else None,
        )


def _sum(some: Sequence[Figures], concurrency: Concurrency) -> Figures:
    """Return what several take together; time is at least that of the longest."""
    cpu = [f.cpu_hours for f in some if f.cpu_hours is not None]
    walls = [f.wall_hours for f in some if f.wall_hours is not None]
    wall = max([*walls, sum(cpu) / concurrency.cores if concurrency.cores else 0.0]) if walls else None
    first = some[0].cost
    return Figures(
        receptors=sum(f.receptors for f in some),
        particle_hours=sum(f.particle_hours for f in some),
        cpu_hours=round(sum(cpu), 6) if cpu else None,
        pods=max((f.pods for f in some if f.pods is not None), default=None),
        wall_hours=None if wall is None else round(wall, 6),
        bytes=Bytes(**{name: _total([getattr(f.bytes, name) for f in some]) for name in Bytes.__dataclass_fields__}),
        cost=Cost(round(sum(f.cost.amount for f in some), 6), first.currency, first.prices_of),
    )


def _total(parts: Sequence[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
