"""A scene's receptors as batches: the unit of files, of checkpoints, and of what a re-run redoes.

A shard's receptors are cut into batches of a few CPU-minutes. A batch becomes one part file, written whole or not at
all, that carries the hash of everything that made it and an outcome for every receptor. So a run that was killed is
finished by running it again: parts whose key still fits are kept, and in those only failed receptors are tried anew.
"""

from __future__ import annotations

import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import StoreUnavailable
from stilt_dagster.science.particles import Outcome, Source
from stilt_dagster.science.receptors import SHARDS, Receptor
from stilt_dagster.science.scene import Scene
from stilt_dagster.science.scratch import writing
from stilt_dagster.science.spec import digest

#: CPU seconds of simulation a batch holds, predicted: what a killed run may lose, a core.
BATCH_CPU_SECONDS = 120.0

#: Most receptors of a batch, however fast they are.
BATCH_RECEPTORS = 256

#: Parts that are fetched ahead of their use, and published behind it, at a time: threads that wait for a remote store.
TRANSFERS = 4

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Some receptors of one shard, and the hash of what makes their trajectories.

    Attributes
    ----------
    shard : str
        The shard, ``00`` to ``15``.
    number : int
        Which batch of the shard.
    receptors : tuple of Receptor
        In the order they are kept in: by id.
    key : str
        Hash of receptors, meteorology, settings and engine.
    """

    shard: str
    number: int
    receptors: tuple[Receptor, ...]
    key: str

    @property
    def name(self) -> str:
        """Name of the batch's part files, without their ending."""
        return f"part-{self.number:05d}"


def plan(scene: Scene, meteorology: str, engine: str) -> dict[str, list[Batch]]:
    """Cut a scene into batches: the same ones each time, on any machine.

    Parameters
    ----------
    scene : Scene
        The scene.
    meteorology : str
        Checksum of its meteorology aggregate.
    engine : str
        Version of the transport engine.

    Returns
    -------
    dict of str to list of Batch
        The batches of every shard; a shard without receptors has none.
    """
    size = int(min(max(BATCH_CPU_SECONDS / scene.transport.predicted_cpu, 1), BATCH_RECEPTORS))
    made_with = digest([meteorology, engine, scene.transport.identity])
    shards: dict[str, list[Receptor]] = {shard: [] for shard in SHARDS}
    for receptor in sorted(scene.receptor_list, key=lambda r: r.id):
        shards[receptor.shard].append(receptor)
    return {
        shard: [
            Batch(shard, n, tuple(group), digest([made_with, [r.id for r in group]]))
            for n, group in enumerate(members[i : i + size] for i in range(0, len(members), size))
        ]
        for shard, members in shards.items()
    }


def remove_strangers(shards: Mapping[str, Sequence[Batch]], shelf_of: Callable[[str], Shelf], ending: str) -> None:
    """Remove part files that no batch of their shard has, left by an earlier spec, so that nothing counts twice."""
    for shard, batches in shards.items():
        wanted = {f"{batch.name}{ending}" for batch in batches}
        shelf = shelf_of(shard)
        for name in shelf.names():
            if name.startswith("part-") and name not in wanted:
                shelf.remove(name)


class Shelf(Protocol):
    """One folder of the store."""

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of *name*, or None; all of it will be read, or else some of it."""

    def put(self, path: Path, name: str) -> None:
        """Move a finished file of this machine to *name*, all at once."""

    def names(self) -> list[str]:
        """Return the names of what is there."""

    def remove(self, name: str) -> None:
        """Remove *name*."""


def kept(shelf_of: Callable[[str], Shelf], shards: Iterable[str]) -> Callable[[str], Shelf]:
    """Return the same shelf for a shard each time: it knows what it has listed."""
    return {shard: shelf_of(shard) for shard in shards}.__getitem__


@dataclass
class Report:
    """What a step did to a scene's receptors.

    Attributes
    ----------
    outcomes : Counter of str
        Receptors by status: ok, empty, failed.
    reasons : Counter of str
        Failed receptors by reason.
    failures : list of Outcome
        The first failed ones.
    made, kept : int
        Receptors done by this run, and found done.
    files, bytes, rows : int
        Part files, their size, and the particle rows in them.
    seconds, cpu_seconds : float
        Time and CPU this run spent, its children included.
    influence : ndarray
        Of footprints: the sum over receptors and hours, shape ``(lat, lon)``.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    made: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    rows: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    influence: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def add_part(self, outcomes: Iterable[Outcome], size: int, rows: int = 0) -> None:
        """Add a part file: its outcomes, its size, and the rows in it."""
        self.files += 1
        self.bytes += size
        self.rows += rows
        for outcome in outcomes:
            self.outcomes[outcome.status] += 1
            if outcome.status == "failed":
                self.reasons[outcome.reason] += 1
                if len(self.failures) < 20:
                    self.failures.append(outcome)

    @property
    def receptors(self) -> int:
        """All receptors."""
        return sum(self.outcomes.values())

    @property
    def failed_fraction(self) -> float:
        """Share of receptors that failed."""
        return self.outcomes["failed"] / self.receptors if self.receptors else 0.0

    @property
    def receptors_per_core_hour(self) -> float:
        """Receptors done an hour of CPU."""
        return self.made / self.cpu_seconds * 3600 if self.cpu_seconds else 0.0


#: Told of every unit of work that ends: receptors done and in all.
Progress = Callable[[int, int], None]


