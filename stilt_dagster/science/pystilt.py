"""The one module that knows pystilt: what of it is used, under the names used here.

pystilt is young and pinned; each of these has a contract test, so that an upgrade that moves one says so.
"""

from __future__ import annotations

from stilt.exceptions import HYSPLITNotFoundError
from stilt.receptors import ColumnReceptor, MultiPointReceptor, PointReceptor
from stilt.transport.hysplit import HysplitConfig, write_inputs
from stilt.transport.hysplit.driver import HYCS_STD_FILE, LOG_FILE, PARTICLE_STILT_FILE, WARNING_FILE
from stilt.transport.hysplit.driver import _bundled_exe_dir as bundled_exe_dir
from stilt.transport.hysplit.failures import failure_in

__all__ = [
    "HYCS_STD_FILE",
    "LOG_FILE",
    "PARTICLE_STILT_FILE",
    "WARNING_FILE",
    "ColumnReceptor",
    "HYSPLITNotFoundError",
    "HysplitConfig",
    "MultiPointReceptor",
    "PointReceptor",
    "bundled_exe_dir",
    "failure_in",
    "write_inputs",
]
