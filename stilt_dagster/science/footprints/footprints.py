"""The footprints of a scene's batches: which are to be made, making them of particles, and keeping them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.footprints.footprint_files import FootprintFile, FootprintWriter
from stilt_dagster.science.footprints.gridding import Footprint, Layer, calculate_footprint
from stilt_dagster.science.observations.column_operator import particle_weights
from stilt_dagster.science.outcomes import PartSummary, Report
from stilt_dagster.science.part_index import IndexedFolder, find_summary, is_current
from stilt_dagster.science.part_pool import Progress, run_shards
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.effort import EffortMeter
from stilt_dagster.science.transport.particle_files import ParticleFile
from stilt_dagster.science.transport.particle_tables import positions
from stilt_dagster.science.transport.trajectories import part_summary as simulations_of
from stilt_dagster.science.transport.trajectories import read_part as read_trajectories
from stilt_dagster.science.transport.trajectories import removing_damaged
from stilt_dagster.science.versions import footprint_key, simulations_digest


def footprint_of(scene: Scene, receptor: Receptor, table: pa.Table) -> Footprint:
    """Return a receptor's footprint, of its stored particles, as the scene asks for it."""
    particle, age, lon, lat, foot = positions(table)
    settings = scene.footprint
    return calculate_footprint(
        particle,
        age,
        lon,
        lat,
        foot,
        settings.grid,
        minute=receptor.time.minute,
        smooth_factor=settings.smooth_factor,
        time_integrate=settings.time_integrate,
        weights=particle_weights(scene, receptor),
        lifetime=scene.weighting.lifetime,
        slabs=scene.transport.numpar if len(receptor.heights) > 1 else None,
        slanted=scene.transport.starts_at_ends(receptor),
    )


class _FootprintPart:
    """The footprint file of one batch."""

    def __init__(
        self,
        batch: Batch,
        particles: ParticleFile,
        scene: Scene,
        trajectories: IndexedFolder,
        folder: IndexedFolder,
        scratch: Path,
        report: Report,
    ) -> None:
        self._trajectories = trajectories
        self._folder = folder
        self._report = report
        self._batch = batch
        self._particles = particles
        self._scene = scene
        self.path = scratch / f"{batch.shard}-{batch.name}.nc"
        self.path.unlink(missing_ok=True)
        self._writer = FootprintWriter(
            self.path,
            footprint_key(scene, batch.key, batch.receptors.ids),
            simulations_digest((o.receptor, o.status) for o in particles.outcomes),
            batch.receptors,
            scene.footprint,
            scene.transport.n_hours,
            scene.transport.model,
        )
        self._left = list(particles.outcomes)
        self._receptors = {r.id: r for r in batch.receptors}
        self._meter = EffortMeter()

    @property
    def work(self) -> Sequence[Callable[[], list[tuple[str, Footprint]]]]:
        """The footprints of one row group of particles each."""
        return [partial(self._grid, g) for g in range(self._particles.n_groups)]

    def _grid(self, group: int) -> list[tuple[str, Footprint]]:
        with self._meter.measuring():
            return self._gridded(group)

    def _gridded(self, group: int) -> list[tuple[str, Footprint]]:
        made = []
        with removing_damaged(self._trajectories, self._batch):
            tables = list(self._particles.tables_of(group, ("particle", "age", "lon", "lat", "foot")))
        for name, table in tables:
            made.append((name, footprint_of(self._scene, self._receptors[name], table)))
        return made

    def add(self, result: list[tuple[str, Footprint]]) -> int:
        """Write the footprints of a row group, and before each the receptors that failed."""
        before = len(self._left)
        with self._meter.measuring():
            self._add(result)
        return before - len(self._left)

    def _add(self, result: list[tuple[str, Footprint]]) -> None:
        for receptor, footprint in result:
            self._fail_until(receptor)
            outcome = self._left.pop(0)
            for layer in footprint.layers:
                self._add_influence(layer)
            outside = footprint.outside / footprint.total if footprint.total > 0 else 0.0
            gridded = replace(
                outcome,
                status="empty" if footprint.is_empty else "ok",
                outside_fraction=round(max(outside, 0.0), 6),
                foot_sum=footprint.gridded,
                row_sum_error=footprint.error,
                imbalance=footprint.imbalance,
            )
            self._writer.add(gridded, footprint)

    def _add_influence(self, layer: Layer) -> None:
        rows, columns = layer.values.shape
        self._report.influence[layer.y : layer.y + rows, layer.x : layer.x + columns] += layer.values

    def _fail_until(self, receptor: str | None) -> None:
        while self._left and self._left[0].receptor != receptor:
            self._writer.add(self._left.pop(0), None)

    def close(self) -> Callable[[], None]:
        """Finish the file; return what publishes it."""
        writer = self._writer
        with self._meter.measuring():
            self._fail_until(None)
        effort = self._meter.effort
        writer.close(effort)
        self._particles.close()
        size = self.path.stat().st_size
        summary = PartSummary.of(writer.key, writer.outcomes, size, writer.entries, writer.particles, effort)
        self._report.add_part(summary)
        return partial(self._folder.put, self.path, f"{self._batch.name}.nc", summary)

    def abort(self) -> None:
        """Drop the file."""
        self._particles.close()
        self._writer.abort()
        self.path.unlink(missing_ok=True)


