"""``stilt-dagster scene work``: the science of a scene, recording nothing in Dagster."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Annotated

import typer

from stilt_dagster.cli.console import FAILED, AsJson, SceneId, open_scene, open_store, to_stderr, user_errors
from stilt_dagster.cli.scenes.scene import Shards, Workers, parse_assets, parse_shards
from stilt_dagster.science.errors import counted


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to a group."""
    app.command("work")(work)


def work(
    scene: SceneId,
    shards: Shards = "00-15",
    workers: Workers = 0,
    assets: Annotated[
        str, typer.Option(help="What to make: also background, jacobian and report, once all shards are done.")
    ] = "trajectories,footprints",
    as_json: AsJson = False,
) -> None:
    """Simulate and grid some shards, recording nothing in Dagster: for array jobs. Exit code 0: all receptors done."""
    counts: Counter[str] = Counter()
    with user_errors():
        from stilt_dagster.operations.work import assemble_scene, work_shards
        from stilt_dagster.resources.configurable import available_cores
        from stilt_dagster.resources.meteorology_archive import FileArchive
        from stilt_dagster.resources.stored_scene import OF_SCENES, OF_SHARDS
        from stilt_dagster.science.transport.hysplit import Hysplit
        from stilt_dagster.settings import engine_directory, meteorology_root

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
        quarters: dict[str, int] = {}

        def report(step: str, done: int, total: int) -> None:
            if total and (quarter := 4 * done // total) > quarters.get(step, 0):
                quarters[step] = quarter
                to_stderr(f"{step}: {done} of {counted(total, 'receptor')}")

        chosen, names = parse_assets(assets, (*OF_SHARDS, *OF_SCENES)), parse_shards(shards)
        opened = open_scene(open_store(), scene)
        result: dict[str, object] = {"scene": scene}
        if of_shards := [name for name in OF_SHARDS if name in chosen]:
            made = work_shards(
                opened,
                names,
                lambda runs: Hysplit(engine_directory(), runs),
                workers or available_cores(),
                of_shards,
                (lambda *_: None) if as_json else report,
            )
            counts = made.outcomes
            result |= {"shards": list(names), **{status: counts[status] for status in ("ok", "empty", "failed")}}
            if not as_json:
                told = ", ".join(f"{counts[status]} {status}" for status in ("ok", "empty", "failed"))
                typer.echo(f"{scene} {shards}: {told}")
        if of_scene := [name for name in OF_SCENES if name in chosen]:
            result["made"] = assemble_scene(opened, FileArchive(meteorology_root()), of_scene)
            if not as_json:
                typer.echo(f"{scene}: made {', '.join(result['made']) or 'nothing: all is there'}")
        if as_json:
            typer.echo(json.dumps(result))
    if counts["failed"]:
        raise typer.Exit(FAILED)
