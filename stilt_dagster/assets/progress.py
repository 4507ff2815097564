"""Progress of long work: a bar in a terminal, else a few log lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from stilt_dagster.science.errors import counted

#: Seconds between two log lines at least: each is an event, and short work tells of itself when it ends.
_LINE_EVERY = 30.0


@contextmanager
def progress_of(context: dg.AssetExecutionContext, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress: a bar in a terminal, else a log line each quarter of long work, so that events stay few."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(f"{what:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    quarters, last = 0, time.monotonic()

    def log(done: int, total: int) -> None:
        nonlocal quarters, last
        now = time.monotonic()
        if done < total and (passed := 4 * done // total) > quarters and now - last > _LINE_EVERY:
            quarters, last = passed, now
            context.log.info(f"{what}: {done} of {counted(total, 'receptor')}")

    yield log
