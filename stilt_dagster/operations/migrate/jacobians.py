"""Jacobians with compressed entries, as version 0.1 wrote them first: the same file, entries as they are mapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.footprints.footprint_files import TEXT
from stilt_dagster.science.jacobian.jacobian_files import create_file
from stilt_dagster.science.jacobian.reading import read_jacobian_file
from stilt_dagster.science.scratch import Source, require_space, size_of, writing

#: Values copied and compared at a time.
_BLOCK = 1 << 20

_ENTRIES = ("indices", "data")

#: What HDF5 and the NetCDF library note of axes, which follows from the dimensions.
_HIDDEN = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")


def compressed_size(source: Source) -> tuple[int, str] | None:
    """Return the size of a jacobian whose entries are compressed, bytes, and its key; None if they are not.

    Raises
    ------
    OSError, KeyError
        If the file is not a whole jacobian.
    """
    with h5py.File(source, "r") as file:
        if all(file[name].compression is None for name in _ENTRIES):
            return None
        return size_of(source), str(file.attrs["stilt_key"])


def write_uncompressed(path: Path, destination: Path, name: str) -> int:
    """Write a jacobian again with entries that are not compressed, and make sure that all else is the same.

    Parameters
    ----------
    path : Path
        The file.
    destination : Path
        The file to write; complete, and equal, only once this returns.
    name : str
        What errors call it.

    Returns
    -------
    int
        The size of the new file, bytes.

    Raises
    ------
    JacobianError
        If the file is damaged, or what was written does not read as what was there.
    StoreError
        If there is no room.
    """
    known = read_jacobian_file(path, name)
    with writing(destination):
        require_space(destination, 12 * int(known.indptr[-1]) + 2 * path.stat().st_size + (1 << 20))
        try:
            with h5netcdf.File(path, "r") as old, create_file(destination) as new:
                _copy(old, new)
        except (OSError, RuntimeError) as error:
            if not isinstance(error, OSError) or error.errno is None:  # HDF5's, of entries that do not unpack
                raise JacobianError(f"{name} is damaged inside ({error}): make it again") from error
            raise
    with h5py.File(path, "r") as before, h5py.File(destination, "r") as after:
        if (where := _difference(before, after)) or compressed_size(destination) is not None:
            raise JacobianError(f"{name} cannot be written again: {where or 'its entries'} would differ; keep it")
    read_jacobian_file(destination, name)
    return destination.stat().st_size


def _copy(old: h5netcdf.Group, new: h5netcdf.Group) -> None:
    """Copy dimensions, variables, attributes and groups, compressed as they are, but for the entries of the matrix."""
    for name, dimension in old.dimensions.items():
        new.dimensions[name] = None if dimension.isunlimited() else dimension.size
    plain = _ENTRIES if isinstance(new, h5netcdf.File) else ()
    for name, variable in old.variables.items():
        made = _created(new, name, variable, packed=name not in plain)
        for block in _blocks(variable.shape):
            made[block] = variable[block]
        made.attrs.update({k: v for k, v in variable.attrs.items() if k != "_FillValue"})
    new.attrs.update(dict(old.attrs))
    for name, group in old.groups.items():
        _copy(group, new.create_group(name))


def _created(group: h5netcdf.Group, name: str, like: h5netcdf.Variable, *, packed: bool) -> h5netcdf.Variable:
    """Create a variable as another one is, compressed only if *packed*."""
    options: dict[str, Any] = {}
    if packed and like.compression is not None:
        options = {
            "chunks": like.chunks,
            "compression": like.compression,
            "compression_opts": like.compression_opts,
            "shuffle": like.shuffle,
        }
    kind = TEXT if like.dtype.kind == "O" or like.dtype is str else like.dtype
    return group.create_variable(name, like.dimensions, kind, fillvalue=like.attrs.get("_FillValue"), **options)


def _blocks(shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield what to take of an array at a time: some of its rows, all of a scalar."""
    if not shape:
        yield ...
        return
    step = max(_BLOCK // max(int(np.prod(shape[1:])), 1), 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _difference(before: h5py.Group, after: h5py.Group) -> str:
    """Return the name of something that two files do not have alike; empty if there is nothing."""
    if set(before) != set(after):
        return sorted(set(before) ^ set(after))[0]
    if not _same_attributes(before, after):
        return f"attributes of {before.name}"
    for name, old in before.items():
        new = after[name]
        if isinstance(old, h5py.Group):
            if where := _difference(old, new):
                return where
        elif (old.shape, old.dtype) != (new.shape, new.dtype) or _axes(old) != _axes(new):
            return name
        elif not _same_attributes(old, new):
            return f"attributes of {name}"
        elif any(not _same(old[block], new[block]) for block in _blocks(old.shape)):
            return name
    return ""


def _axes(variable: h5py.Dataset) -> list[list[str]]:
    return [[scale.name for scale in axis.values()] for axis in variable.dims]


def _same_attributes(old: h5py.HLObject, new: h5py.HLObject) -> bool:
    ours, theirs = ({k: v for k, v in o.attrs.items() if k not in _HIDDEN} for o in (old, new))
    ours.pop("_NCProperties", None), theirs.pop("_NCProperties", None)  # which library wrote it
    return ours.keys() == theirs.keys() and all(_same(np.asarray(ours[k]), np.asarray(theirs[k])) for k in ours)


def _same(old: NDArray[Any], new: NDArray[Any]) -> bool:
    """Return whether arrays are the same to the bit."""
    if old.dtype != new.dtype or old.shape != new.shape:
        return False
    return bool(np.array_equal(old, new)) if old.dtype.kind == "O" else old.tobytes() == new.tobytes()
