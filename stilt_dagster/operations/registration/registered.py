"""Which scenes have a partition, without loading Dagster where its instance is the default one, a few SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

#: Where a default instance keeps its partitions, below ``DAGSTER_HOME``.
_DATABASE = Path("history/runs/index.db")


def registered_scenes(home: Path, open_instance: Callable[[], dg.DagsterInstance]) -> set[str]:
    """Return the scenes that have a partition.

    Parameters
    ----------
    home : Path
        ``DAGSTER_HOME``.
    open_instance : callable
        Opens the instance, which takes a second longer: for others than the default one.
    """
    settings = home / "dagster.yaml"
    if not home.is_dir():
        return set()
    text = settings.read_text() if settings.is_file() else ""
    if "storage" not in text and (home / _DATABASE).is_file():
        try:
            with closing(sqlite3.connect(f"{(home / _DATABASE).as_uri()}?mode=ro", uri=True)) as database:
                query = "select partition from dynamic_partitions where partitions_def_name = 'scenes'"
                return {name for (name,) in database.execute(query)}
        except sqlite3.Error:
            pass  # laid out otherwise than it was: Dagster knows
    return set(open_instance().get_dynamic_partitions("scenes"))
