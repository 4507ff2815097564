"""``stilt-dagster retrievals``: make scenes of satellite retrievals."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated

import typer

from stilt_dagster.cli.console import FAILED, WRONG_INPUT, AsJson, open_instance, open_store, user_errors
from stilt_dagster.science.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Make scenes of satellite retrievals.")

SourceNames = Annotated[list[str] | None, typer.Argument(metavar="[SOURCE...]", help="Sources; all by default.")]


@app.command("scan")
def scan(sources: SourceNames = None, as_json: AsJson = False) -> None:
    """Register scenes of granules that are new or have changed, as a source's sensor does."""
    with user_errors():
        _scan(sources or None, None, as_json)


@app.command("campaign")
def campaign(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Sources.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day of measurements, UTC.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, too.")],
    as_json: AsJson = False,
) -> None:
    """Register scenes of all granules of some days; finished scenes are left alone."""
    with user_errors():
        if last < first:
            raise UserError(f"--to {last:%Y-%m-%d} lies before --from {first:%Y-%m-%d}: exchange them")
        _scan(sources, (first.date(), last.date()), as_json)


def _scan(names: list[str] | None, days: tuple[date, date] | None, as_json: bool) -> None:
    from stilt_dagster.operations.ingest.scan import scan as scan_source
    from stilt_dagster.operations.ingest.sources import Source, load_sources

    store, instance = open_store(), open_instance()
    found, seen, bad = {}, 0, False
    for source in load_sources(store, names):
        seen += 1
        if not isinstance(source, Source):
            if names:
                raise source
            typer.echo(f"error: {source}", err=True)
            bad = True
            continue
        result = found[source.name] = scan_source(instance, store, source, days=days)
        if not as_json:
            for line in result.lines():
                typer.echo(line)
            typer.echo(f"{source.name}: {result.summary()}")
    if not seen:
        raise UserError(
            f"there are no sources: write one as {store.root}/sources/NAME.yaml, see docs/how-to/retrievals.md"
        )
    if as_json:
        typer.echo(json.dumps({name: asdict(result) for name, result in found.items()}))
    if bad:
        raise typer.Exit(WRONG_INPUT)
    if any(result.failed for result in found.values()):
        raise typer.Exit(FAILED)
