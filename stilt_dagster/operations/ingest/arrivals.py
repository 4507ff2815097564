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
        "scenes/new": len(found.new),
        "scenes/replaced": len(found.replaced),
        "granules/unchanged": found.unchanged,
        "granules/skipped": len(found.skipped),
    }
    if not any(numbers.values()):
        return
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            source_key(source),
            description=found.summary(),
            metadata={
                **numbers,
                "granules/waiting": len(found.waiting),
                "granules/given_up": len(found.failed),
                "files": found.listed,
                **({"newest_file": dg.MetadataValue.timestamp(found.newest[0])} if found.newest[1] else {}),
            },
        )
    )
