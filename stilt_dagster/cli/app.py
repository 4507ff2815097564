"""The command line, put together of its groups."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from stilt_dagster.cli import campaign, export, jacobian, machine, retrievals, scenes, server, slurm
from stilt_dagster.settings import trusted_hosts, trusts

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run STILT for whole satellite scenes.",
    epilog="Exit codes: 0 done, 1 a run or receptors failed, 2 wrong input, 130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from stilt_dagster import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run STILT for whole satellite scenes."""
    if trusted_hosts():  # else nothing is to be said, and what parses specs need not be imported yet
        from stilt_dagster.science.validation import trust_hosts

        trust_hosts(trusts)


app.add_typer(scenes.app, name="scene")
app.add_typer(campaign.app, name="campaign")
app.add_typer(retrievals.app, name="retrievals")
app.add_typer(jacobian.app, name="jacobian")
app.add_typer(export.app, name="export")
slurm.add_to(app)
machine.add_to(app)
app.command()(server.code_server)


def run() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", module="dagster")
    warnings.filterwarnings("ignore", category=Warning, message=".*currently in (beta|preview).*")
    app()
