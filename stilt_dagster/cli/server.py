"""``code-server``: what one server's daemon and UI load definitions from."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from stilt_dagster.cli.console import open_instance, user_errors
from stilt_dagster.science.errors import UserError, counted


def code_server(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen, of TCP.")] = 0,
    host: Annotated[str, typer.Option(help="Of which interface.")] = "127.0.0.1",
    socket: Annotated[str, typer.Option(metavar="PATH", help="Listen on a Unix socket instead.")] = "",
) -> None:
    """Serve the definitions to daemon and UI; runs that ended with the one before are recorded as failed.

    Runs are its children. One server has one of these, see deploy/compose.yaml and deploy/server.
    """
    from stilt_dagster.operations.code_server import Address, end_when_served, lost_runs

    with user_errors():
        if bool(port) == bool(socket):
            raise UserError("where should the code server listen? give --port or --socket")
        address = Address(host, port, socket)
        with open_instance() as instance:
            lost = lost_runs(instance, address)
        if lost:
            typer.echo(f"{counted(len(lost), 'run')} ended with the last code server: {' '.join(lost)}", err=True)
            end_when_served(open_instance, address, lost)
        os.execv(address.command[0], address.command)  # noqa: S606
