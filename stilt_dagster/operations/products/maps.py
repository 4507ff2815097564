"""Footprints of a scene for other programs: chosen ones as a CF file, the sum of some or all as a GeoTIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import IncompleteError, counted
from stilt_dagster.science.footprints.exports.chosen import require_receptors, sum_footprints
from stilt_dagster.science.footprints.exports.raster_files import require_rasterio, write_geotiff


def export_footprints(store: Store, scene: StoredScene, receptors: Sequence[str], output: Path) -> tuple[int, int]:
    """Write footprints of some receptors as one CF NetCDF file.

    Parameters
    ----------
    store : Store
        The store, whose scratch is used.
    scene : StoredScene
        The scene.
    receptors : sequence of str
        Ids; empty for all.
    output : Path
        The file to write, all at once.

    Returns
    -------
    tuple of int
        Receptors in it, and how many of these failed.

    Raises
    ------
    SceneError
        If the scene has no such receptor.
    IncompleteError
        If footprints are not done.
    """
    from stilt_dagster.science.footprints.exports.cf_files import write_footprints

    _require_begun(scene)
    chosen = require_receptors(scene.spec, receptors)
    with store.scratch() as scratch:
        outcomes = write_footprints(scene.spec, scene.batches, scene.footprints, chosen, scratch / "footprints.nc")
        _publish(scratch / "footprints.nc", output)
    return len(outcomes), sum(o.status == "failed" for o in outcomes)


def export_geotiff(store: Store, scene: StoredScene, receptors: Sequence[str], output: Path) -> tuple[int, int]:
    """Write the sum of footprints over some receptors and all hours as a cloud-optimized GeoTIFF.

    Parameters
    ----------
    store, scene, receptors, output
        As of :func:`export_footprints`.

    Returns
    -------
    tuple of int
        Receptors that were asked for, and how many of these failed, and so are not in the sum.

    Raises
    ------
    UserError
        If rasterio is not installed.
    SceneError
        If the scene has no such receptor.
    IncompleteError
        If footprints are not done.
    """
    require_rasterio()
    _require_begun(scene)
    chosen = require_receptors(scene.spec, receptors)
    total, count = sum_footprints(scene.spec, scene.batches, scene.footprints, chosen)
    hours = counted(abs(scene.spec.transport.n_hours), "hour")
    description = f"surface influence, sum over {counted(count, 'receptor')} and {hours}"
    tags = {
        "TIFFTAG_IMAGEDESCRIPTION": f"STILT scene {scene.id}: {description}",
        "scene": scene.id,
        "receptors": str(count),
        "receptors_failed": str(len(chosen) - count),
        "time": f"{scene.spec.time:%Y-%m-%dT%H:%M:%SZ}",
    }
    with store.scratch() as scratch:
        write_geotiff(total, scene.spec.footprint.grid, description, tags, scratch / "sum.tif")
        _publish(scratch / "sum.tif", output)
    return len(chosen), len(chosen) - count


def _require_begun(scene: StoredScene) -> None:
    if scene.aggregate is None:
        raise IncompleteError(f"scene {scene.id} is not done: run it first with `stilt-dagster scene run {scene.id}`")


def _publish(path: Path, output: Path) -> None:
    """Put a finished file where it is wanted."""
    Folder.of(output.resolve().parent).put(path, output.name)
