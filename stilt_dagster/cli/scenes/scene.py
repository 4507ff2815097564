"""``stilt-dagster scene``: register scenes, see how far they are, run and delete them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stilt_dagster.cli.console import (
    FAILED,
    AsJson,
    SceneId,
    SceneIds,
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
from stilt_dagster.cli.scenes.plan import status_with_plan
from stilt_dagster.science.errors import UserError, counted

if TYPE_CHECKING:
    from stilt_dagster.operations.run import Selection
    from stilt_dagster.resources.store import Store

app = typer.Typer(no_args_is_help=True, help="Register scenes, run them, and see how far they are.")

Shards = Annotated[
    str, typer.Option(metavar="00-15", help="Shards of trajectories and footprints: one, a range, or several of these.")
]
Workers = Annotated[int, typer.Option(min=0, help="Simulations at a time; by default one a core.")]


@app.command("add")
def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scene YAMLs, or stiltctl domain files.")],
    replace: Annotated[bool, typer.Option(help="Take the place of another spec with the same id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register scenes: check their specs, write them to the store, add their partitions."""
    with user_errors():
        from stilt_dagster.operations.ingest.granules import retrieve
        from stilt_dagster.operations.registration.inputs import require_inputs
        from stilt_dagster.operations.registration.register import register_scene
        from stilt_dagster.science.scenes.loading import load_scene

        scenes = [load_scene(path, retrieve) for path in files]  # all are checked before any is written
        ids = [s.id for s in scenes]
        if doubled := {i for i in ids if ids.count(i) > 1}:
            raise UserError(f"scene {doubled.pop()} is given by two of the files: give one another id or name")
        store, instance = open_store(), open_instance()
        for scene in scenes:
            require_inputs(instance, store, scene)
        added = []
        for scene in scenes:
            new = register_scene(instance, store, scene, replace=replace)
            added.append({"scene": scene.id, "receptors": len(scene.receptor_list), "new": new})
            if not as_json:
                state = "registered" if new else "already registered"
                typer.echo(f"{scene.id}: {state}, {counted(len(scene.receptor_list), 'receptor')}")
        if as_json:
            typer.echo(json.dumps(added))


@app.command("list")
def list_scenes(as_json: AsJson = False) -> None:
    """List registered scenes; those whose partition was deleted in the UI are marked as unregistered."""
    from stilt_dagster.operations.registration.registered import registered_scenes

    with user_errors():
        names = open_store().scenes()
        if as_json:
            typer.echo(json.dumps(names))
            return
        if not names:
            typer.echo("no scenes yet: register one with `stilt-dagster scene add FILE`", err=True)
            return
        registered = registered_scenes(dagster_home(), open_instance)
        for name in names:
            typer.echo(name if name in registered else f"{name}\tunregistered: add it again, or delete it")


@app.command("show")
def show(scene: SceneId) -> None:
    """Print a scene's spec, complete, as JSON."""
    with user_errors():
        typer.echo(open_store().spec_text(scene))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a scene's YAML, which editors complete and check it by."""
    from stilt_dagster.operations.registration.schema import scene_schema

    typer.echo(json.dumps(scene_schema(), indent=1))


