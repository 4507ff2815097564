"""Entries of a jacobian's file, a block at a time: mapped, fetched by ranges, or unpacked, as the file has them.

A block is in memory from when it is read to when its arrays go; nothing is kept open between blocks, so that a matrix
of thousands of files takes no more of what a process may have open than one.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.reading import JacobianFile, Stored

#: Reads ahead of their use where the system can: one request to the disk instead of one a few pages.
_MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)


def read_entries(file: JacobianFile, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return columns, unsigned, and values of some entries of a file.

    Parameters
    ----------
    file : JacobianFile
        The file.
    start, stop : int
        First entry, and the one after the last.

    Raises
    ------
    JacobianError
        If the file is not what it was when it was opened, or cannot be read.
    """
    if file.stored is None:
        return _unpacked(file, start, stop)
    columns, data = (_aligned(_plain(file, stored, start, stop)) for stored in file.stored)
    return columns, data


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    """Return values at addresses that are multiples of their size, as those of our own files are."""
    values = values if values.flags.aligned else values.copy()
    values.flags.writeable = False  # the one kind of array that loops are compiled for
    return values


def _plain(file: JacobianFile, stored: Stored, start: int, stop: int) -> NDArray[Any]:
    """Return values that lie in the file as they are in memory."""
    kind = stored.kind
    first, size = stored.offset + start * kind.itemsize, (stop - start) * kind.itemsize
    if size == 0:
        return np.zeros(0, kind)
    if not isinstance(file.source, Path):
        return np.frombuffer(file.source.read(first, first + size), kind)
    aligned = first // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    try:
        with file.source.open("rb") as opened:
            file.require_unchanged(opened.fileno())
            mapped = mmap.mmap(opened.fileno(), first - aligned + size, _MAP, mmap.PROT_READ, offset=aligned)
    except (OSError, ValueError) as error:
        raise JacobianError(f"{file.name} cannot be read any more ({error}): open it again") from error
    return np.frombuffer(mapped, kind, stop - start, first - aligned)


def _unpacked(file: JacobianFile, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return values of a file that has them in compressed chunks, as files of the first version do."""
    try:
        with file.opened() as opened, h5py.File(opened, "r") as h5:
            columns, data = h5["indices"][start:stop], h5["data"][start:stop]
    except (OSError, KeyError, RuntimeError) as error:
        raise JacobianError(f"{file.name} cannot be read ({error}): make it again, or open it again") from error
    signed = columns.astype(np.int64 if columns.dtype.itemsize > 4 else np.int32, copy=False)
    unsigned = signed.view(np.uint64 if signed.itemsize == 8 else np.uint32)
    return _aligned(unsigned), _aligned(data.astype(np.float32, copy=False))
