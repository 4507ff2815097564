"""``stilt-dagster export``: what a scene came to, as files of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stilt_dagster.cli.console import AsJson, SceneId, open_scene, open_store, user_errors
from stilt_dagster.science.errors import UserError, counted

#: Ids of receptors; none for all.
Receptors = Annotated[
    list[str] | None,
    typer.Option("--receptor", "-r", metavar="RECEPTOR", help="Id of a receptor; again for another. All by default."),
]

#: Where to write, in either of two ways.
File = Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to write; by default one of its name.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="The same, as an option.")]


class _Formats(TyperGroup):
    """Formats by name; a scene in the place of one is exported in R STILT's layout."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["rstilt", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Formats,
    no_args_is_help=True,
    help="Write a scene's results for other programs. `export SCENE DIRECTORY` is `export rstilt SCENE DIRECTORY`.",
)


@app.command("rstilt")
def rstilt(
    scene: SceneId,
    directory: Annotated[Path, typer.Argument(help="Where to write.")],
) -> None:
    """Write a scene's particles and footprints as R STILT lays out its own, a file a receptor."""
    with user_errors():
        from stilt_dagster.operations.products.export import export_rstilt

        count = export_rstilt(open_scene(open_store(), scene), directory)
        typer.echo(f"{directory}: {counted(count, 'receptor')}")


@app.command("footprints")
def footprints(
    scene: SceneId,
    file: File = None,
    receptor: Receptors = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write footprints of receptors as one CF NetCDF file, by default SCENE.nc: foot(receptor, hour, lat, lon)."""
    with user_errors():
        from stilt_dagster.operations.products.maps import export_footprints

        path, store = _place(file, output, f"{scene}.nc"), open_store()
        _say(path, *export_footprints(store, open_scene(store, scene), receptor or [], path), as_json=as_json)


@app.command("geotiff")
def geotiff(
    scene: SceneId,
    file: File = None,
    receptor: Receptors = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write the sum of footprints over receptors and hours as a cloud-optimized GeoTIFF, by default SCENE.tif."""
    with user_errors():
        from stilt_dagster.operations.products.maps import export_geotiff

        path, store = _place(file, output, f"{scene}.tif"), open_store()
        _say(path, *export_geotiff(store, open_scene(store, scene), receptor or [], path), as_json=as_json)


def _place(file: Path | None, output: Path | None, default: str) -> Path:
    """Return where to write.

    Raises
    ------
    UserError
        If it is said twice.
    """
    if file is not None and output is not None:
        raise UserError(f"{file} and --output {output} both say where to write: name the file once")
    return file or output or Path(default)


def _say(path: Path, receptors: int, failed: int, *, as_json: bool) -> None:
    """Say what was written."""
    if as_json:
        typer.echo(json.dumps({"output": str(path), "receptors": receptors, "failed": failed}))
    else:
        typer.echo(f"{path}: {counted(receptors, 'receptor')}" + (f", {failed} of them failed" if failed else ""))
