"""Budgets: what a scene, a campaign or the scenes of a source may take, and the refusal of what exceeds it."""

from __future__ import annotations

from pydantic import ByteSize

from stilt_dagster.science.costs.plan import Plan
from stilt_dagster.science.errors import UserError
from stilt_dagster.science.scenes.settings import Budget

__all__ = ["Budget", "BudgetError", "require_within"]


class BudgetError(UserError):
    """What is planned exceeds its budget."""


def require_within(plan: Plan, budget: Budget | None, what: str) -> None:
    """Make sure that a plan keeps to a budget.

    Parameters
    ----------
    plan : Plan
        The plan.
    budget : Budget or None
        What may be taken; None has no limit.
    what : str
        What the error calls it, such as ``scene salt-lake-city``.

    Raises
    ------
    BudgetError
        Naming each figure that exceeds its limit.
    """
    if budget is None:
        return
    planned, excess = plan.limit, []
    if budget.cpu_hours is not None and (planned.cpu_hours or 0.0) > budget.cpu_hours:
        excess.append(f"{planned.cpu_hours:.3g} CPU-hours of at most {budget.cpu_hours:g} (cpu_hours)")
    if budget.cost is not None and planned.cost.amount > budget.cost:
        excess.append(f"{planned.cost.amount:.3g} {planned.cost.currency} of at most {budget.cost:g} (cost)")
    if budget.bytes is not None and planned.bytes.written > budget.bytes:
        excess.append(f"{_text(planned.bytes.written)} of at most {_text(budget.bytes)} (bytes)")
    if excess:
        raise BudgetError(
            f"{what} exceeds its budget: it is planned to take {', '.join(excess)}: raise the budget, or use fewer "
            "receptors, particles (numpar, max_numpar) or hours (n_hours)"
        )


def _text(n_bytes: int) -> str:
    return ByteSize(n_bytes).human_readable(decimal=True)
