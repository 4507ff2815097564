"""``stilt-dagster slurm``: a scene as an array job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stilt_dagster.cli.console import AsJson, SceneId, open_scene, open_store, user_errors
from stilt_dagster.cli.scenes.scene import Shards, parse_shards
from stilt_dagster.science.errors import StoreError, counted


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("slurm")(slurm)


def slurm(
    scene: SceneId,
    shards: Shards = "00-15",
    tasks: Annotated[int, typer.Option(min=0, help="Tasks of the array; as many as the plan needs by default.")] = 0,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the jobs instead of writing scripts.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where scripts and logs go.", file_okay=False)
    ] = Path(),
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the site sets; by default what STILT_SLURM names.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the scripts of an array job that does a scene on a Slurm cluster, or submit it."""
    with user_errors():
        from stilt_dagster.operations.array_jobs import plan_jobs
        from stilt_dagster.settings import meteorology_root, slurm_site
        from stilt_dagster.slurm.site import Site, read_site

        place = config or slurm_site()
        site = Site() if place is None else read_site(place)
        directory = output.resolve()
        opened = open_scene(open_store(), scene)
        jobs = plan_jobs(opened, site, directory, parse_shards(shards), tasks, meteorology_root())
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"--output {directory} cannot be made: {error.strerror}") from None
        request = jobs.array.request
        size = {
            "tasks": len(jobs.array.tasks),
            "cpus": request.cpus,
            "bytes": request.memory,
            "seconds": request.seconds,
        }
        submitted = jobs.submit() if submit else []
        written = [] if submit else jobs.write(directory)
        if as_json:
            typer.echo(
                json.dumps({"scene": scene, **size, "jobs": submitted, "scripts": [str(path) for path in written]})
            )
            return
        asked = f"{request.cpus} CPU, {request.memory / 1e9:.1f} GB, {request.time}"
        of_what = f"{counted(len(jobs.array.tasks), 'task')} of {asked}"
        if submit:
            typer.echo(f"job {submitted[0]}: {of_what}; logs in {directory}")
            for job in submitted[1:]:
                typer.echo(f"job {job}: jacobian and report, when it has ended")
            typer.echo(f"then: stilt-dagster scene run {scene}")
            return
        typer.echo(f"{written[0]}: {of_what}")
        for path in written[1:]:
            typer.echo(f"{path}: jacobian and report, when it has ended")
        typer.echo("\nsubmit with --submit, or:")
        typer.echo(f"  job=$(sbatch --parsable {written[0]})")
        for path in written[1:]:
            typer.echo(f"  sbatch --dependency=afterany:$job {path}")
