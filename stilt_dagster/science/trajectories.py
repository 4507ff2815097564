"""The simulations of a scene's batches: which are to be done, doing them, and keeping what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from stilt_dagster.science.batches import Batch, Progress, Report, Shelf, kept, run_shards
from stilt_dagster.science.errors import TRANSIENT, DamagedError, IncompleteError, SimulationFailed
from stilt_dagster.science.hysplit import TransportSettings
from stilt_dagster.science.particles import Outcome, ParticleFile, Particles, ParticleWriter, to_table
from stilt_dagster.science.receptors import Receptor

#: How often a receptor is tried whose failure may not repeat itself.
ATTEMPTS = 2

Result = tuple[Outcome, pa.Table | None]


class Engine(Protocol):
    """What simulates a receptor; :class:`~stilt_dagster.science.hysplit.Hysplit` is one."""

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Path) -> Particles:
        """Release particles at a receptor and follow them."""

    def stop(self) -> None:
        """End runs under way."""


def simulate(receptor: Receptor, settings: TransportSettings, meteorology: Path, engine: Engine) -> Result:
    """Simulate one receptor, trying again what may go better the second time.

    Returns
    -------
    (Outcome, pyarrow.Table or None)
        The outcome, and its particles unless it failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            particles = engine.run(receptor, settings, meteorology)
            hours, escaped = particles.coverage(settings.n_hours)
            outcome = Outcome(
                receptor.id,
                attempts=attempt,
                n_particles=particles.n_particles,
                hours_covered=round(hours, 3),
                escaped_fraction=round(escaped, 6),
            )
            return outcome, to_table(receptor.id, particles)
        except SimulationFailed as failure:
            outcome = Outcome(receptor.id, "failed", failure.reason, str(failure), failure.log, attempt)
            if failure.reason not in TRANSIENT:
                break
    return outcome, None


class _TrajectoryPart:
    """The part file of one batch; receptors that are done are taken from the file it replaces."""

    def __init__(
        self,
        batch: Batch,
        done: ParticleFile | None,
        run: Callable[[Receptor], Result],
        shelf: Shelf,
        scratch: Path,
        report: Report,
    ) -> None:
        self._batch = batch
        self._report = report
        self._shelf = shelf
        self._run = run
        self.path = scratch / f"{batch.shard}-{batch.name}.parquet"
        self._done = done
        self._writer = ParticleWriter(self.path, batch.key)
        self._kept = {o.receptor: o for o in done.outcomes if o.status == "ok"} if done else {}
        self._tables: Iterator[tuple[str, pa.Table]] = done.tables() if done else iter(())
        self._left = list(batch.receptors)

    @property
    def work(self) -> Sequence[Callable[[], Result]]:
        """One simulation a receptor that is not done."""
        return [partial(self._run, r) for r in self._batch.receptors if r.id not in self._kept]

    def add(self, result: Result) -> int:
        """Write a simulated receptor, and before it those that were kept."""
        self._keep_until(result[0].receptor)
        self._left.pop(0)
        self._writer.add(*result)
        return 1

    def _keep_until(self, receptor: str | None) -> None:
        while self._left and self._left[0].id != receptor:
            kept = self._left.pop(0).id
            with removing_damaged(self._shelf, self._batch):
                name, table = next(self._tables)
            assert name == kept, "kept receptors come in the order they were written"
            self._writer.add(self._kept[kept], table)

    def close(self) -> Callable[[], None]:
        """Finish the file; return what publishes it."""
        self._keep_until(None)
        self._writer.close()
        self._let_go()
        with closing(ParticleFile(self.path)) as part:
            _count(self._report, part)
        return partial(self._shelf.put, self.path, f"{self._batch.name}.parquet")

    def _let_go(self) -> None:
        if self._done is not None:
            self._done.close()

    def abort(self) -> None:
        """Drop the file."""
        self._let_go()
        self._writer.abort()
        self.path.unlink(missing_ok=True)


def _count(report: Report, part: ParticleFile) -> None:
    report.add_part(part.outcomes, part.size, part.rows)


def read_part(shelf: Shelf, batch: Batch, *, whole: bool = False) -> ParticleFile | None:
    """Return the part file of a batch, or None if it is missing, damaged, or was made with other inputs.

    Parameters
    ----------
    shelf : Shelf
        Its folder.
    batch : Batch
        The batch.
    whole : bool
        All of it will be read; else how its receptors ended, mostly, which of a remote file is a fraction.
    """
    with suppress(ValueError):
        part = shelf.open(f"{batch.name}.parquet", ParticleFile, whole=whole)
        if part is None:
            return None
        if part.key == batch.key and [o.receptor for o in part.outcomes] == [r.id for r in batch.receptors]:
            return part
        part.close()
    return None


@contextmanager
def removing_damaged(shelf: Shelf, batch: Batch) -> Iterator[None]:
    """Remove the particles of a batch that turn out to be damaged while they are read, so that they are made anew.

    Raises
    ------
    IncompleteError
        In place of a :class:`DamagedError`.
    """
    try:
        yield
    except DamagedError as error:
        shelf.remove(f"{batch.name}.parquet")
        raise IncompleteError(
            f"trajectories of shard {batch.shard}, {batch.name}.parquet, were damaged on disk and are removed: "
            "materialize trajectories again"
        ) from error


def _n_ok(part: ParticleFile) -> int:
    return sum(o.status == "ok" for o in part.outcomes)


def simulate_shards(
    shards: Mapping[str, Sequence[Batch]],
    settings: TransportSettings,
    meteorology: Path,
    engine: Engine,
    shelf_of: Callable[[str], Shelf],
    scratch: Path,
    *,
    workers: int,
    rerun: bool = False,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Simulate what of some shards is missing, failed, or was made with other inputs.

    Parameters
    ----------
    shards : mapping of str to sequence of Batch
        Whole shards of a scene.
    settings : TransportSettings
        The scene's transport.
    meteorology : Path
        The scene's aggregate, on this machine.
    engine : Engine
        What simulates.
    shelf_of : callable
        The store's folder of a shard.
    scratch : Path
        Where files are written before they are published.
    workers : int
        Simulations at a time.
    rerun : bool
        Do everything again.
    progress : callable
        Told of receptors done and in all.

    Returns
    -------
    Report
        Of all receptors of the shards, done now or before.
    """
    report = Report()

    def run(receptor: Receptor) -> Result:
        return simulate(receptor, settings, meteorology, engine)

    shelf_of = kept(shelf_of, shards)

    def find(batch: Batch) -> ParticleFile | None:
        found = None if rerun else read_part(shelf_of(batch.shard), batch)
        if found is None or _n_ok(found) in (0, len(batch.receptors)):
            return found
        found.close()  # what succeeded goes into the file that takes its place
        return read_part(shelf_of(batch.shard), batch, whole=True)

    def begin(batch: Batch, found: ParticleFile | None) -> tuple[_TrajectoryPart | None, int]:
        n_ok = _n_ok(found) if found else 0
        if found is not None and n_ok == len(batch.receptors):
            with closing(found):
                _count(report, found)
            return None, n_ok
        return _TrajectoryPart(batch, found, run, shelf_of(batch.shard), scratch, report), n_ok

    run_shards(shards, find, begin, shelf_of, ".parquet", report, workers=workers, stop=engine.stop, progress=progress)
    return report
