"""The keys of what assets record, from where they are declared."""

from __future__ import annotations

from generate.tables import code, table
from stilt_dagster.assets.metadata.keys import KEYS


def metadata_keys() -> str:
    """Return every key with its units and meaning."""
    return table(("key", "units", "meaning"), [(code(name), key.units, key.meaning) for name, key in KEYS.items()])
