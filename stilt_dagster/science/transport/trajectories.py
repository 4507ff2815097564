"""The simulations of a scene's batches: which are to be done, doing them, and keeping what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pyarrow as pa

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import DamagedError, IncompleteError
from stilt_dagster.science.meteorology.description import Meteorology
from stilt_dagster.science.outcomes import Outcome, PartSummary, Report
from stilt_dagster.science.part_index import IndexedFolder, find_summary, is_checked
from stilt_dagster.science.part_pool import Progress, run_shards
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.effort import EffortMeter
from stilt_dagster.science.transport.ensembles import Engine, EngineCheck, Result, RowEstimator, simulate_runs
from stilt_dagster.science.transport.particle_files import ParticleFile, ParticleWriter


class _TrajectoryPart:
    """The part file of one batch; receptors that are done are taken from the file it replaces."""

    def __init__(
        self,
        batch: Batch,
        done: ParticleFile | None,
        run: Callable[[Receptor], Result],
        folder: IndexedFolder,
        scratch: Path,
        report: Report,
    ) -> None:
        self._batch = batch
        self._report = report
        self._folder = folder
        self._run = run
        self._meter = EffortMeter(done.effort if done else None)
        self.path = scratch / f"{batch.shard}-{batch.name}.parquet"
        self._done = done
        self._writer = ParticleWriter(self.path, batch.key, batch.engine)
        self._kept = {
            o.receptor: o
            for o in (done.outcomes if done else ())
            if o.status == "ok" and (o.check is not None or o.receptor not in batch.checked)
        }
        self._tables = done.runs() if done else iter(())
        self._left = list(batch.receptors.ids)
        self._has_columns = bool((batch.receptors.height[:, 0] != batch.receptors.height[:, -1]).any())

    @property
    def n_kept(self) -> int:
        """Receptors that are not done again."""
        return len(self._kept)

    @property
    def work(self) -> Sequence[Callable[[], Result]]:
        """One simulation a receptor that is not done."""
        receptors = self._batch.receptors
        return [partial(self._simulate, receptors[k]) for k, i in enumerate(receptors.ids) if i not in self._kept]

    def _simulate(self, receptor: Receptor) -> Result:
        with self._meter.measuring():
            return self._run(receptor)

    def add(self, result: Result) -> int:
        """Write a simulated receptor, and before it those that were kept."""
        with self._meter.measuring():
            self._keep_until(result[0].receptor)
            self._left.pop(0)
            self._write(*result)
        if self._report.sample is None and result[1] is not None:
            self._report.sample = (result[0].receptor, result[1])
        return 1

    def _keep_until(self, receptor: str | None) -> None:
        while self._left and self._left[0] != receptor:
            kept = self._left.pop(0)
            with removing_damaged(self._folder, self._batch):
                # In the order they were written; those that are simulated again are passed over.
                tables = next(tables for name, *tables in self._tables if name == kept)
            self._write(self._kept[kept], *tables)

    def _write(self, outcome: Outcome, *tables: pa.Table | None) -> None:
        """Write a receptor, a point with no release heights (``xhgt``) where columns of its batch have them."""
        with_heights = (
            table.append_column("xhgt", pa.nulls(len(table), pa.float64()))
            if table is not None and self._has_columns and "xhgt" not in table.column_names
            else table
            for table in tables
        )
        self._writer.add(outcome, *with_heights)

    def close(self) -> Callable[[], None]:
        """Finish the file; return what publishes it."""
        with self._meter.measuring():
            self._keep_until(None)
        writer, effort = self._writer, self._meter.effort
        writer.close(effort)
        self._close_kept()
        size = self.path.stat().st_size
        summary = PartSummary.of(self._batch.key, writer.outcomes, size, writer.rows, effort=effort)
        self._report.add_part(summary)
        return partial(self._folder.put, self.path, f"{self._batch.name}.parquet", summary)

    def _close_kept(self) -> None:
        if self._done is not None:
            self._done.close()

    def abort(self) -> None:
        """Drop the file."""
        self._close_kept()
        self._writer.abort()
        self.path.unlink(missing_ok=True)


def read_part(folder: IndexedFolder, batch: Batch, *, whole: bool = False) -> ParticleFile | None:
    """Return the part file of a batch, or None if it is missing, damaged, or was made with other inputs.

    Parameters
    ----------
    folder : IndexedFolder
        Its folder.
    batch : Batch
        The batch.
    whole : bool
        All of it will be read; else how its receptors ended, mostly, which of a remote file is a fraction.
    """
    with suppress(ValueError):
        part = folder.open(f"{batch.name}.parquet", ParticleFile, whole=whole)
        if part is None:
            return None
        if part.key == batch.key and [o.receptor for o in part.outcomes] == batch.receptors.ids:
            return part
        part.close()
    return None


@contextmanager
def removing_damaged(folder: IndexedFolder, batch: Batch) -> Iterator[None]:
    """Remove the particles of a batch that turn out to be damaged while they are read, so that they are made anew.

    Raises
    ------
    IncompleteError
        In place of a :class:`DamagedError`.
    """
    try:
        yield
    except DamagedError as error:
        folder.remove(f"{batch.name}.parquet")
        raise IncompleteError(
            f"trajectories of shard {batch.shard}, {batch.name}.parquet, were damaged on disk and are removed: "
            "materialize trajectories again"
        ) from error


def recorded_engine(folder_of: Callable[[str], IndexedFolder], shards: Iterable[str]) -> str:
    """Return the version of the engine that simulated the first part there is of some shards.

    That is what a machine without an engine takes a scene's trajectories to be made with.

    Returns
    -------
    str
        Empty if there is no part, or it does not say: it was made before that was kept.
    """
    for folder in map(folder_of, shards):
        for name in folder.names():
            if name.startswith("part-"):
                with suppress(ValueError):
                    part = folder.open(name, ParticleFile, whole=False)
                    if part is not None:
                        with closing(part):
                            return part.engine
    return ""


def part_summary(folder: IndexedFolder, batch: Batch) -> PartSummary | None:
    """Return how a batch's simulations ended; None if there is no good part of it, or one that lacks checks."""
    found = find_summary(folder, f"{batch.name}.parquet", batch.key, lambda: read_summary(folder, batch))
    return found if found is not None and is_checked(batch, found) else None


