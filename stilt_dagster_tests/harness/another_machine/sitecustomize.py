"""Makes Python on Linux think that this machine is one hycs_std is not built for, with what macOS lacks of Linux.

A folder of its own, which `PYTHONPATH` names: every Python started with it is such a machine, children included.
"""

import os
import platform
import shutil
import sys

if sys.platform == "linux":
    platform.machine = lambda: "aarch64"
    for name in ("pidfd_open", "posix_fadvise", "sched_getaffinity", "sched_setaffinity"):
        if hasattr(os, name):
            delattr(os, name)

    _which = shutil.which
    shutil.which = lambda cmd, *args, **options: None if cmd == "setpriv" else _which(cmd, *args, **options)
