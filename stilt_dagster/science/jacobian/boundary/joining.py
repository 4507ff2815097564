"""Boundaries of several jacobians, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5netcdf
import numpy as np

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.footprints.footprint_files import TEXT
from stilt_dagster.science.jacobian.boundary.writing import make_entries
from stilt_dagster.science.jacobian.row_spool import BLOCK
from stilt_dagster.science.scratch import require_space

#: What bins of height are above, as CF names it, and their edges, m.
Bins = tuple[str, tuple[float, ...]]


def bins_of(file: h5netcdf.File) -> Bins | None:
    """Return a jacobian's bins of height; None if its scene keeps no boundary."""
    if "boundary" not in file.groups:
        return None
    edges = file.variables["boundary_height_bnds"][:]
    return str(file.variables["boundary_height"].attrs["standard_name"]), (*edges[:, 0].tolist(), float(edges[-1, 1]))


def require_one_boundary(bins: Sequence[Bins | None], names: Sequence[str]) -> None:
    """Make sure that jacobians on one grid have the same bins of height, or none has any.

    Raises
    ------
    JacobianError
        Naming one that differs from the first.
    """
    for some, name in zip(bins, names, strict=True):
        if some != bins[0]:
            raise JacobianError(f"{name} and {names[0]} have different boundaries: give both one background.boundary")


def concatenate_boundaries(out: h5netcdf.File, path: Path, files: Sequence[h5netcdf.File]) -> None:
    """Write the boundaries of several jacobians, which have the same cells, to *out* at *path*, a block at a time."""
    first = files[0]
    if "boundary" not in first.groups:
        return
    for name in ("side_name", "boundary_height", "boundary_height_bnds"):
        variable = first.variables[name]
        kind = TEXT if name == "side_name" else variable.dtype
        copy = out.create_variable(name, variable.dimensions, kind)
        copy[:] = variable[:]
        copy.attrs.update(dict(variable.attrs))
    groups = [file.groups["boundary"] for file in files]
    counts = np.concatenate([np.diff(group.variables["indptr"][:]) for group in groups])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    require_space(path, 8 * int(indptr[-1]) + (1 << 20))
    cell, share = make_entries(out, int(indptr[-1]), len(counts))
    start = 0
    for group in groups:
        size = int(group.variables["indptr"][-1])
        for a in range(0, size, BLOCK):
            b = min(a + BLOCK, size)
            cell[start + a : start + b] = group.variables["cell"][a:b]
            share[start + a : start + b] = group.variables["share"][a:b]
        start += size
    made = out.groups["boundary"]
    made.create_variable("indptr", ("row_bound",), "i8", data=indptr)
    made.attrs["shape"] = np.array([len(counts), int(groups[0].attrs["shape"][1])], "i8")
    made.attrs["column_order"] = groups[0].attrs["column_order"]
