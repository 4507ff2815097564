"""The schema of a Dagster instance's databases: which it is, and bringing it to the one this Dagster expects."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.science.errors import UserError


@dataclass(frozen=True)
class Schema:
    """The schema of one of an instance's storages.

    Attributes
    ----------
    storage : str
        ``runs``, ``events`` or ``schedules``.
    current, wanted : str
        Its revision, empty of a database from before there were any, and that of this Dagster.
    """

    storage: str
    current: str
    wanted: str


def outdated_schemas(instance: dg.DagsterInstance) -> list[Schema]:
    """Return the storages whose schema is not that of this Dagster; none of an instance without databases."""
    storages = {
        "runs": instance.run_storage,
        "events": instance.event_log_storage,
        "schedules": instance.schedule_storage,
    }
    found = []
    for name, storage in storages.items():
        known = None if storage is None else storage.alembic_version()
        if known is not None and known[0] != known[1]:
            found.append(Schema(name, known[0] or "", known[1] or ""))
    return found


def upgrade_schemas(instance: dg.DagsterInstance) -> list[Schema]:
    """Bring an instance's databases to the schema of this Dagster, as ``dagster instance migrate`` does.

    Returns
    -------
    list of Schema
        What was behind.

    Raises
    ------
    UserError
        If a later Dagster made a database.
    """
    from alembic.util import CommandError

    outdated = outdated_schemas(instance)
    if not outdated:
        return []
    said = io.StringIO()  # a line for each run, and bars
    try:
        with redirect_stdout(said), redirect_stderr(said):
            instance.upgrade(lambda _: None)
    except CommandError as error:
        raise UserError(
            f"the Dagster instance is of a schema that Dagster {dg.__version__} does not know ({error}): go on with "
            "the version that made it, or restore the database from before"
        ) from None
    return outdated
