"""Footprints of chosen receptors as one CF NetCDF-4 file, for programs that read such."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5netcdf
import numpy as np

from stilt_dagster import __version__
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.footprints.exports.chosen import chosen_footprints
from stilt_dagster.science.footprints.footprint_files import create_foot, write_grid, write_outcomes, write_receptors
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import require_space, writing


def write_footprints(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    footprints_of: Callable[[str], IndexedFolder],
    receptors: Sequence[str],
    path: Path,
) -> list[Outcome]:
    """Write footprints of some receptors to one file, a layer of one receptor in memory at a time.

    The file is laid out as the store's, ``foot(receptor, hour, lat, lon)``, with the height of each receptor too, and
    its id as a label, ``receptor_id``. A failed receptor has fill values, since it is not known what it feels; one that
    feels nothing of the grid has zeros.

    Parameters
    ----------
    scene : Scene
        The scene.
    shards : mapping of str to sequence of Batch
        Its batches.
    footprints_of : callable
        The store's folder of a shard's footprints.
    receptors : sequence of str
        Ids of receptors of the scene, in the order they are written in.
    path : Path
        A file of this machine, complete only once this returns.

    Returns
    -------
    list of Outcome
        How each of them ended.

    Raises
    ------
    IncompleteError
        Naming the shard whose footprints are missing or were made with other inputs.
    """
    place = {receptor: i for i, receptor in enumerate(receptors)}
    known = {receptor.id: receptor for receptor in scene.receptor_list if receptor.id in place}
    table = Receptors.of(known[receptor] for receptor in receptors)
    settings, n_layers = scene.footprint, 1 if scene.footprint.time_integrate else abs(scene.transport.n_hours)
    outcomes: dict[str, Outcome] = {}
    with writing(path):
        require_space(path, 1 << 20)
        with h5netcdf.File(path, "w") as file:
            file.dimensions.update({"receptor": len(table), "hour": n_layers})
            dims = write_grid(file, settings)
            write_receptors(file, table, settings, ids="receptor_id")
            _write_heights(file, table, scene.transport.kmsl)
            foot = create_foot(file, dims, settings.grid, fillvalue=np.float32(np.nan))
            foot.attrs["coordinates"] += " receptor_id receptor_height receptor_height_top"
            for part, k in chosen_footprints(scene, shards, footprints_of, receptors):
                outcome = part.outcomes[k]
                outcomes[outcome.receptor] = outcome
                if outcome.status != "failed":
                    # Compressed once more, it takes what it takes in the part.
                    require_space(path, part.size + (1 << 20))
                    for hour, layer in enumerate(part.layers(k)):
                        foot[place[outcome.receptor], hour] = layer
            ordered = [outcomes[receptor] for receptor in receptors]
            write_outcomes(file, "receptor", ordered)
            file.attrs.update(
                {
                    "Conventions": "CF-1.8",
                    "title": f"STILT footprints of scene {scene.id}",
                    "source": scene.transport.model,
                    "history": f"exported by stilt_dagster {__version__}",
                    "scene": scene.id,
                }
            )
    return ordered


def _write_heights(file: h5netcdf.File, receptors: Receptors, above_sea: int) -> None:
    """Write how high particles were released: at a point, or evenly between the bottom and the top of a column."""
    where = "above sea level" if above_sea else "above ground"
    for name, column, what in (
        ("receptor_height", 0, "of the point or the bottom of the column"),
        ("receptor_height_top", -1, "of the point or the top of the column"),
    ):
        height = file.create_variable(name, ("receptor",), "f8", data=receptors.height[:, column])
        height.attrs.update({"long_name": f"release height {what}, {where}", "units": "m"})
