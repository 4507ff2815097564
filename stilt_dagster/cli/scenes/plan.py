"""``stilt-dagster scene plan``: what a scene will take, and what it has taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stilt_dagster.cli.console import (
    AsJson,
    launching_instance,
    open_scene,
    open_store,
    output,
    user_errors,
)
from stilt_dagster.science.errors import counted

if TYPE_CHECKING:
    from stilt_dagster.operations.status import Status
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.costs.plan import Figures, Plan


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to a group."""
    app.command("plan")(plan)


def plan(
    scene: Annotated[str, typer.Argument(metavar="SCENE|FILE", help="Id of a registered scene, or a scene's YAML.")],
    workers: Annotated[int, typer.Option(min=0, help="Simulations at a time; by default one a core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what a scene will take: CPU, time, bytes, money; of one under way also what it took so far.

    Exit code 2: it exceeds its budget.
    """
    with user_errors():
        from stilt_dagster.operations.ingest.granules import retrieve
        from stilt_dagster.operations.plan import concurrency_of, plan_scene, plan_stored
        from stilt_dagster.science.costs.budget import require_within
        from stilt_dagster.science.scenes.loading import load_scene

        store = open_store()
        path = Path(scene)
        concurrency = concurrency_of(launching_instance(), workers)
        if path.is_file() or path.suffix in (".yaml", ".yml") or "/" in scene:
            spec = load_scene(path, retrieve)
            found = plan_scene(store, spec, concurrency)
        else:
            opened = open_scene(store, scene)
            spec, found = opened.spec, plan_stored(opened, concurrency)
        if as_json:
            typer.echo(json.dumps(found.to_dict()))
        else:
            print_plan(found)
        require_within(found, spec.budget, f"scene {spec.id}")


def status_with_plan(status: Status, scene: StoredScene) -> dict[str, Any]:
    """Return how far a scene is, with its plan and what it took; no plan where the price table is not usable."""
    from stilt_dagster.operations.plan import concurrency_of, plan_stored
    from stilt_dagster.science.costs.prices import PriceError

    try:
        found = plan_stored(scene, concurrency_of(launching_instance()), status)
    except PriceError as error:
        status.warnings.append(str(error))
        return {**status.to_dict(), "plan": None}
    return {**status.to_dict(), "plan": found.to_dict()}


def print_plan(plan: Plan) -> None:
    """Print a plan as a table, and beside it what was taken."""
    from rich.table import Table

    console = output()
    console.print(f"[bold]{plan.scene}[/]: {counted(plan.planned.receptors, 'receptor')}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    some = (("planned", plan.planned), ("at most", plan.at_most), ("actual", plan.actual))
    columns = [(name, figures) for name, figures in some if figures is not None]
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right")
    rows = [_texts(figures) for _, figures in columns]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    console.print(table)
    if plan.calibrated:
        console.print(f"calibrated on: {plan.calibrated}", soft_wrap=True, markup=False)


def _texts(figures: Figures) -> dict[str, str]:
    """Return figures as a person reads them; a dash for what is not known."""
    sizes = {name.replace("_", " "): _size(value) for name, value in figures.to_dict()["bytes"].items()}
    return {
        "receptors": str(figures.receptors),
        "particle-hours": str(figures.particle_hours),
        "CPU": _hours(figures.cpu_hours),
        "pods": "-" if figures.pods is None else str(figures.pods),
        "wall time": _hours(figures.wall_hours),
        **sizes,
        "cost": f"{figures.cost.amount:.4g} {figures.cost.currency}, prices of {figures.cost.prices_of}",
    }


def _hours(hours: float | None) -> str:
    if hours is None:
        return "-"
    return f"{hours * 3600:.0f} s" if hours < 1 / 6 else f"{hours:.1f} h"


def _size(n_bytes: int | None) -> str:
    from pydantic import ByteSize

    return "-" if n_bytes is None else ByteSize(n_bytes).human_readable(decimal=True)
