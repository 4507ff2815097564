"""The report of a scene, of what the store has of it: for the asset and the command line alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.resources.folders import Folder
from stilt_dagster.science import versions
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.scratch import size_of

if TYPE_CHECKING:
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.report.page import StoredFile
    from stilt_dagster.science.report.plume import Plume
    from stilt_dagster.science.report.summary import Summary
    from stilt_dagster.science.scratch import Source


@dataclass(frozen=True)
class Report:
    """A page.

    Attributes
    ----------
    html : str
        The file.
    version : str
        What it was made of.
    warnings : list of str
        What it says a person should look at.
    """

    html: str
    version: str
    warnings: Sequence[str]


def make_report(scene: StoredScene) -> Report:
    """Make the page of a scene's jacobian, as it is in the store; what else is not there any more is said so.

    Raises
    ------
    IncompleteError
        If there is no jacobian, or it cannot be read.
    """
    from stilt_dagster.science.report.page import Content, render
    from stilt_dagster.science.report.provenance import made_by, meteorology_tables, settings_tables
    from stilt_dagster.science.report.summary import find_warnings

    summary = _read(scene)
    made = dt.datetime.now(dt.UTC)
    version = versions.report_version(summary.attributes.get("stilt_version", ""))
    warnings = find_warnings(scene.spec, summary, scene.aggregate)
    if scene.aggregate is None or version != scene.versions.report:
        warnings.insert(
            0,
            "this matrix was made of other settings, meteorology or engine than the scene has now: make it again with "
            f"`stilt-dagster scene run {scene.id}`",
        )
    content = Content(
        scene.spec,
        summary,
        _plume(scene, summary),
        warnings,
        [made_by(summary, made), *meteorology_tables(scene.aggregate), *settings_tables(scene.spec)],
        _stored_files(scene),
        version,
        made,
    )
    return Report(render(content), version, warnings)


def write_report(scene: StoredScene, path: Path) -> int:
    """Write the page of a scene's jacobian to a file of this machine, all at once; return its size, bytes.

    Raises
    ------
    IncompleteError
        If there is no jacobian, or it cannot be read.
    StoreError
        If the file cannot be written.
    """
    html = make_report(scene).html
    Folder.of(path.resolve().parent).write(path.name, html)
    return len(html.encode())


def _read(scene: StoredScene) -> Summary:
    from stilt_dagster.science.report.summary import read_summary

    def read(source: Source) -> Summary:
        return read_summary(source, scene.spec)

    advice = f"make it with `stilt-dagster scene run {scene.id}`"
    try:
        found = scene.store.folder("jacobian").open(f"{scene.id}.nc", read, whole=True)
    except (OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
        raise IncompleteError(f"jacobian of scene {scene.id} cannot be read: {error}; {advice}") from error
    if found is None:
        raise IncompleteError(f"scene {scene.id} has no jacobian to report on: {advice}")
    return found


def _plume(scene: StoredScene, summary: Summary) -> Plume | None:
    """Return particles of some receptors; None if they are not in the store any more."""
    from stilt_dagster.science.report.plume import sample_plume

    if scene.aggregate is None:
        return None
    return sample_plume(scene.batches, scene.trajectories, summary.rows.samples)


def _stored_files(scene: StoredScene) -> list[StoredFile]:
    """Return what the store has of a scene, parts counted from their indexes."""
    from stilt_dagster.science.report.page import StoredFile

    name, folder = scene.id, scene.store.folder
    arl = [] if scene.aggregate is None else scene.aggregate.stored_names(name)
    found = [
        StoredFile(f"scenes/{name}.json", "the spec", *_sizes(folder("scenes"), [f"{name}.json"])),
        StoredFile(f"receptors/{name}.parquet", "receptors", *_sizes(folder("receptors"), [f"{name}.parquet"])),
        StoredFile(
            f"meteorology_aggregate/{name}.arl", "meteorology, ARL", *_sizes(folder("meteorology_aggregate"), arl)
        ),
    ]
    shards = sorted(set(scene.spec.receptor_list.shards))
    for asset, folder_of, holds, ending in (
        ("trajectories", scene.trajectories, "particles, minute by minute", "parquet"),
        ("footprints", scene.footprints, "footprints by hours before release, CF NetCDF", "nc"),
    ):
        parts = [(shard, part) for shard in shards for part in folder_of(shard).names()]
        known = [s.size for shard, part in parts if (s := folder_of(shard).summary(part)) is not None]
        size = sum(known) if len(known) == len(parts) else None
        found.append(StoredFile(f"{asset}/{name}/<shard>/part-*.{ending}", holds, len(parts), size))
    if scene.spec.background is not None:
        sizes = _sizes(folder("background"), [f"{name}.parquet"])
        found.append(StoredFile(f"background/{name}.parquet", "background of each receptor", *sizes))
    sizes = _sizes(folder("jacobian"), [f"{name}.nc"])
    return [*found, StoredFile(f"jacobian/{name}.nc", "the matrix, stilt-jacobian/1", *sizes)]


def _sizes(folder: Folder, names: Sequence[str]) -> tuple[int, int]:
    """Return how many of some files there are, and their size, bytes."""
    sizes = [folder.open(name, size_of, whole=False) for name in names]
    there = [size for size in sizes if size is not None]
    return len(there), sum(there)
