"""The one place that reaches into Dagster's private modules: what is used of them, and for what.

``docs/explanation/decisions.md`` says of each why Dagster's public API does not do. A test resolves every name,
so that an upgrade that moves one fails there, in one line.
"""

# Tags and metadata that Dagster itself writes on runs and events.
from dagster._core.definitions.data_version import DATA_VERSION_TAG

# Which sensors a code server is to have, when it loads the definitions.
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

# A run of several assets, or scenes, made into one for each.
from dagster._core.definitions.selector import JobSubsetSelector

# What the last try of a run in this process said.
from dagster._core.errors import DagsterMaxRetriesExceededError

# Backfills under way.
from dagster._core.execution.backfill import BulkActionStatus

# The interfaces that launcher and queue implement, and what they are given.
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.launcher.base import CheckRunHealthResult
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator, RunQueueConfig
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    BACKFILL_ID_TAG,
    GRPC_INFO_TAG,
    MAX_RETRIES_TAG,
    PRIORITY_TAG,
    RETRY_NUMBER_TAG,
    WILL_RETRY_TAG,
)
from dagster._core.workspace.context import BaseWorkspaceRequestContext

# Cron lines of domains.
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_string

# How Dagster's queue counts its tag limits.
from dagster._utils.tags import TagConcurrencyLimitsCounter

__all__ = [
    "ACTIVE_RUN_STATUSES",
    "BACKFILL_ID_TAG",
    "DATA_VERSION_TAG",
    "GRPC_INFO_TAG",
    "MAX_RETRIES_TAG",
    "NOT_FINISHED_STATUSES",
    "PRIORITY_TAG",
    "RETRY_NUMBER_TAG",
    "WILL_RETRY_TAG",
    "BaseWorkspaceRequestContext",
    "BulkActionStatus",
    "CheckRunHealthResult",
    "DagsterMaxRetriesExceededError",
    "DefinitionsLoadContext",
    "DefinitionsLoadType",
    "JobSubsetSelector",
    "LaunchRunContext",
    "QueuedRunCoordinator",
    "RunQueueConfig",
    "SubmitRunContext",
    "TagConcurrencyLimitsCounter",
    "WorkerStatus",
    "cron_string_iterator",
    "is_valid_cron_string",
]
