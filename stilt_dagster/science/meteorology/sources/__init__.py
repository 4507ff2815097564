"""Meteorology sources."""

from arlmet.archives import ARCHIVES as SOURCES

__all__ = ["SOURCES"]