def read_part(folder: IndexedFolder, batch: Batch, scene: Scene, *, whole: bool = False) -> FootprintFile | None:
    """Return the footprint file of a batch, or None if it is missing, damaged, or was made with other inputs.

    Parameters
    ----------
    folder : IndexedFolder
        Its folder.
    batch : Batch
        The batch.
    scene : Scene
        The scene.
    whole : bool
        All of it will be read; else how its receptors ended, mostly, which of a remote file is a fraction.
    """
    with suppress(ValueError):
        part = folder.open(f"{batch.name}.nc", FootprintFile, whole=whole)
        if part is None:
            return None
        same = part.key == footprint_key(scene, batch.key, batch.receptors.ids)
        if same and [o.receptor for o in part.outcomes] == batch.receptors.ids:
            return part
        part.close()
    return None


def part_summary(folder: IndexedFolder, batch: Batch, scene: Scene) -> PartSummary | None:
    """Return how a batch's footprints ended; None if there is no good part of it."""
    key = footprint_key(scene, batch.key, batch.receptors.ids)
    return find_summary(folder, f"{batch.name}.nc", key, lambda: read_summary(folder, batch, scene))


def read_summary(folder: IndexedFolder, batch: Batch, scene: Scene) -> PartSummary | None:
    """Return how a batch's footprints ended, from the part file; None if it is not good."""
    part = read_part(folder, batch, scene)
    if part is None:
        return None
    with closing(part):
        return _summary(part)


def _summary(part: FootprintFile) -> PartSummary:
    return PartSummary.of(part.key, part.outcomes, part.size, part.entries, part.particles, part.effort)


def without_trajectories(batch: Batch) -> IncompleteError:
    """Return the error for a batch whose trajectories are missing or were made with other inputs."""
    return IncompleteError(
        f"trajectories of shard {batch.shard} are missing or were made with other inputs "
        f"({batch.name}.parquet): materialize trajectories first"
    )


def grid_shards(
    shards: Mapping[str, Sequence[Batch]],
    scene: Scene,
    trajectories_of: Callable[[str], IndexedFolder],
    folder_of: Callable[[str], IndexedFolder],
    scratch: Path,
    *,
    workers: int,
    rerun: bool = False,
    report_progress: Progress = lambda done, total: None,
) -> Report:
    """Make what of some shards' footprints is missing or was made with other inputs.

    Parameters
    ----------
    shards : mapping of str to sequence of Batch
        Whole shards of the scene.
    scene : Scene
        The scene.
    trajectories_of, folder_of : callable
        The folders of a shard, with their indexes: of trajectories, and of footprints.
    scratch : Path
        Where files are written before they are published.
    workers : int
        Threads.
    rerun : bool
        Do everything again.
    report_progress : callable
        Told of receptors done and in all.

    Returns
    -------
    Report
        Of all receptors of the shards, done now or before.

    Raises
    ------
    IncompleteError
        Naming the shard whose trajectories are missing or were made with other inputs.
    """
    grid = scene.footprint.grid
    report = Report(influence=np.zeros((grid.ny, grid.nx)))

    def find(batch: Batch) -> FootprintFile | ParticleFile:
        particles = simulations_of(trajectories_of(batch.shard), batch)
        if particles is None:
            raise without_trajectories(batch)
        if not rerun and is_current(part_summary(folder_of(batch.shard), batch, scene), particles):
            found = read_part(folder_of(batch.shard), batch, scene, whole=True)
            if found is not None:
                return found
        file = read_trajectories(trajectories_of(batch.shard), batch, whole=True)
        if file is None:
            raise without_trajectories(batch)
        return file

    def begin(batch: Batch, found: FootprintFile | ParticleFile) -> tuple[_FootprintPart | None, int]:
        trajectories, folder = trajectories_of(batch.shard), folder_of(batch.shard)
        if isinstance(found, ParticleFile):
            return _FootprintPart(batch, found, scene, trajectories, folder, scratch, report), 0
        with closing(found):
            report.add_part(_summary(found))
            report.influence += found.integrated()
        return None, len(batch.receptors)

    # Gridding is over in a moment: there is nothing to stop.
    run_shards(
        shards,
        find,
        begin,
        folder_of,
        ".nc",
        report,
        workers=workers,
        stop=lambda: None,
        report_progress=report_progress,
    )
    return report
