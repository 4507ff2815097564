"""Files of this machine: scratch directories that a killed run does not leave behind for good, and full disks."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from stilt_dagster.science.errors import StoreError

#: Names of scratch directories: whose processes their numbers are of, the process, and anything.
_NAME = re.compile(r"stilt-([0-9a-f]{12})-(\d{1,10})-\w+")

#: Scratch of which nobody can tell whether its process lives is taken for abandoned when nothing was put there or taken
#: away for so long, s: far longer than a simulation.
_ABANDONED = 3 * 86_400.0

#: A file of this machine, or an open one that may be elsewhere.
Source = Path | BinaryIO


def size_of(source: Source) -> int:
    """Return the size of a file, bytes."""
    return source.stat().st_size if isinstance(source, Path) else source.seek(0, io.SEEK_END)


@cache
def _processes() -> str:
    """Return whose processes this process's number is one of: this machine's, since it started, in this container.

    A store's scratch is shared by nodes. Their names alone do not tell them apart: those of containers may be the same,
    and one may go on as another with a number does.
    """
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        known.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """Give a directory that goes when the block ends, and clear those of dead processes.

    Parameters
    ----------
    parent : Path, optional
        Where to make it; the system's temporary directory by default.

    Raises
    ------
    StoreError
        If it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _clear(parent)
        path = Path(tempfile.mkdtemp(prefix=f"stilt-{_processes()}-{os.getpid()}-", dir=parent))
    except OSError as error:
        raise StoreError(
            f"cannot make a scratch directory in {parent}: {error.strerror}; set TMPDIR or STILT_STORE to one with room"
        ) from error
    try:
        yield path.resolve()
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full or failing disk into an error that names it, whichever library met it.

    Raises
    ------
    StoreError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        known = ("No space left on device", "File too large", "Disk quota exceeded", "Read-only file system")
        what = next((k for k in known if k in str(error)), error.strerror or str(error))
        raise StoreError(f"cannot write {path}: {what}; free space there, or set STILT_STORE and TMPDIR") from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name to write to that becomes *path* when the block ends well, and goes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def require_space(path: Path, size: int) -> None:
    """Make sure that a file of *size* bytes can be written at *path*.

    For libraries that do not survive a full disk: HDF5 crashes in cleaning up, a mapped file ends the process.

    Raises
    ------
    OSError
        ENOSPC, as writing would.
    """
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _clear(parent: Path) -> None:
    """Remove this user's scratch of processes that are gone, and of unknown ones what was abandoned long ago."""
    for path in parent.glob("stilt-*"):
        if (named := _NAME.fullmatch(path.name)) is None:
            continue
        with suppress(FileNotFoundError):  # gone meanwhile: its process lives, and was done with it
            known = path.stat()
            if known.st_uid != os.getuid():
                continue
            gone = not _alive(int(named[2])) if named[1] == _processes() else known.st_mtime < time.time() - _ABANDONED
            if gone:
                shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