class Part(Protocol):
    """A part file in the making."""

    @property
    def path(self) -> Path:
        """Where it is written before it is published."""

    @property
    def work(self) -> Sequence[Callable[[], Any]]:
        """What to compute, each in a thread of its own; results are added in this order."""

    def add(self, result: Any) -> int:
        """Write the next result; return how many receptors it is."""

    def close(self) -> Callable[[], None]:
        """Finish the file; return what publishes it, to be called in a thread of its own."""

    def abort(self) -> None:
        """Drop what was written."""


def ahead(use: Callable[[S], T], items: Iterable[S]) -> Generator[tuple[S, T], None, None]:
    """Yield each item and what *use* returns for it, in order, a few being worked on ahead in threads.

    Raises
    ------
    Exception
        What *use* raised, at the item it was raised for.
    """
    pool = ThreadPoolExecutor(TRANSFERS, thread_name_prefix="stilt-ahead")
    waiting: deque[tuple[S, Future[T]]] = deque()
    source = iter(items)
    try:
        while True:
            for item in islice(source, TRANSFERS - len(waiting)):
                waiting.append((item, pool.submit(use, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def run_parts(parts: Iterable[Part], workers: int, stop: Callable[[], None], tell: Callable[[int], None]) -> None:
    """Compute and publish parts, keeping every worker busy across them.

    Parts are taken one after the other as workers become free, so that memory does not grow with their number. Finished
    ones are published in threads beside the work, a few at a time; all are when this returns.

    Parameters
    ----------
    parts : iterable of Part
        What to make.
    workers : int
        Threads; each waits for one hycs_std, or runs compiled code, so that they keep as many cores busy.
    stop : callable
        Ends computations under way. Called when anything goes wrong, or the run is told to end: parts that are
        finished are published, others are dropped.
    tell : callable
        Called with the number of receptors a result was.

    Raises
    ------
    Exception
        The first error of a computation, of writing or of publishing; later parts are not begun.
    """
    waiting: deque[tuple[Part, deque[Future[Any]]]] = deque()
    running: set[Future[Any]] = set()
    source = iter(parts)
    todo: Iterator[Callable[[], Any]] = iter(())
    pool = ThreadPoolExecutor(workers, thread_name_prefix="stilt")
    publisher = ThreadPoolExecutor(TRANSFERS, thread_name_prefix="stilt-publish")
    published: deque[Future[None]] = deque()
    try:
        more = True
        while more or waiting:
            while more and len(running) < 2 * workers:
                try:
                    running.add(future := pool.submit(next(todo)))
                    waiting[-1][1].append(future)
                except StopIteration:
                    part = next(source, None)
                    more = part is not None
                    if part is not None:
                        waiting.append((part, deque()))
                        todo = iter(part.work)
            # Results join their part in order; a part is closed when its last has, and no more is to come. A slow
            # receptor holds up its own part only.
            for part, futures in tuple(waiting):
                while futures and futures[0].done():
                    result = futures.popleft().result()
                    with writing(part.path):
                        tell(part.add(result))
                if not futures and not (more and part is waiting[-1][0]):
                    with writing(part.path):
                        publish = part.close()
                    waiting.remove((part, futures))
                    published.append(publisher.submit(publish))
            # Files that wait to be published take space: the work waits for them when they become many.
            while published and (published[0].done() or len(published) > 2 * TRANSFERS):
                published.popleft().result()
            if running:
                _, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in published:
            future.result()
    except BaseException as error:
        stop()
        pool.shutdown(wait=True, cancel_futures=True)
        for part, _ in waiting:
            with suppress(Exception):
                part.abort()
        publisher.shutdown(wait=True, cancel_futures=isinstance(error, StoreUnavailable))
        raise
    pool.shutdown()
    publisher.shutdown()


class Meter:
    """Time and CPU since it was made, of this process and the children it waited for."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._cpu = self._spent()

    @staticmethod
    def _spent() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))

    def into(self, report: Report) -> None:
        """Record what was spent."""
        report.seconds = time.monotonic() - self._start
        report.cpu_seconds = self._spent() - self._cpu


def run_shards(
    shards: Mapping[str, Sequence[Batch]],
    find: Callable[[Batch], T],
    begin: Callable[[Batch, T], tuple[Part | None, int]],
    shelf_of: Callable[[str], Shelf],
    ending: str,
    report: Report,
    *,
    workers: int,
    stop: Callable[[], None],
    progress: Progress,
) -> None:
    """Make the part files of whole shards, and remove those no batch has.

    Parameters
    ----------
    shards : mapping of str to sequence of Batch
        The shards.
    find : callable
        Returns what there is of a batch; called in threads, ahead of its turn.
    begin : callable
        Returns what is to be made of a batch, of which that was found, or None, and how many of its receptors are done.
    shelf_of : callable
        The store's folder of a shard.
    ending : str
        Of the part files' names.
    report : Report
        Where receptors kept and made, time and CPU are counted.
    workers : int
        Threads.
    stop : callable
        Ends computations under way.
    progress : callable
        Told of receptors done and in all.
    """
    meter = Meter()
    total, done = sum(len(b.receptors) for members in shards.values() for b in members), 0

    def tell(n: int) -> None:
        nonlocal done
        done += n
        progress(done, total)

    def parts() -> Generator[Part, None, None]:
        for batch, found in ahead(find, (b for members in shards.values() for b in members)):
            part, kept = begin(batch, found)
            report.kept += kept
            report.made += len(batch.receptors) - kept
            if kept:
                tell(kept)
            if part is not None:
                yield part

    with closing(parts()) as source:
        run_parts(source, workers, stop, tell)
    remove_strangers(shards, shelf_of, ending)
    meter.into(report)
