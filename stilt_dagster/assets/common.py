"""What assets share: errors a person can read, metadata, pictures, progress."""

import base64
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stilt_dagster.io_managers.arl import read_description
from stilt_dagster.io_managers.scene import missing
from stilt_dagster.resources.store import Store
from stilt_dagster.science.batches import Batch, Report, plan
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.scene import Scene


class Rerun(Enum):
    """What a run does again; run config names members by their names, so these are lower case."""

    missing = "missing"
    all = "all"


class RerunConfig(dg.Config):
    """What a run does again."""

    rerun: Rerun = Field(
        Rerun.missing,
        description="missing: what is missing, failed, or was made with other inputs; all: everything.",
    )


def meteorology_of(store: Store, scene: Scene) -> str:
    """Return the checksum of a scene's meteorology aggregate, which is part of what makes all that follows.

    Raises
    ------
    IncompleteError
        If the scene has none.
    """
    description = read_description(store, scene.id)
    if description is None:
        raise missing("meteorology_aggregate", scene.id)
    return description.sha256


def planned(scene: Scene, meteorology: str, engine: str, shards: Iterable[str]) -> dict[str, list[Batch]]:
    """Return the batches of some shards of a scene."""
    batches = plan(scene, meteorology, engine)
    return {shard: batches[shard] for shard in sorted(shards)}


def check_receptors(scene: Scene, table: pd.DataFrame) -> None:
    """Make sure the receptor table is the one of the scene's spec.

    Raises
    ------
    IncompleteError
        If the spec has changed since.
    """
    if list(table["receptor"]) != [r.id for r in scene.receptor_list]:
        raise IncompleteError(f"receptors of scene {scene.id} are of an earlier spec: materialize receptors first")


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a PNG as metadata the UI shows inline."""
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")


def report_metadata(report: Report) -> dict[str, Any]:
    """Return what a person wants to know of a step."""
    failures = "\n".join(f"- `{o.receptor}` {o.reason}: {o.message}" for o in report.failures)
    more = report.outcomes["failed"] - len(report.failures)
    return {
        "receptors": report.receptors,
        **{status: report.outcomes[status] for status in ("ok", "empty", "failed") if status in report.outcomes},
        "made in this run": report.made,
        "kept from before": report.kept,
        "CPU seconds": round(report.cpu_seconds, 1),
        "duration, s": round(report.seconds, 1),
        "receptors per core-hour": round(report.receptors_per_core_hour, 1),
        "files": report.files,
        "bytes": report.bytes,
        **({"failures": dg.MetadataValue.md(failures + (f"\n- and {more} more" if more else ""))} if failures else {}),
    }


def raise_if_too_many_failed(scene: Scene, report: Report) -> None:
    """Fail the run when it lost more receptors than the scene may.

    Raises
    ------
    dagster.Failure
        With the count and the first reason.
    """
    if report.failed_fraction > scene.max_failed_fraction:
        first = report.failures[0]
        reasons = ", ".join(f"{n} {reason}" for reason, n in report.reasons.most_common())
        raise dg.Failure(
            f"{report.outcomes['failed']} of {report.receptors} receptors failed ({reasons}), more than "
            f"max_failed_fraction {scene.max_failed_fraction:g} of scene {scene.id}; first {first.receptor}: "
            f"{first.message}. What succeeded is kept: run it again after mending the cause, or raise the fraction",
            metadata=report_metadata(report),
            allow_retries=False,
        )


@contextmanager
def progress(context: dg.AssetExecutionContext, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress: a bar in a terminal, else a log line every quarter of the way, so that events stay few."""
    if sys.stderr.isatty():
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


def add_shard_metadata(
    context: dg.AssetExecutionContext, metadata: Mapping[str, Any], shown: Mapping[str, Any]
) -> None:
    """Record *metadata* with every shard, and *shown*, which is large, with the last alone: the one the UI shows."""
    context.add_output_metadata(dict(metadata))
    context.add_asset_metadata(
        dict(shown), asset_key=context.asset_key, partition_key=sorted(context.partition_keys)[-1]
    )
