"""What an asset records of what it did: metadata, pictures, and the failure of a run that lost too many receptors."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from stilt_dagster.science.outcomes import Report
from stilt_dagster.science.scenes.spec import Scene


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


def add_shard_metadata(
    context: dg.AssetExecutionContext, metadata: Mapping[str, Any], shown: Mapping[str, Any]
) -> None:
    """Record *metadata* with every shard, and *shown*, which is large, with the last alone: the one the UI shows."""
    context.add_output_metadata(dict(metadata))
    context.add_asset_metadata(
        dict(shown), asset_key=context.asset_key, partition_key=sorted(context.partition_keys)[-1]
    )


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
            f"{first.message}. What succeeded is kept: fix the cause and run it again, or raise the fraction",
            metadata=report_metadata(report),
            allow_retries=False,
        )
