"""Making part files: a pool that keeps every core busy across them, and threads that fetch and publish beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import StoreError, StoreUnavailable
from stilt_dagster.science.outcomes import Meter, Report
from stilt_dagster.science.part_index import IndexedFolder, remove_stale_parts
from stilt_dagster.science.scratch import writing

#: Parts that are fetched ahead of their use, and published behind it, at a time: threads that wait for a remote store.
TRANSFERS = 4

S = TypeVar("S")
T = TypeVar("T")

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


def prefetch(use: Callable[[S], T], items: Iterable[S], threads: int = TRANSFERS) -> Generator[tuple[S, T], None, None]:
    """Yield each item and what *use* returns for it, in order, a few being worked on ahead in threads.

    Raises
    ------
    Exception
        What *use* raised, at the item it was raised for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="stilt-prefetch")
    waiting: deque[tuple[S, Future[T]]] = deque()
    source = iter(items)
    try:
        while True:
            for item in islice(source, threads - len(waiting)):
                waiting.append((item, pool.submit(use, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def run_parts(
    parts: Iterable[Part], workers: int, stop: Callable[[], None], report_progress: Callable[[int], None]
) -> None:
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
    report_progress : callable
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
                        report_progress(part.add(result))
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


def run_shards(
    shards: Mapping[str, Sequence[Batch]],
    find: Callable[[Batch], T],
    begin: Callable[[Batch, T], tuple[Part | None, int]],
    folder_of: Callable[[str], IndexedFolder],
    ending: str,
    report: Report,
    *,
    workers: int,
    stop: Callable[[], None],
    report_progress: Progress,
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
    folder_of : callable
        The store's folder of a shard.
    ending : str
        Of the part files' names.
    report : Report
        Where receptors kept and made, time and CPU are counted.
    workers : int
        Threads.
    stop : callable
        Ends computations under way.
    report_progress : callable
        Told of receptors done and in all.
    """
    meter = Meter()
    total, done = sum(len(b.receptors) for members in shards.values() for b in members), 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        report_progress(done, total)

    def parts() -> Generator[Part, None, None]:
        for batch, found in prefetch(find, (b for members in shards.values() for b in members)):
            part, kept = begin(batch, found)
            report.kept += kept
            report.made += len(batch.receptors) - kept
            if kept:
                count(kept)
            if part is not None:
                yield part

    try:
        with closing(parts()) as source:
            run_parts(source, workers, stop, count)
        remove_stale_parts(shards, folder_of, ending)
    finally:
        with suppress(StoreError):  # the index only saves work
            for shard, members in shards.items():
                if members:
                    folder_of(shard).save()
    meter.add_to(report)
