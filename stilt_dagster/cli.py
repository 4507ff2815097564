"""``stilt-dagster``: what people do with scenes from a terminal. Everything here the UI can do too.

Exit codes: 0 done; 1 a run failed; 2 the input, the settings or the machine need mending.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stilt_dagster.science.errors import UserError

if TYPE_CHECKING:
    import dagster as dg

    from stilt_dagster.resources.store import Store
    from stilt_dagster.status import Status

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run STILT for whole satellite scenes.",
)
scene_app = typer.Typer(no_args_is_help=True, help="Register scenes, run them, and see how far they are.")
jacobian_app = typer.Typer(no_args_is_help=True, help="Work on finished jacobians.")
retrievals_app = typer.Typer(no_args_is_help=True, help="Make scenes of satellite retrievals.")
app.add_typer(scene_app, name="scene")
app.add_typer(retrievals_app, name="retrievals")
app.add_typer(jacobian_app, name="jacobian")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SceneId = Annotated[str, typer.Argument(metavar="SCENE", help="Id of a registered scene.")]


@contextmanager
def _errors() -> Iterator[None]:
    """Print what a user must know as one line, and exit with 2."""
    try:
        yield
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: what is finished is kept; run it again to go on", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("sqlalchemy", "dagster_postgres", "psycopg2"):
            raise
        home = os.environ.get("DAGSTER_HOME")
        first = error
        while cause := first.__cause__ or first.__context__:
            first = cause
        what = " ".join(str(first).split("\n")[0].split())
        typer.echo(f"error: the Dagster instance in DAGSTER_HOME {home} cannot be used: {what}", err=True)
        raise typer.Exit(2) from None


def _store() -> Store:
    from stilt_dagster.resources.store import Store
    from stilt_dagster.settings import store_url

    return Store(store_url())


def _instance() -> dg.DagsterInstance:
    """Return the Dagster instance of ``DAGSTER_HOME``, by default ``.dagster`` in this directory."""
    import dagster as dg

    home = Path(os.environ.get("DAGSTER_HOME") or ".dagster").resolve()
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


@scene_app.command("add")
def scene_add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scene YAMLs, or stiltctl domain files.")],
    replace: Annotated[bool, typer.Option(help="Take the place of another spec with the same id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register scenes: check their specs, write them to the store, add their partitions."""
    from stilt_dagster.intake import retrieve
    from stilt_dagster.partitions import register_scene
    from stilt_dagster.science.scene import load_scene

    with _errors():
        scenes = [load_scene(path, retrieve) for path in files]  # all are checked before any is written
        ids = [s.id for s in scenes]
        if doubled := {i for i in ids if ids.count(i) > 1}:
            raise UserError(f"scene {doubled.pop()} is given by two of the files: give one another id or name")
        store, instance = _store(), _instance()
        added = []
        for scene in scenes:
            new = register_scene(instance, store, scene, replace=replace)
            added.append({"scene": scene.id, "receptors": len(scene.receptor_list), "new": new})
            if not as_json:
                state = "registered" if new else "already registered"
                typer.echo(
                    f"{scene.id}: {state}, {len(scene.receptor_list)} receptors, about {_hours(scene.predicted_cpu)}"
                )
        if as_json:
            typer.echo(json.dumps(added))


def _hours(seconds: float) -> str:
    return f"{seconds:.0f} s of CPU" if seconds < 600 else f"{seconds / 3600:.1f} h of CPU"


@scene_app.command("list")
def scene_list(as_json: AsJson = False) -> None:
    """List registered scenes."""
    with _errors():
        names = _store().scenes()
        if as_json:
            typer.echo(json.dumps(names))
        elif names:
            typer.echo("\n".join(names))
        else:
            typer.echo("no scenes yet: register one with `stilt-dagster scene add FILE`", err=True)


@scene_app.command("show")
def scene_show(scene: SceneId) -> None:
    """Print a scene's spec, complete, as JSON."""
    with _errors():
        typer.echo(_store().scene(scene).to_json())


@scene_app.command("status")
def scene_status(scene: SceneId, as_json: AsJson = False) -> None:
    """Show how far a scene is: outcomes of its receptors, and the state of its assets."""
    from stilt_dagster.runs import engine_version
    from stilt_dagster.status import scene_status as status_of

    with _errors():
        status = status_of(_store(), scene, engine_version())
        if as_json:
            typer.echo(json.dumps(status.to_dict()))
        else:
            _show(status)


