"""``stilt-dagster jacobian``: work on finished jacobians."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stilt_dagster.cli.console import AsJson, SceneIds, matching, open_store, user_errors
from stilt_dagster.science.errors import counted
from stilt_dagster.science.jacobian.adapters.codes import Code

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
            of = f"{counted(rows, 'observation')} of {counted(len(scenes), 'scene')}"
            typer.echo(f"{output}: {of}, {counted(columns, 'column')}")


@app.command("export")
def export(
    scenes: SceneIds,
    code: Annotated[Code, typer.Option("--format", help="The inversion code.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The directory to write to; of fips a file, .pkl.")],
    without_failed: Annotated[
        bool, typer.Option("--without-failed", help="Leave out observations that failed.")
    ] = False,
    coarsen: Annotated[int, typer.Option(min=1, help="Cells that make one, along each axis.")] = 1,
    time_resolved: Annotated[bool, typer.Option("--time-resolved", help="openghg: hours back too.")] = False,
    prior: Annotated[
        Path | None,
        typer.Option(help="imi: NetCDF with `flux`, umol m-2 s-1, on the grid, with `flux_time` or without."),
    ] = None,
    state_vector: Annotated[Path | None, typer.Option(help="imi: its StateVector.nc.")] = None,
    background: Annotated[float | None, typer.Option(help="imi: ppm, where the scenes have none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the jacobians of scenes as files of an inversion code."""
    with user_errors():
        from stilt_dagster.operations.products.conversions import Options, convert_scenes

        options = Options(
            without_failed=without_failed,
            coarsen=coarsen,
            time_resolved=time_resolved,
            prior=prior,
            state_vector=state_vector,
            background=background,
        )
        store = open_store()
        named = matching(store, scenes)
        files = convert_scenes(store, named, code, output, options)
        if as_json:
            typer.echo(json.dumps({"format": code, "files": [str(path) for path in files]}))
        else:
            typer.echo(f"{output}: {counted(len(named), 'scene')} in {counted(len(files), 'file')} for {code}")
