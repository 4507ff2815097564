"""Run config of the assets made of part files: what a run does again."""

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
