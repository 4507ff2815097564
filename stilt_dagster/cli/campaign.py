"""``stilt-dagster campaign``: scenes that belong together, what they cost, how far they are, running what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stilt_dagster.cli.console import (
    FAILED,
    WRONG_INPUT,
    AsJson,
    launching_instance,
    no_output,
    open_instance,
    open_store,
    output,
    to_stderr,
    user_errors,
)
from stilt_dagster.science.errors import CampaignError, UserError, counted

if TYPE_CHECKING:
    from stilt_dagster.operations.campaigns.progress import Progress

app = typer.Typer(no_args_is_help=True, help="Run scenes that belong together, and see how far they are.")

Name = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Name of a campaign.")]


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A campaign's YAML; its name is the campaign's.")],
    replace: Annotated[bool, typer.Option(help="Take the place of another campaign of that name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a campaign's YAML and keep it in the store."""
    with user_errors():
        from stilt_dagster.operations.campaigns.definition import add_campaign
        from stilt_dagster.operations.campaigns.membership import scenes_of
        from stilt_dagster.science.validation import read_text

        store = open_store()
        text = read_text(file, CampaignError)
        campaign, new = add_campaign(store, text, file.stem, str(file), replace=replace)
        count = len(scenes_of(campaign, store))
        if as_json:
            typer.echo(json.dumps({"campaign": campaign.name, "scenes": count, "new": new}))
        else:
            registered = counted(count, "registered scene")
            typer.echo(f"{campaign.name}: {'added' if new else 'already there'}, {registered}")


@app.command("list")
def list_campaigns(as_json: AsJson = False) -> None:
    """List campaigns, and how many registered scenes each has."""
    with user_errors():
        from stilt_dagster.operations.campaigns.definition import Campaign, load_campaigns
        from stilt_dagster.operations.campaigns.membership import scenes_of

        store = open_store()
        rows: list[dict[str, Any]] = []
        bad = False
        for campaign in load_campaigns(store):
            try:
                if not isinstance(campaign, Campaign):
                    raise campaign
                rows.append({"campaign": campaign.name, "scenes": len(scenes_of(campaign, store))})
            except UserError as error:
                typer.echo(f"error: {error}", err=True)
                bad = True
        if as_json:
            typer.echo(json.dumps(rows))
        else:
            for row in rows:
                typer.echo(f"{row['campaign']}\t{counted(row['scenes'], 'scene')}")
            if not (rows or bad):
                typer.echo("no campaigns yet: add one with `stilt-dagster campaign add FILE`", err=True)
    if bad:
        raise typer.Exit(WRONG_INPUT)


@app.command("status")
def status(name: Name, as_json: AsJson = False) -> None:
    """Show how far a campaign is: scenes and receptors, cost, expected end, and why scenes failed."""
    with user_errors():
        from stilt_dagster.operations.campaigns.definition import load_campaign
        from stilt_dagster.operations.campaigns.progress import campaign_progress
        from stilt_dagster.science.pystilt import WHEEL_BUILD

        store = open_store()
        campaign = load_campaign(store, name)
        found = campaign_progress(open_instance(), store, campaign, _engine_here() or WHEEL_BUILD)
        if as_json:
            typer.echo(json.dumps(found.to_dict()))
        else:
            _print_progress(found)


def _print_progress(found: Progress) -> None:
    console = output()
    counts, receptors, cost = found.counts, found.receptors, found.cost
    console.print(
        f"[bold]{found.campaign}[/]: {counted(len(found.scenes), 'scene')}: "
        + ", ".join(f"{counts[state]} {state}" for state in counts),
        soft_wrap=True,
    )
    console.print(f"receptors: {receptors['all']}: {receptors['done']} done, {receptors['failed']} failed")
    if cost["currency"]:
        console.print(f"cost: {cost['so_far'] or 0:.4g} of {cost['planned']:.4g} {cost['currency']} planned")
    hours, end = found.hours_left, found.expected_end
    if hours is None:
        console.print("expected end: known when two scenes have finished")
    elif end is not None:
        console.print(f"expected end: {end:%Y-%m-%d %H:%M} UTC, in {hours:.1f} h, if it goes on as before")
    failed = found.of_state("failed")
    for scene in failed[:20]:
        console.print(f"failed: {scene.scene}: {scene.reason}", soft_wrap=True, markup=False)
    if len(failed) > 20:
        console.print(f"... and {len(failed) - 20} more failed (--json lists all)")
    if failed:
        console.print(f"once their causes are fixed: stilt-dagster campaign run {found.campaign} --failed")


