"""Stores and instances of earlier versions, unpacked into projects of their own."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.upgrades.make_fixtures import ERAS, HERE

VALLEY, GRANULE, WINDY = "valley-20230715t0920", "tropomi-slc-20230715-o29801", "windy-20230715t0920"

#: Scenes of an era beside the valley.
SCENES = {
    era: [VALLEY, *([GRANULE] if "retrieval" in has else []), *([WINDY] if "errors" in has else [])]
    for era, (_, has) in ERAS.items()
}


def unpack(era: str, path: Path) -> Project:
    """Return the project an era's version left; there is no meteorology, so that nothing can be simulated in it."""
    project = Project(path, path / "no-meteorology")
    with tarfile.open(HERE / f"{era}.tar.xz") as archive:
        archive.extractall(path, filter="data")
    return project


def content(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a folder, by name."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
