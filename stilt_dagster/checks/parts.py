"""What checks of assets made of part files share: how all parts of a scene ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.outcomes import PartSummary
from stilt_dagster.science.scenes.receptors import SHARDS

#: Lines of a list a person is shown.
_LINES = 20


def summaries(
    scene: StoredScene, summary_of: Callable[[StoredScene, str, Batch], PartSummary | None]
) -> list[PartSummary]:
    """Return how the parts of a scene ended that are there, of all shards and not those of the run alone."""
    batches = [b for members in scene.batches_of(SHARDS).values() for b in members]
    return [found for b in batches if (found := summary_of(scene, b.shard, b)) is not None]


def some_of(lines: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Return the first lines of a list, and how many more there are."""
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in [*lines[:_LINES], *more]) or "none")
