"""Run config: what of an asset a run does again."""

from enum import Enum

import dagster as dg
from pydantic import Field


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


class KeepConfig(dg.Config):
    """Whether a file that was made elsewhere is taken over."""

    keep: bool = Field(
        False,
        description="Record the file of the store, if it was made of what there is now, instead of making it again.",
    )
