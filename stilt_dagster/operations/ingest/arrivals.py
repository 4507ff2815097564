"""What a scan of a source found, and what Dagster records of it: that granules came, and so how fresh the source is."""

from __future__ import annotations

from dataclasses import dataclass, field

import dagster as dg

from stilt_dagster.science.errors import counted


@dataclass
class Scan:
    """What a scan found.

    Attributes
    ----------
    new, replaced : list of str
        Scenes registered, and registered anew from a newer version.
    unchanged : int
        Granules that changed nothing: known content, or an older version.
    skipped, waiting, failed : list of (str, str)
        Files no scene was made of, that will be tried again, and that were given up: name and reason.
    listed : int
        Files there are.
    finished : bool
        Whether all were looked at.
    newest : (float, str)
        The file that changed last, of those handled: when, and its name.
    unrequested : list of str
        Scenes of earlier scans whose first run may not have been asked for.
    """

    new: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    listed: int = 0
    finished: bool = True
    newest: tuple[float, str] = (0.0, "")
    unrequested: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what a person wants to know, a line each."""
        lines = [f"{name}: registered" for name in self.new]
        lines += [f"{name}: registered again, from a newer version" for name in self.replaced]
        kinds = (("skipped", self.skipped), ("tried again later", self.waiting), ("given up", self.failed))
        lines += [f"{name}: {kind}: {reason}" for kind, group in kinds for name, reason in group]
        return lines

    def summary(self) -> str:
        """Return the counts in one line."""
        return (
            f"{counted(self.listed, 'file')}: {counted(len(self.new), 'new scene')}, {len(self.replaced)} replaced, "
            f"{counted(self.unchanged, 'granule')} unchanged, {len(self.skipped)} skipped, "
            f"{len(self.waiting)} waiting, {len(self.failed)} given up" + ("" if self.finished else "; more to come")
        )


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
