"""``stilt-dagster jacobian``: work on finished jacobians."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stilt_dagster.cli.console import AsJson, open_store, user_errors

app = typer.Typer(no_args_is_help=True, help="Work on finished jacobians.")


@app.callback()
def jacobian() -> None:
    """Work on finished jacobians."""


@app.command("concat")
def concat(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE...", help="Scenes whose jacobians are finished.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write the jacobians of several scenes as one."""
    with user_errors():
        from stilt_dagster.operations.products.export import concatenate_scenes

        rows, columns = concatenate_scenes(open_store(), scenes, output)
        if as_json:
            typer.echo(json.dumps({"output": str(output), "shape": [rows, columns]}))
        else:
            typer.echo(f"{output}: {rows} observations of {len(scenes)} scenes, {columns} columns")
