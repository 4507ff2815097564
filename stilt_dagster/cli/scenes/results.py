"""``stilt-dagster scene log`` and ``report``: what a scene, or one receptor of it, came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stilt_dagster.cli.console import AsJson, SceneId, open_scene, open_store, user_errors


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to a group."""
    app.command("log")(log)
    app.command("report")(report)


def report(
    scene: SceneId,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write; by default SCENE.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what a scene came to as one HTML file that opens offline: maps, figures, failures, origin."""
    with user_errors():
        from stilt_dagster.operations.products.report import write_report

        path = to or Path(f"{scene}.html")
        size = write_report(open_scene(open_store(), scene), path)
        if as_json:
            typer.echo(json.dumps({"scene": scene, "output": str(path), "bytes": size}))
        else:
            typer.echo(f"{path}: {size / 1e6:.1f} MB")


def log(
    scene: SceneId,
    receptor: Annotated[str, typer.Argument(metavar="RECEPTOR", help="Id of a receptor, as status lists it.")],
    prepare: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Write what hycs_std needs to run it again by hand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a receptor's simulation ended, HYSPLIT's log if it failed, and how to run it again by hand."""
    with user_errors():
        from stilt_dagster.operations.log import outcome_of, prepare_run
        from stilt_dagster.science.transport.hysplit import Hysplit
        from stilt_dagster.settings import engine_directory

        opened = open_scene(open_store(), scene)
        if prepare is not None:
            prepare_run(opened, receptor, Hysplit(engine_directory()), prepare)
            typer.echo(f"cd {prepare} && ./hycs_std")
            return
        outcome = outcome_of(opened, receptor)
        if as_json:
            typer.echo(json.dumps(outcome.to_dict()))
            return
        typer.echo(f"{outcome.receptor}: {outcome.status}" + (f", {outcome.reason}" if outcome.reason else ""))
        if outcome.message:
            typer.echo(outcome.message)
        typer.echo(
            f"attempts {outcome.attempts}, particles {outcome.n_particles}, hours covered {outcome.hours_covered:g}"
        )
        if outcome.check is not None:
            sums = ", ".join(f"{value:.4g}" for value in outcome.check.row_sums[1:])
            typer.echo(
                f"held against hycs_std: not compared: {outcome.check.reason}"
                if outcome.check.reason
                else f"held against hycs_std: row sum {outcome.check.row_sums[0]:.4g}, of two seeds of hycs_std {sums}"
            )
        if outcome.log:
            typer.echo(f"\nThe end of HYSPLIT's log:\n{outcome.log.rstrip()}")
        typer.echo(f"\nTo run it by hand:\n  stilt-dagster scene log {scene} {receptor} --prepare DIRECTORY")
        typer.echo("  cd DIRECTORY && ./hycs_std")
