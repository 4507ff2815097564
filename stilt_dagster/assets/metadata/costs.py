"""What a scene is planned to take, and took, as metadata that the UI plots."""

from __future__ import annotations

from typing import Any

from stilt_dagster.science.costs.plan import Figures


def plan_metadata(kind: str, figures: Figures | None) -> dict[str, Any]:
    """Return figures as numbers, ``plan/cpu_hours`` or ``actual/cpu_hours`` and the like; what is unknown is left out.

    Parameters
    ----------
    kind : str
        ``plan`` or ``actual``.
    figures : Figures or None
        The figures.
    """
    if figures is None:
        return {}
    data = figures.to_dict()
    numbers = {
        **{name: data[name] for name in ("receptors", "particle_hours", "cpu_hours", "pods", "wall_hours")},
        **{f"bytes_{name}": value for name, value in data["bytes"].items()},
        "cost": figures.cost.amount,
    }
    return {
        **{f"{kind}/{name}": value for name, value in numbers.items() if value is not None},
        f"{kind}/currency": figures.cost.currency,
    }
