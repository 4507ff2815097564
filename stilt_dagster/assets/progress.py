"""Progress of long work: a bar in a terminal, else a few log lines."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def progress_of(context: dg.AssetExecutionContext, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress: a bar in a terminal, else a log line every quarter of the way, so that events stay few."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(f"{what:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    quarters = 0

    def log(done: int, total: int) -> None:
        nonlocal quarters
        if total and (now := 4 * done // total) > quarters:
            quarters = now
            context.log.info(f"{what}: {done} of {total} receptors")

    yield log