def _show(status: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    counts = status.to_dict()
    console.print(
        f"[bold]{status.scene}[/]: {status.receptors} receptors: {counts['ok']} ok, {counts['empty']} empty, "
        f"{counts['failed']} failed, {counts['pending']} pending"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("asset", "state", "parts"):
        table.add_column(column)
    for name, asset in status.assets.items():
        table.add_row(name, asset["state"], f"{asset['parts']} of {asset['of']}" if "of" in asset else "")
    console.print(table)
    for outcome in status.failures[:10]:
        console.print(f"failed: {outcome.receptor} {outcome.reason}: {outcome.message}", soft_wrap=True, markup=False)
    if len(status.failures) > 10:
        console.print(f"... and {len(status.failures) - 10} more failed (--json lists all)")


@scene_app.command("run")
def scene_run(
    scene: SceneId,
    rerun: Annotated[str, typer.Option(help="missing: only what is not done; all: everything again.")] = "missing",
    as_json: AsJson = False,
) -> None:
    """Materialize a scene's five assets, in this process; what is done is not done again."""
    from stilt_dagster.runs import run_scene

    with _errors():
        if rerun not in ("missing", "all"):
            raise UserError(f"--rerun must be missing or all (got {rerun!r})")
        say = _quiet if as_json else _say
        status = run_scene(_instance(), _store(), scene, everything=rerun == "all", say=say)
        if as_json:
            typer.echo(json.dumps(status.to_dict()))
        else:
            _show(status)


@jacobian_app.command("concat")
def jacobian_concat(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE...", help="Scenes whose jacobians are finished.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write the jacobians of several scenes as one."""
    from stilt_dagster.products import concatenate_scenes

    with _errors():
        rows, columns = concatenate_scenes(_store(), scenes, output)
        if as_json:
            typer.echo(json.dumps({"output": str(output), "shape": [rows, columns]}))
        else:
            typer.echo(f"{output}: {rows} observations of {len(scenes)} scenes, {columns} columns")


SourceNames = Annotated[list[str] | None, typer.Argument(metavar="[SOURCE...]", help="Sources; all by default.")]


@retrievals_app.command("scan")
def retrievals_scan(sources: SourceNames = None, as_json: AsJson = False) -> None:
    """Register scenes of granules that are new or have changed, as a source's sensor does."""
    with _errors():
        _scan(sources or None, None, as_json)


@retrievals_app.command("campaign")
def retrievals_campaign(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Sources.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day of measurements, UTC.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, too.")],
    as_json: AsJson = False,
) -> None:
    """Register scenes of all granules of some days; finished scenes are left alone."""
    with _errors():
        if last < first:
            raise UserError(f"--to {last:%Y-%m-%d} lies before --from {first:%Y-%m-%d}: exchange them")
        _scan(sources, (first.date(), last.date()), as_json)


def _scan(names: list[str] | None, days: tuple[date, date] | None, as_json: bool) -> None:
    from stilt_dagster.intake import Source, load_sources, scan

    store, instance = _store(), _instance()
    found, told, bad = {}, 0, False
    for source in load_sources(store, names):
        told += 1
        if not isinstance(source, Source):
            if names:
                raise source
            typer.echo(f"error: {source}", err=True)
            bad = True
            continue
        result = found[source.name] = scan(instance, store, source, days=days)
        if not as_json:
            for line in result.lines():
                typer.echo(line)
            typer.echo(f"{source.name}: {result.summary()}")
    if not told:
        raise UserError(f"there are no sources: write one as {store.root}/sources/NAME.yaml, see docs/retrievals.md")
    if as_json:
        typer.echo(json.dumps({name: asdict(result) for name, result in found.items()}))
    if bad:
        raise typer.Exit(2)
    if any(result.failed for result in found.values()):
        raise typer.Exit(1)


@app.command()
def export(
    scene: SceneId,
    directory: Annotated[Path, typer.Argument(help="Where to write.")],
) -> None:
    """Write a scene's particles and footprints as R STILT lays out its own, a file a receptor."""
    from stilt_dagster.products import export_rstilt
    from stilt_dagster.runs import engine_version

    with _errors():
        count = export_rstilt(_store(), scene, engine_version(), directory)
        typer.echo(f"{directory}: {count} receptors")


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Make meteorology offline, and run a scene on real HYSPLIT with it."""
    from stilt_dagster.demo import demo_scene
    from stilt_dagster.partitions import register_scene
    from stilt_dagster.runs import run_scene

    start = time.monotonic()
    with _errors():
        store, instance = _store(), _instance()
        if not store.is_local:
            raise UserError(
                f"the demo keeps its meteorology in the store, which must be a directory (got {store.root})"
            )
        scene = demo_scene(Path(store.root.path) / "demo_meteorology")
        register_scene(instance, store, scene, replace=True)
        status = run_scene(instance, store, scene.id, say=_quiet if as_json else _say)
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cost = {
            "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used), 1),
            "hycs_std_cpu_seconds": round(used[1].ru_utime + used[1].ru_stime, 1),
            "seconds": round(time.monotonic() - start, 1),
        }
        if as_json:
            typer.echo(json.dumps({**status.to_dict(), **cost, "store": str(store.root)}))
            return
        _show(status)
        page = "http://127.0.0.1:3000/assets/{}?view=partitions&partition={}"
        typer.echo(
            f"\n{cost['seconds']} s, {cost['cpu_seconds']} s of CPU, "
            f"{cost['hycs_std_cpu_seconds']} s of it in hycs_std\n"
            f"files:     {store.root}\n"
            f"jacobian:  {store.root}/jacobian/{scene.id}.nc\n"
            "pictures:  run `make dev`, then open\n"
            f"           {page.format('trajectories', scene.id + '%7C15')}\n"
            f"           {page.format('footprints', scene.id + '%7C15')}\n"
            f"           {page.format('jacobian', scene.id)}"
        )


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _quiet(line: str) -> None:
    """Say nothing: what is printed is for a machine."""


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", module="dagster")
    warnings.filterwarnings("ignore", category=Warning, message=".*currently in beta.*")
    app()


if __name__ == "__main__":
    main()
