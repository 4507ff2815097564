"""The environment variables that are read: ``STILT_STORE``, ``STILT_MET``, and of a deployment two more."""

from __future__ import annotations

import os
from pathlib import Path

from stilt_dagster.science.errors import StoreError


def store_url() -> str:
    """Return where the store is: ``STILT_STORE``, by default ``./data``; a directory as an absolute path."""
    return _located(os.environ.get("STILT_STORE") or "./data")


def meteorology_root() -> str:
    """Return where meteorology archives are: ``STILT_MET``; empty for NOAA's public ones."""
    return _located(os.environ.get("STILT_MET") or "")


def is_automatic() -> bool:
    """Return whether sensors run from the start (``STILT_AUTOMATION=on``); else a person turns them on in the UI."""
    return os.environ.get("STILT_AUTOMATION", "").lower() in ("on", "1", "true")


def deployed_domains() -> str:
    """Return the directory of domains a deployment brings, besides those of the store: ``STILT_DOMAINS``, or none."""
    return _located(os.environ.get("STILT_DOMAINS") or "")


def _located(place: str) -> str:
    if "@" in place.partition("://")[2].partition("/")[0]:  # it would be in every message that names a file
        raise StoreError("STILT_STORE and STILT_MET name places, without credentials: give those as the provider says")
    return place if not place or "://" in place else str(Path(place).expanduser().resolve())
