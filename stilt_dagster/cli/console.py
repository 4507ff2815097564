"""What commands share: the store and the instance, errors as one line and an exit code, and output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stilt_dagster.science.errors import RunFailedError, UserError, counted

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from stilt_dagster.operations.status import Status
    from stilt_dagster.resources.store import Store
    from stilt_dagster.resources.stored_scene import StoredScene

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SceneId = Annotated[str, typer.Argument(metavar="SCENE", help="Id of a registered scene.")]
SceneIds = Annotated[
    list[str], typer.Argument(metavar="SCENE...", help="Ids of registered scenes; * and ? stand for any characters.")
]

FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130


@contextmanager
def user_errors() -> Iterator[None]:
    """Print what a user must know as one line, and exit with its code."""
    try:
        yield
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED if isinstance(error, RunFailedError) else WRONG_INPUT) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: what is finished is kept; run it again to go on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("sqlalchemy", "dagster_postgres", "psycopg2"):
            raise
        first: BaseException = error
        while cause := first.__cause__ or first.__context__:
            first = cause
        what = " ".join(str(first).split("\n")[0].split())
        typer.echo(f"error: the Dagster instance in DAGSTER_HOME {dagster_home()} cannot be used: {what}", err=True)
        raise typer.Exit(WRONG_INPUT) from None


def open_store() -> Store:
    """Return the store of ``STILT_STORE``."""
    from stilt_dagster.resources.store import Store
    from stilt_dagster.settings import store_url

    return Store(store_url())


def open_scene(store: Store, scene: str) -> StoredScene:
    """Return a registered scene, as this machine's transport engine simulates it, or another did that has one."""
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.pystilt import engine_here
    from stilt_dagster.settings import engine_directory

    return StoredScene.load(store, scene, engine_here(engine_directory()))


def matching(store: Store, patterns: list[str]) -> list[str]:
    """Return the scenes that ids and patterns name, in their order.

    Raises
    ------
    UserError
        Naming a pattern no scene matches.
    """
    from fnmatch import fnmatchcase

    known: list[str] | None = None
    found: dict[str, None] = {}
    for pattern in patterns:
        if not any(c in pattern for c in "*?["):
            found[pattern] = None
            continue
        known = store.scenes() if known is None else known
        some = [name for name in known if fnmatchcase(name, pattern)]
        if not some:
            raise UserError(f"no scene matches {pattern!r}: `stilt-dagster scene list` shows those there are")
        found.update(dict.fromkeys(some))
    return list(found)


def dagster_home() -> Path:
    """Return ``DAGSTER_HOME``, by default ``.dagster`` in this directory."""
    return Path(os.environ.get("DAGSTER_HOME") or ".dagster").resolve()


def open_instance() -> dg.DagsterInstance:
    """Return the Dagster instance of ``DAGSTER_HOME``."""
    import dagster as dg

    home = dagster_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "dagster.yaml"
        if not settings.exists():
            settings.write_text("telemetry:\n  enabled: false\n")
        os.environ["DAGSTER_HOME"] = str(home)
        return dg.DagsterInstance.get()
    except OSError as error:
        raise UserError(
            f"DAGSTER_HOME {home} cannot be used: {error.strerror}; set it to a directory you can write"
        ) from error
    except dg.DagsterError as error:
        raise UserError(f"DAGSTER_HOME {home}: dagster.yaml is not valid: {error}") from error


def launching_instance() -> dg.DagsterInstance | None:
    """Return the Dagster instance if its ``dagster.yaml`` launches runs elsewhere than on this machine, else None."""
    try:
        launches = "run_launcher" in (dagster_home() / "dagster.yaml").read_text()
    except OSError:
        return None
    return open_instance() if launches else None


def output() -> Console:
    """Return the console tables are printed on: as wide as the terminal, or as ``COLUMNS`` says."""
    from rich.console import Console

    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if wide else 120, highlight=False)


def print_status(status: Status) -> None:
    """Print how far a scene is."""
    from rich.table import Table

    console = output()
    counts = status.to_dict()
    console.print(
        f"[bold]{status.scene}[/]: {counted(status.receptors, 'receptor')}: {counts['ok']} ok, "
        f"{counts['empty']} empty, {counts['failed']} failed, {counts['pending']} pending",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    for column in ("asset", "state", "parts"):
        table.add_column(column, overflow="fold")
    for name, asset in status.assets.items():
        table.add_row(name, asset["state"], f"{asset['parts']} of {asset['of']}" if "of" in asset else "")
    console.print(table)
    for outcome in status.failures[:10]:
        console.print(f"failed: {outcome.receptor} {outcome.reason}: {outcome.message}", soft_wrap=True, markup=False)
    if len(status.failures) > 10:
        console.print(f"... and {len(status.failures) - 10} more failed (--json lists all)")
    if (found := status.agreement) is not None:
        console.print(
            f"native engine held against hycs_std: {found.verdict}, {counted(found.compared, 'receptor')} compared"
            + "".join(f", {name.replace('_', ' ')} {value:.3g}" for name, value in found.summary.items()),
            soft_wrap=True,
        )
        if found.not_compared:
            console.print(f"not compared: {found.not_compared}: {found.reason}", soft_wrap=True, markup=False)
    for warning in status.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, markup=False)


def to_stderr(line: str) -> None:
    """Print a line on what is being done."""
    typer.echo(line, err=True)


def no_output(line: str) -> None:
    """Print nothing: what is printed is for a machine."""