@app.command("plan")
def plan(name: Name, as_json: AsJson = False) -> None:
    """Show what all scenes of a campaign will take: CPU, time, bytes, money; an error if that exceeds its budget."""
    with user_errors():
        from rich.table import Table

        from stilt_dagster.operations.campaigns.definition import load_campaign
        from stilt_dagster.operations.campaigns.membership import scenes_of
        from stilt_dagster.operations.campaigns.plan import campaign_plan
        from stilt_dagster.operations.plan import concurrency_of
        from stilt_dagster.science.costs.budget import require_within

        store = open_store()
        campaign = load_campaign(store, name)
        scenes = scenes_of(campaign, store)
        found = campaign_plan(store, campaign, scenes, concurrency_of(launching_instance()))
        if as_json:
            data = found.to_dict()
            typer.echo(json.dumps({"campaign": data.pop("scene"), "scenes": len(scenes), **data}))
        else:
            figures = found.planned
            console = output()
            console.print(
                f"[bold]{campaign.name}[/]: {counted(len(scenes), 'scene')}, {counted(figures.receptors, 'receptor')}"
            )
            table = Table(box=None, pad_edge=False, show_header=False)
            rows = {
                "particle-hours": f"{figures.particle_hours:,}",
                "CPU": "" if figures.cpu_hours is None else f"{figures.cpu_hours:.3g} h",
                "wall time": "" if figures.wall_hours is None else f"{figures.wall_hours:.3g} h",
                "files": f"{figures.bytes.written / 1e9:.3g} GB",
                "cost": f"{figures.cost.amount:.4g} {figures.cost.currency}, prices of {figures.cost.prices_of}",
            }
            for what, text in rows.items():
                table.add_row(what, text)
            console.print(table)
        require_within(found, campaign.budget, f"campaign {campaign.name}")


@app.command("run")
def run(
    name: Name,
    failed: Annotated[bool, typer.Option("--failed", help="Only the scenes that failed, once more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the scenes, and run none.")] = False,
    launch: Annotated[
        bool, typer.Option("--launch", help="Leave the runs to the sensor `campaigns` of the Dagster instance.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Simulations at a time; by default one a core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run what of a campaign is not done, one scene after the other; one that fails does not stop the others."""
    with user_errors():
        from stilt_dagster.operations.campaigns.definition import load_campaign
        from stilt_dagster.operations.campaigns.events import launch_campaign
        from stilt_dagster.operations.campaigns.plan import require_campaign_within
        from stilt_dagster.operations.campaigns.progress import campaign_progress
        from stilt_dagster.operations.campaigns.run import due_scenes, run_campaign
        from stilt_dagster.operations.plan import concurrency_of
        from stilt_dagster.science.pystilt import WHEEL_BUILD

        store, instance, engine = open_store(), open_instance(), _engine_here()
        campaign = load_campaign(store, name)
        progress = campaign_progress(instance, store, campaign, engine or WHEEL_BUILD)
        require_campaign_within(
            store, campaign, [scene.scene for scene in progress.scenes], concurrency_of(instance, workers)
        )
        due = due_scenes(progress, failed=failed)
        if dry_run or launch:
            if launch and due and not dry_run:
                launch_campaign(instance, campaign, due, failed=failed)
            if as_json:
                typer.echo(json.dumps({"campaign": name, "due": due, "launched": launch and not dry_run}))
            else:
                for scene in due:
                    typer.echo(scene)
                to_stderr(counted(len(due), "scene") + (" launched" if launch and not dry_run else " would run"))
            return
        result = run_campaign(
            instance, store, campaign, due, engine, lambda: _definitions(workers), no_output if as_json else to_stderr
        )
        if as_json:
            failures = [{"scene": scene, "reason": reason} for scene, reason in result.failed.items()]
            typer.echo(json.dumps({"campaign": name, "done": result.done, "failures": failures}))
        else:
            typer.echo(f"{name}: {counted(len(result.done), 'scene')} done, {len(result.failed)} failed")
    if result.failed:
        raise typer.Exit(FAILED)


@app.command("delete")
def delete(name: Name, as_json: AsJson = False) -> None:
    """Remove a campaign from the store; its scenes, and what was made of them, stay."""
    with user_errors():
        from stilt_dagster.operations.campaigns.definition import delete_campaign

        delete_campaign(open_store(), name)
        typer.echo(json.dumps({"campaign": name}) if as_json else f"{name}: deleted; its scenes stay")


def _engine_here() -> str | None:
    from stilt_dagster.science.pystilt import engine_here
    from stilt_dagster.settings import engine_directory

    return engine_here(engine_directory())


def _definitions(workers: int) -> Any:
    from stilt_dagster.definitions import build_defs, defs, transport_engine

    return build_defs({"transport_engine": transport_engine(workers)}) if workers else defs
