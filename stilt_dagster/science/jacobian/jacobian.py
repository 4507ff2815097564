"""The jacobian of a scene: its footprints stacked into one sparse matrix over hours of UTC.

Multiplied with fluxes (umol m-2 s-1) it gives enhancements (ppm) at the receptors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.engine_agreement import Agreement
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.footprints.footprint_files import FootprintFile
from stilt_dagster.science.footprints.footprints import read_part
from stilt_dagster.science.jacobian.boundary.writing import write_boundary
from stilt_dagster.science.jacobian.jacobian_files import (
    create_file,
    write_agreement,
    write_background_columns,
    write_matrix,
    write_soundings,
    write_transport_error,
)
from stilt_dagster.science.jacobian.row_spool import RowSpool
from stilt_dagster.science.observations.background_files import BackgroundFile
from stilt_dagster.science.outcomes import Meter, Outcome, PartSummary, Report
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.part_pool import prefetch
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import require_space, writing
from stilt_dagster.science.versions import jacobian_key


def flux_hours(scene: Scene) -> tuple[int, int]:
    """Return the first hour of UTC a scene's receptors can feel, counted from 1970, and how many there are."""
    minutes = scene.receptor_list.minutes
    first = int(minutes.min()) // 60 + scene.transport.n_hours
    # The hour of release itself is felt by receptors released past the full hour.
    last = (int(minutes.max()) - 1) // 60
    return first, last - first + 1


def build_jacobian(
    scene: Scene,
    shards: Mapping[str, Sequence[Batch]],
    folder_of: Callable[[str], IndexedFolder],
    path: Path,
    attributes: Mapping[str, str],
    background: BackgroundFile | None = None,
    transport_error: pa.Table | None = None,
    agreement: Agreement | None = None,
) -> Report:
    """Stack a scene's footprints, in memory that does not grow with the scene.

    Each part is read once. Entries go through scratch files beside *path*, 8 bytes each, from the order of the batches
    to that of the rows.

    Parameters
    ----------
    scene : Scene
        The scene.
    shards : mapping of str to sequence of Batch
        Every batch of the scene.
    folder_of : callable
        The store's folder of a shard's footprints.
    path : Path
        A file of this machine, complete only once this returns.
    attributes : mapping of str to str
        Written with it: versions of the engines, digest of the meteorology.
    background : BackgroundFile, optional
        The scene's.
    transport_error : pyarrow.Table, optional
        The scene's, as :func:`stilt_dagster.science.observations.transport_error.sample_transport_error` makes it.
    agreement : Agreement, optional
        How the engine that simulated compares with hycs_std, where it was held against it.

    Returns
    -------
    Report
        Of all receptors.

    Raises
    ------
    IncompleteError
        Naming the shard whose footprints are missing or were made with other inputs.
    """
    meter, report = Meter(), Report(influence=np.zeros((scene.footprint.grid.ny, scene.footprint.grid.nx)))
    settings = scene.footprint
    first_hour, n_hours = flux_hours(scene)
    if settings.time_integrate:
        first_column_hour, n_layers = 0, 1
    else:
        first_column_hour, n_layers = first_hour, n_hours
    ny, nx = settings.grid.ny, settings.grid.nx
    influence = report.influence.ravel()
    ids = scene.receptor_ids
    outcomes: dict[str, Outcome] = {}
    seen: list[tuple[str, str]] = []
    with (
        writing(path),
        tempfile.TemporaryDirectory(dir=path.parent, prefix="rows-") as scratch,
        closing(RowSpool(Path(scratch), n_layers * ny * nx)) as spool,
    ):
        row_sum = np.zeros(len(ids))
        place = {receptor: k for k, receptor in enumerate(ids)}
        for part in _parts(scene, shards, folder_of):
            seen.append((part.key, part.particles))
            shift = 0 if settings.time_integrate else (part.first_hour - first_column_hour) * ny * nx
            for k, outcome in enumerate(part.outcomes):
                if outcome.receptor in outcomes:
                    raise IncompleteError(
                        f"receptor {outcome.receptor} has two footprints: materialize footprints again"
                    )
                outcomes[outcome.receptor] = outcome
                columns, values = part.rows(int(part.indptr[k]), int(part.indptr[k + 1]))
                row = place[outcome.receptor]
                spool.add(row, columns + shift, values)
                np.add.at(influence, columns % (ny * nx), values)
                row_sum[row] = values.sum(dtype=np.float64)
        if missing := [i for i in ids if i not in outcomes]:
            raise IncompleteError(
                f"receptor {missing[0]} has no footprint: materialize trajectories and footprints first"
            )
        ordered = [outcomes[i] for i in ids]
        indptr = spool.close_rows(len(ids))
        require_space(path, spool.n_bytes + 8 * ny * nx + 500 * len(ids) + (1 << 20))
        with create_file(path) as file:
            write_matrix(file, scene, ordered, indptr, row_sum, spool, (first_hour, n_hours))
            if scene.has_columns:
                write_soundings(file, scene)
            if background is not None:
                write_background_columns(file, background.columns, ids)
                if background.has_boundary:
                    boundary = Path(scratch) / "boundary"
                    boundary.mkdir()
                    write_boundary(file, path, scene, background, boundary)
            if transport_error is not None:
                write_transport_error(file, transport_error)
            file.attrs["stilt_key"] = jacobian_key(scene, seen, agreement)
            if agreement is not None:
                write_agreement(file, agreement)
            for name, value in attributes.items():
                file.attrs[name] = value
    report.add_part(PartSummary.of("", ordered, path.stat().st_size, int(indptr[-1])))
    report.made = len(ids)
    meter.add_to(report)
    return report


def _parts(
    scene: Scene, shards: Mapping[str, Sequence[Batch]], folder_of: Callable[[str], IndexedFolder]
) -> Iterator[FootprintFile]:
    """Open the footprint files of a scene, one after the other, the next ones being fetched meanwhile."""

    def read(batch: Batch) -> FootprintFile | None:
        return read_part(folder_of(batch.shard), batch, scene, whole=True)

    for batch, part in prefetch(read, (b for members in shards.values() for b in members)):
        if part is None:
            raise IncompleteError(
                f"footprints of shard {batch.shard} are missing or were made with other inputs ({batch.name}.nc): "
                "materialize trajectories and footprints first"
            )
        yield part
        part.close()
