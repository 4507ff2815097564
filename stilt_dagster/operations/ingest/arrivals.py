"""What Dagster records of a source as an asset: that granules came, by which it tells how fresh the source is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from stilt_dagster.operations.ingest.scan import Scan


def source_key(name: str) -> dg.AssetKey:
    """Return the asset a source of retrievals is."""
    return dg.AssetKey(["sources", name])


def record_scan(instance: dg.DagsterInstance, source: str, found: Scan) -> None:
    """Record that granules of a source came: one event a scan that handled any, however many they were."""
    numbers = {
        "stilt/scenes_new": len(found.new),
        "stilt/scenes_replaced": len(found.replaced),
        "stilt/granules_unchanged": found.unchanged,
        "stilt/granules_skipped": len(found.skipped),
    }
    if not any(numbers.values()):
        return
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            source_key(source),
            description=found.summary(),
            metadata={
                **numbers,
                "stilt/granules_waiting": len(found.waiting),
                "stilt/granules_given_up": len(found.failed),
                "stilt/files": found.listed,
                **({"stilt/newest_file": dg.MetadataValue.timestamp(found.newest[0])} if found.newest[1] else {}),
            },
        )
    )
