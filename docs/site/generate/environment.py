"""Environment variables: those the code reads, and those a cluster's instance is put together of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from generate.tables import code, table
from stilt_dagster.settings import ENVIRONMENT

_INSTANCE = Path(__file__).parents[3] / "deploy/chart/dagster.yaml"


def environment() -> str:
    """Return what the code reads."""
    rows = []
    for name, meaning in ENVIRONMENT.items():
        text, default = re.fullmatch(r"(.*?)(?: Default: (.*)\.)?", meaning).groups()  # type: ignore[union-attr]
        rows.append((code(name), text, default or ""))
    return table(("variable", "meaning", "default"), rows)


def cluster_environment() -> str:
    """Return which settings of a cluster's instance come from the environment."""
    instance = yaml.safe_load(_INSTANCE.read_text())
    rows = [(code(name), code(".".join(path))) for path, name in _named(instance, ())]
    return table(("variable", "setting of `dagster.yaml`"), sorted(rows))


def _named(part: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(part, dict):
        if set(part) == {"env"}:
            yield path, part["env"]
            return
        for name, inside in part.items():
            yield from _named(inside, (*path, str(name)))
