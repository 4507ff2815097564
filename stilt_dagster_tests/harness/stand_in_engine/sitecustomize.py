"""Puts a stand-in in the place of the native engine, in every Python whose `PYTHONPATH` names this folder."""

import importlib.abc
import importlib.util
import sys
from pathlib import Path


class _StandIn(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname != "stilt_dagster.science.transport.native.engine":
            return None
        return importlib.util.spec_from_file_location(fullname, Path(__file__).with_name("native_engine.py"))


sys.meta_path.insert(0, _StandIn())