def read_summary(folder: IndexedFolder, batch: Batch) -> PartSummary | None:
    """Return how a batch's simulations ended, from the part file's footer; None if it is not good."""
    part = read_part(folder, batch)
    if part is None:
        return None
    with closing(part):
        return PartSummary.of(part.key, part.outcomes, part.size, part.rows, effort=part.effort)


def particle_rows(folder: IndexedFolder, batches: Sequence[Batch]) -> int:
    """Return how many rows the good parts of a shard have."""
    return sum(summary.rows for b in batches if (summary := part_summary(folder, b)) is not None)


def first_particles(
    shards: Mapping[str, Sequence[Batch]], folder_of: Callable[[str], IndexedFolder]
) -> tuple[str, pa.Table] | None:
    """Return the first receptor of some shards that has particles, and its table; None if there is none."""
    for batch in (b for members in shards.values() for b in members):
        part = read_part(folder_of(batch.shard), batch)
        if part is None:
            continue
        with closing(part), removing_damaged(folder_of(batch.shard), batch):
            first = next(part.tables(("particle", "age", "lon", "lat", "foot")), None)
        if first is not None:
            return first
    return None


def simulate_shards(
    shards: Mapping[str, Sequence[Batch]],
    settings: TransportSettings,
    meteorology: Meteorology,
    engine: Engine,
    folder_of: Callable[[str], IndexedFolder],
    scratch: Path,
    *,
    workers: int,
    rerun: bool = False,
    estimator: RowEstimator | None = None,
    check: EngineCheck | None = None,
    report_progress: Progress = lambda done, total: None,
) -> Report:
    """Simulate what of some shards is missing, failed, or was made with other inputs.

    Parameters
    ----------
    shards : mapping of str to sequence of Batch
        Whole shards of a scene.
    settings : TransportSettings
        The scene's transport.
    meteorology : Path or sequence of Path
        The files of the scene's aggregate, on this machine, the finest grid first.
    engine : Engine
        What simulates.
    folder_of : callable
        The folder of a shard, with its index.
    scratch : Path
        Where files are written before they are published.
    workers : int
        Simulations at a time.
    rerun : bool
        Do everything again.
    estimator : callable, optional
        Of a scene with ``precision`` what tells how well rows are known.
    check : EngineCheck, optional
        What holds the engine against hycs_std, at the receptors that batches name.
    report_progress : callable
        Told of receptors done and in all.

    Returns
    -------
    Report
        Of all receptors of the shards, done now or before.
    """
    report = Report()

    checked = frozenset[str]().union(*(b.checked for members in shards.values() for b in members))

    def run(receptor: Receptor) -> Result:
        of_receptor = check if receptor.id in checked else None
        return simulate_runs(receptor, settings, meteorology, engine, estimator, of_receptor)

    def stop() -> None:
        engine.stop()
        if check is not None:
            check.stop()

    def find(batch: Batch) -> PartSummary | ParticleFile | None:
        folder = folder_of(batch.shard)
        if rerun:
            return None
        summary = part_summary(folder, batch)
        if summary is None:
            known = folder.summary(f"{batch.name}.parquet")
            lacks_checks = known is not None and known.key == batch.key
            return read_part(folder, batch, whole=True) if lacks_checks else None
        if not summary.counts.get("ok"):
            return None
        # What succeeded goes into the file that takes its place.
        return summary if summary.counts["ok"] == len(batch.receptors) else read_part(folder, batch, whole=True)

    def begin(batch: Batch, found: PartSummary | ParticleFile | None) -> tuple[_TrajectoryPart | None, int]:
        if isinstance(found, PartSummary):
            report.add_part(found)
            return None, len(batch.receptors)
        part = _TrajectoryPart(batch, found, run, folder_of(batch.shard), scratch, report)
        return part, part.n_kept

    run_shards(
        shards,
        find,
        begin,
        folder_of,
        ".parquet",
        report,
        workers=workers,
        stop=stop,
        report_progress=report_progress,
    )
    return report
