"""Commands of no group: ``demo``, ``doctor``, ``migrate``."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stilt_dagster.cli.console import (
    FAILED,
    WRONG_INPUT,
    AsJson,
    dagster_home,
    matching,
    no_output,
    open_instance,
    open_scene,
    open_store,
    output,
    print_status,
    to_stderr,
    user_errors,
)
from stilt_dagster.science.errors import UserError, counted

if TYPE_CHECKING:
    import dagster as dg

    from stilt_dagster.operations.migrate.scenes import Move


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command in (demo, doctor, migrate):
        app.command()(command)


def doctor(as_json: AsJson = False) -> None:
    """Check this machine and what it is set up with: ok, or the problem and how to fix it, a line each."""
    from stilt_dagster.operations.doctor import examine
    from stilt_dagster.settings import cluster, engine_directory, meteorology_root, store_url

    with user_errors():
        findings = list(examine(store_url, meteorology_root, cluster, dagster_home(), engine_directory))
        if as_json:
            typer.echo(json.dumps([asdict(f) for f in findings]))
        else:
            console = output()
            for f in findings:
                state = "[green]ok[/]     " if f.ok else "[red]problem[/]"
                fix = "" if f.ok else f"; fix: {f.fix}"
                console.print(f"{state}  {f.name:<12} ", end="")
                console.print(f"{f.detail}{fix}", markup=False, soft_wrap=True)
        if not all(f.ok for f in findings):
            raise typer.Exit(WRONG_INPUT)


def demo(
    granule: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY", help="Write meteorology, a granule and its scene there instead; run nothing."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make meteorology offline, and run a scene on real HYSPLIT with it."""
    start = time.monotonic()
    with user_errors():
        if granule is not None:
            from stilt_dagster.demo import write_granule_example

            scene_file = write_granule_example(granule)
            typer.echo(json.dumps({"scene_file": str(scene_file)}) if as_json else str(scene_file))
            return
        from stilt_dagster.science.pystilt import find_hycs_std
        from stilt_dagster.settings import cluster, engine_directory

        if not cluster():
            find_hycs_std(engine_directory())  # what is missing is said before anything is loaded or made
        from stilt_dagster.definitions import defs
        from stilt_dagster.demo import demo_scene
        from stilt_dagster.operations.registration.register import register_scene
        from stilt_dagster.operations.run import run_scene

        store, instance = open_store(), open_instance()
        if not store.is_local:
            raise UserError(
                f"the demo keeps its meteorology in the store, which must be a directory (got {store.root})"
            )
        scene = demo_scene(Path(store.root) / "demo_meteorology")
        register_scene(instance, store, scene, replace=True)
        status = run_scene(
            instance, open_scene(store, scene.id), lambda: defs, report=no_output if as_json else to_stderr
        )
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cost = {
            "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used), 1),
            "hycs_std_cpu_seconds": round(used[1].ru_utime + used[1].ru_stime, 1),
            "seconds": round(time.monotonic() - start, 1),
        }
        if as_json:
            typer.echo(json.dumps({**status.to_dict(), **cost, "store": str(store.root)}))
            return
        print_status(status)
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


def migrate(
    scenes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCENE]...", help="Scenes to move, by default all; * and ? stand for any characters."),
    ] = None,
    only_instance: Annotated[
        bool, typer.Option("--instance", help="The Dagster instance alone, before webserver and daemon are started.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the Dagster instance and the store of an earlier version to this one; lists what that is, and asks."""
    from stilt_dagster.operations.migrate.instance import outdated_schemas, upgrade_schemas

    with user_errors():
        if only_instance and scenes:
            raise UserError("--instance is about no scene: leave out either")
        instance = open_instance()
        say = no_output if as_json else typer.echo
        schemas = outdated_schemas(instance)
        for schema in schemas:
            say(f"instance: schema of {schema.storage}, {schema.current or 'none'} -> {schema.wanted}")
        moves = [] if only_instance else _moves(instance, scenes or [])
        for move in moves:
            say(f"{move.scene}: {move.what}, {move.detail}")
        done = bool(schemas or moves) and (yes or (not as_json and _is_agreed_to()))
        grown, failed = 0, []
        if done:
            upgrade_schemas(instance)
            for move in moves:
                try:
                    what, bytes_more = move.apply()
                    grown += bytes_more
                    say(f"{move.scene}: {move.what}, {what}")
                except UserError as error:
                    failed.append(move)
                    typer.echo(f"error: {move.scene} is left as it is: {error}", err=True)
        if as_json:
            found = {
                "instance": [asdict(schema) for schema in schemas],
                "scenes": [{"scene": m.scene, "what": m.what, "done": done and m not in failed} for m in moves],
                "done": done,
                "bytes": grown,
            }
            typer.echo(json.dumps(found))
        elif not (schemas or moves):
            typer.echo("nothing to do")
        elif done:
            n = len({m.scene for m in moves if m not in failed})
            typer.echo(f"done: {counted(n, 'scene')} moved, {grown / 1e6:+.1f} MB")
        else:
            typer.echo("nothing was changed: `stilt-dagster migrate --yes` does it")
        if failed:
            raise typer.Exit(FAILED)


def _moves(instance: dg.DagsterInstance, patterns: list[str]) -> list[Move]:
    """Return what of the store is to be moved."""
    from stilt_dagster.operations.migrate.scenes import find_moves

    store = open_store()
    names = matching(store, patterns) if patterns else store.scenes()
    for name in names if patterns else ():
        store.spec_text(name)  # which says that there is no such scene
    return list(find_moves(instance, store, names, partial(open_scene, store)))


def _is_agreed_to() -> bool:
    """Ask whether to go on; without a person there, no."""
    return sys.stdin.isatty() and typer.confirm("Do that?")
