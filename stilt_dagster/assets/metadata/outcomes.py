"""What an asset records of what it did: metadata, pictures, and the failure of a run that lost too many receptors."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from stilt_dagster.operations.log import log_of_failures
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import counted
from stilt_dagster.science.footprints.footprint_files import STATUS
from stilt_dagster.science.outcomes import Report


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a PNG as metadata the UI shows inline."""
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")


def report_metadata(report: Report) -> dict[str, Any]:
    """Return what a person wants to know of a step."""
    failures = "\n".join(f"- `{o.receptor}` {o.reason}: {o.message}" for o in report.failures)
    more = report.outcomes["failed"] - len(report.failures)
    return {
        "stilt/receptors": report.receptors,
        **{f"stilt/receptors_{status}": report.outcomes[status] for status in STATUS},
        "stilt/receptors_made": report.made,
        "stilt/receptors_kept": report.kept,
        "stilt/cpu_seconds": round(report.cpu_seconds, 1),
        "stilt/wall_seconds": round(report.seconds, 1),
        "stilt/receptors_per_core_hour": round(report.receptors_per_core_hour, 1),
        "stilt/files": report.files,
        "stilt/bytes": report.bytes,
        **(
            {"stilt/failures": dg.MetadataValue.md(failures + (f"\n- and {more} more" if more else ""))}
            if failures
            else {}
        ),
    }


def add_shard_metadata(
    context: dg.AssetExecutionContext, metadata: Mapping[str, Any], rows: Mapping[str, int], shown: Mapping[str, Any]
) -> None:
    """Record what a run did with each of its shards.

    Parameters
    ----------
    context : AssetExecutionContext
        Of the run.
    metadata : mapping
        Recorded with every shard: it is of all of them.
    rows : mapping of str to int
        Rows of each shard.
    shown : mapping
        Large, and so recorded with the last shard alone, the one the UI shows.
    """
    context.add_output_metadata(dict(metadata))
    keys = sorted(context.partition_keys)
    for key in keys:
        own = {"dagster/row_count": rows[key.partition("|")[2]], **(shown if key == keys[-1] else {})}
        context.add_asset_metadata(own, asset_key=context.asset_key, partition_key=key)


def raise_if_too_many_failed(stored: StoredScene, report: Report) -> None:
    """Fail the run when it lost more receptors than the scene may.

    Raises
    ------
    dagster.Failure
        With the count, the first reason, and the end of HYSPLIT's log.
    """
    scene = stored.spec
    if report.failed_fraction > scene.max_failed_fraction:
        first = report.failures[0]
        reasons = ", ".join(f"{n} {reason}" for reason, n in report.reasons.most_common())
        raise dg.Failure(
            f"{report.outcomes['failed']} of {counted(report.receptors, 'receptor')} failed ({reasons}), more than "
            f"max_failed_fraction {scene.max_failed_fraction:g} of scene {scene.id}; first {first.receptor}: "
            f"{first.message}. What succeeded is kept: fix the cause and run it again, or raise the fraction",
            metadata={
                **report_metadata(report),
                "stilt/hysplit_log": dg.MetadataValue.md(log_of_failures(stored, report.failures)),
            },
            allow_retries=False,
        )