@app.command("status")
def status(
    scenes: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENE...]", help="Ids or patterns; all scenes by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a scene is: outcomes of its receptors, and the state of its assets; of several, a line each."""
    from stilt_dagster.operations.status import scene_status

    with user_errors():
        store = open_store()
        if scenes is not None and len(scenes) == 1 and (names := matching(store, scenes)) == scenes:
            opened = open_scene(store, names[0])
            found = scene_status(opened)
            if as_json:
                typer.echo(json.dumps(status_with_plan(found, opened)))
            else:
                print_status(found)
            return
        _status_of_all(store, store.scenes() if scenes is None else matching(store, scenes), as_json)


def _status_of_all(store: Store, names: list[str], as_json: bool) -> None:
    """Print a table of scenes."""
    from rich.table import Table

    from stilt_dagster.operations.registration.registered import registered_scenes
    from stilt_dagster.operations.status import scene_status

    registered = registered_scenes(dagster_home(), open_instance) if names else set()
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            found = scene_status(open_scene(store, name))
        except UserError as error:
            rows.append({"scene": name, "state": "damaged", "error": str(error)})
            continue
        state = next((f"{asset} {a['state']}" for asset, a in found.assets.items() if a["state"] != "ready"), "done")
        rows.append({**found.to_dict(), "state": state if name in registered else "unregistered"})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("no scenes yet: register one with `stilt-dagster scene add FILE`", err=True)
        return
    table = Table(box=None, pad_edge=False)
    counts = ("receptors", "ok", "empty", "failed", "pending")
    table.add_column("scene", overflow="fold")
    for column in counts:
        table.add_column(column, justify="right")
    table.add_column("state", overflow="fold")
    for row in rows:
        table.add_row(row["scene"], *(str(row.get(name, "")) for name in counts), row["state"])
    output().print(table)


@app.command("run")
def run(
    scenes: SceneIds,
    rerun: Annotated[str, typer.Option(help="missing: only what is not done; all: everything again.")] = "missing",
    assets: Annotated[str, typer.Option(help="Assets to materialize, with commas between them; all by default.")] = "",
    shards: Shards = "00-15",
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Materialize scenes' assets, in this process; what is done is not done again."""
    with user_errors():
        from stilt_dagster.operations.run import run_scene

        selection = _selection(rerun, assets, shards)
        store, instance = open_store(), open_instance()
        opened = [open_scene(store, name) for name in matching(store, scenes)]  # all are found before any is run
        made, failed = [], False
        for scene in opened:
            try:
                result = run_scene(
                    instance, scene, lambda: _definitions(workers), selection, no_output if as_json else to_stderr
                )
            except UserError as error:
                if len(opened) == 1:
                    raise
                typer.echo(f"error: {scene.id}: {error}", err=True)
                made.append({"scene": scene.id, "error": str(error)})
                failed = True
                continue
            failed |= result.outcomes["failed"] > 0
            made.append(result.to_dict())
            if not as_json:
                print_status(result)
        if as_json:
            typer.echo(json.dumps(made[0] if len(opened) == 1 else made))
    if failed:
        raise typer.Exit(FAILED)


def _definitions(workers: int) -> Any:
    from stilt_dagster.definitions import build_defs, defs, transport_engine

    return build_defs({"transport_engine": transport_engine(workers)}) if workers else defs


def _selection(rerun: str, assets: str, shards: str) -> Selection:
    from stilt_dagster.operations.run import Selection
    from stilt_dagster.partitions import ASSETS

    if rerun not in ("missing", "all"):
        raise UserError(f"--rerun must be missing or all (got {rerun!r})")
    chosen = parse_assets(assets, tuple(ASSETS)) or tuple(ASSETS)
    wanted = parse_shards(shards)
    if int(wanted[-1]) - int(wanted[0]) >= len(wanted):
        raise UserError(f"--shards must be one range: a run covers no other (got {shards!r})")
    return Selection(chosen, wanted, rerun == "all")


def parse_assets(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the assets a text names, with commas between them.

    Raises
    ------
    UserError
        If one is not known.
    """
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(f"--assets: unknown asset {unknown[0]!r}; known are {', '.join(known)}")
    return chosen


def parse_shards(text: str) -> tuple[str, ...]:
    """Return the shards a text names: ``03``, ``00-03``, or several of these with commas between them.

    Raises
    ------
    UserError
        If it names none.
    """
    from stilt_dagster.science.scenes.receptors import SHARDS

    named: set[str] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        if first not in SHARDS or last not in SHARDS or first > last:
            raise UserError(
                f"--shards must be one of {SHARDS[0]} to {SHARDS[-1]}, a range such as 00-03, or several of these with "
                f"commas between them (got {text!r:.80})"
            )
        named.update(SHARDS[SHARDS.index(first) : SHARDS.index(last) + 1])
    return tuple(shard for shard in SHARDS if shard in named)


@app.command("delete")
def delete(
    scenes: SceneIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_files: Annotated[bool, typer.Option(help="Leave the files of its products in the store.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete scenes: partition, spec and files. Refused while a run of one is in progress."""
    with user_errors():
        from stilt_dagster.operations.registration.delete import delete_scene, require_no_run

        store = open_store()
        names = matching(store, scenes)
        instance = open_instance()
        for name in names:
            if not (store.has_scene(name) or instance.has_dynamic_partition("scenes", name)):
                raise UserError(f"scene {name} is not registered: there is nothing to delete")
            require_no_run(instance, name)
        what = names[0] if len(names) == 1 else counted(len(names), "scene")
        if not yes and not typer.confirm(f"Delete {what}{', keeping files' if keep_files else ' and all files'}?"):
            raise typer.Exit(FAILED)
        deleted = [delete_scene(instance, store, name, keep_files=keep_files) for name in names]
        if as_json:
            typer.echo(json.dumps([{"scene": d.scene, "files": d.files} for d in deleted]))
        else:
            for d in deleted:
                typer.echo(f"{d.scene}: deleted" + ("" if keep_files else f", {counted(d.files, 'file')}"))
