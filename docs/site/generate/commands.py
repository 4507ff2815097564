"""Every command and option, from the command line itself."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click

from stilt_dagster.cli.app import app


def commands() -> str:
    """Return each command with its arguments and options."""
    command = typer.main.get_command(app)
    context = command.make_context("stilt-dagster", [], resilient_parsing=True)
    pages = get_docs_for_click(obj=command, ctx=context, name="stilt-dagster", title="All commands")
    # One heading a command below the page's own; its name alone, so that links to it are short.
    deeper = re.sub(r"^#", "##", pages, flags=re.M)
    return re.sub(r"^(#+) `stilt-dagster (.+)`$", r"\1 `\2`", deeper, flags=re.M)
