"""The two environment variables that are read: ``STILT_STORE`` and ``STILT_MET``."""

from __future__ import annotations

import os
from pathlib import Path


def store_url() -> str:
    """Return where the store is: ``STILT_STORE``, by default ``./data``; a directory as an absolute path."""
    return _located(os.environ.get("STILT_STORE") or "./data")


def meteorology_root() -> str:
    """Return where meteorology archives are: ``STILT_MET``; empty for NOAA's public ones."""
    return _located(os.environ.get("STILT_MET") or "")


def _located(place: str) -> str:
    return place if not place or "://" in place else str(Path(place).expanduser().resolve())
