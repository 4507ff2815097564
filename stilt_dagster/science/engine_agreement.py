"""How an engine compares with hycs_std, the reference: at a receptor, and over those of a scene.

At a receptor hycs_std runs twice, with two seeds. What its two runs differ by is the noise of the random numbers, and
the measure of what the other engine differs by: for an engine that is the same but for its random numbers, the three
runs can be exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

#: Largest bias of row sums, and largest mean distance of footprints over that of hycs_std to itself, of an engine that
#: agrees; each may be exceeded by so many standard errors.
MAX_BIAS, MAX_DISTANCE_RATIO, STANDARD_ERRORS = 0.02, 1.3, 3.0


@dataclass(frozen=True)
class ReceptorCheck:
    """How an engine compares with two runs of hycs_std at a receptor.

    Attributes
    ----------
    row_sums : tuple of float
        Sum of the footprint on the scene's grid, ppm (umol m-2 s-1)-1: the engine's, and those of the two runs.
    errors : tuple of float
        Monte-Carlo standard error of each, the same units.
    distances : tuple of float
        Sum over cells of the absolute difference of time-integrated footprints: engine to first run, engine to second,
        first to second; each over the mean size of the two runs' row sums.
    reference : str
        Version of hycs_std.
    reason : str
        Why nothing could be compared; empty otherwise.
    """

    row_sums: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    distances: tuple[float, ...] = ()
    reference: str = ""
    reason: str = ""


class Checked(Protocol):
    """How a receptor ended, as far as it tells of an engine."""

    @property
    def receptor(self) -> str:
        """The receptor's id."""

    @property
    def check(self) -> ReceptorCheck | None:
        """How the engine compares there; None if it was not to be checked."""


