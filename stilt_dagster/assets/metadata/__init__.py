"""What an asset records of what it did: metadata, pictures, and the failure of a run that lost too many receptors."""

from stilt_dagster.assets.metadata.definition import STAGES, described
from stilt_dagster.assets.metadata.keys import KEYS
from stilt_dagster.assets.metadata.outcomes import (
    add_shard_metadata,
    picture,
    raise_if_too_many_failed,
    report_metadata,
)

__all__ = [
    "KEYS",
    "STAGES",
    "add_shard_metadata",
    "described",
    "picture",
    "raise_if_too_many_failed",
    "report_metadata",
]