@dataclass(frozen=True)
class Agreement:
    """How an engine compares with hycs_std at some receptors, as sums that add up over parts.

    Attributes
    ----------
    compared, not_compared : int
        Receptors.
    reason : str
        Why the first of those that are not compared is not.
    reference : str
        Version of hycs_std.
    row_sum, difference, variance : float
        Sums over receptors of the mean row sum of hycs_std's runs, of what the engine's is above it, and of the
        Monte-Carlo variance of that.
    engine_squares, reference_squares : float
        Sums of squared differences of row sums: of the engine's to one of hycs_std, and of its two runs.
    distance, reference_distance, distance_variance : float
        Sums of the distance of footprints, the engine's to one of hycs_std and its two runs', and of the variance of
        their difference.
    worst : list of dict
        ``receptor`` and ``difference``, over the row sum, of those that differ most.
    """

    compared: int = 0
    not_compared: int = 0
    reason: str = ""
    reference: str = ""
    row_sum: float = 0.0
    difference: float = 0.0
    variance: float = 0.0
    engine_squares: float = 0.0
    reference_squares: float = 0.0
    distance: float = 0.0
    reference_distance: float = 0.0
    distance_variance: float = 0.0
    worst: list[dict[str, Any]] = field(default_factory=list)

    _WORST: ClassVar[int] = 5

    @classmethod
    def of(cls, outcomes: Iterable[Checked]) -> Agreement:
        """Add up receptors; those that were not to be checked count nothing."""
        return cls.sum(cls._at(o.receptor, o.check) for o in outcomes if o.check is not None)

    @classmethod
    def _at(cls, receptor: str, check: ReceptorCheck) -> Agreement:
        """Return the sums of one receptor.

        Three runs that can be exchanged have distances of one variance ``v`` and one covariance. So that of the mean of
        two distances less the third is ``3/2 (v - cov)``, and ``v - cov`` is seen in half the squared difference of
        the engine's two distances, whether it agrees or not.
        """
        if check.reason:
            return cls(not_compared=1, reason=check.reason, reference=check.reference)
        engine, first, second = check.row_sums
        to_first, to_second, between = check.distances
        mean = (first + second) / 2
        size = abs(mean)
        return cls(
            compared=1,
            reference=check.reference,
            row_sum=size,
            difference=engine - mean,
            variance=check.errors[0] ** 2 + (check.errors[1] ** 2 + check.errors[2] ** 2) / 4,
            engine_squares=((engine - first) ** 2 + (engine - second) ** 2) / 2,
            reference_squares=(first - second) ** 2,
            distance=(to_first + to_second) / 2,
            reference_distance=between,
            distance_variance=0.75 * (to_first - to_second) ** 2,
            worst=[{"receptor": receptor, "difference": round((engine - mean) / size, 4)}] if size > 0 else [],
        )

    @classmethod
    def sum(cls, some: Iterable[Agreement]) -> Agreement:
        """Return the agreement at all receptors of several."""
        known = list(some)
        sums = {
            name: sum(getattr(a, name) for a in known)
            for name, kind in cls.__annotations__.items()
            if kind in ("int", "float")
        }
        worst = sorted((w for a in known for w in a.worst), key=lambda w: (-abs(w["difference"]), w["receptor"]))
        return cls(
            **sums,
            reason=next((a.reason for a in known if a.reason), ""),
            reference=next((a.reference for a in known if a.reference), ""),
            worst=worst[: cls._WORST],
        )

    @property
    def receptors(self) -> int:
        """Receptors that were to be checked."""
        return self.compared + self.not_compared

    @property
    def bias(self) -> float:
        """What the engine's row sums are above hycs_std's, over these; NaN without any influence to compare."""
        return self.difference / self.row_sum if self.row_sum > 0 else math.nan

    @property
    def bias_error(self) -> float:
        """Standard error of the bias by the random numbers of all runs."""
        return math.sqrt(self.variance) / self.row_sum if self.row_sum > 0 else math.nan

    @property
    def spread(self) -> float:
        """Root mean square of the engine's row sums less those of one run of hycs_std, over their mean."""
        return self._relative(self.engine_squares)

    @property
    def reference_spread(self) -> float:
        """The same of the two runs of hycs_std."""
        return self._relative(self.reference_squares)

    def _relative(self, squares: float) -> float:
        return math.sqrt(squares * self.compared) / self.row_sum if self.row_sum > 0 else math.nan

    @property
    def distance_ratio(self) -> float:
        """Mean distance of the engine's footprints to hycs_std's, over that of hycs_std's two runs; NaN without any."""
        return self.distance / self.reference_distance if self.reference_distance > 0 else math.nan

    @property
    def distance_ratio_error(self) -> float:
        """Standard error of that ratio, were the engine the same."""
        if not self.reference_distance > 0:
            return math.nan
        return math.sqrt(self.distance_variance) / self.reference_distance

    @property
    def is_told(self) -> bool:
        """Whether anything was compared that had influence."""
        return self.row_sum > 0

    @property
    def disagreements(self) -> list[str]:
        """What is beyond its bound, each in words; nothing of an engine that agrees, or was not compared."""
        found = []
        if abs(self.bias) > MAX_BIAS + STANDARD_ERRORS * self.bias_error:
            found.append(
                f"its row sums are {self.bias:+.1%} of hycs_std's off, more than {MAX_BIAS:.0%} and "
                f"{STANDARD_ERRORS:g} standard errors of {self.bias_error:.1%}"
            )
        if self.distance_ratio > MAX_DISTANCE_RATIO + STANDARD_ERRORS * self.distance_ratio_error:
            found.append(
                f"its footprints are {self.distance_ratio:.2f} times as far from hycs_std's as two seeds of that are, "
                f"more than {MAX_DISTANCE_RATIO:g} and {STANDARD_ERRORS:g} standard errors of "
                f"{self.distance_ratio_error:.2f}"
            )
        return found

    @property
    def verdict(self) -> str:
        """``agrees``, ``differs``, or ``not checked``."""
        return "not checked" if not self.is_told else "differs" if self.disagreements else "agrees"

    def to_dict(self) -> dict[str, Any]:
        """Return what a person or program is told of it."""
        reason = {"reason": self.reason} if self.not_compared else {}
        counts = {"compared": self.compared, "not_compared": self.not_compared}
        return {"verdict": self.verdict, **counts, **reason, "reference": self.reference, **self.summary}

    @property
    def summary(self) -> dict[str, float]:
        """The figures, by the names they have in attributes and JSON; without those that cannot be told."""
        figures = {
            "bias": self.bias,
            "bias_error": self.bias_error,
            "spread": self.spread,
            "reference_spread": self.reference_spread,
            "distance_ratio": self.distance_ratio,
            "distance_ratio_error": self.distance_ratio_error,
        }
        return {name: round(value, 5) for name, value in figures.items() if math.isfinite(value)}
