"""Several scenes' jacobians as one: their rows one below the other, over the hours of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import UserError
from stilt_dagster.science.footprints.footprint_files import TEXT
from stilt_dagster.science.hdf5_checks import find_hostile_part
from stilt_dagster.science.jacobian.boundary.joining import concatenate_boundaries, require_one_boundary
from stilt_dagster.science.scratch import require_space, writing
from stilt_dagster.science.versions import JACOBIAN_FORMAT

_BLOCK = 1 << 20
_CHUNK = 1 << 17


class ConcatError(UserError):
    """Jacobians that cannot stand in one matrix."""


def concatenate(paths: Sequence[Path], destination: Path) -> tuple[int, int]:
    """Write one ``stilt-jacobian/1`` that holds the rows of several, in their order, a block at a time.

    Parameters
    ----------
    paths : sequence of Path
        Jacobians on one grid.
    destination : Path
        The file to write; complete only once this returns.

    Returns
    -------
    tuple of int
        Shape of the matrix.

    Raises
    ------
    ConcatError
        If they are on different grids, one is integrated over time and another is not, or an observation is in two.
    """
    with ExitStack() as stack, writing(destination):
        files = [stack.enter_context(_open(path)) for path in paths]
        first = files[0]
        y, x = str(_attr(first, "column_order")).split()[1:]
        for path, file in zip(paths, files, strict=True):
            for axis in (y, x):
                if axis not in file.variables or not np.array_equal(file.variables[axis][:], first.variables[axis][:]):
                    raise ConcatError(
                        f"{path} and {paths[0]} are on different grids: concatenate scenes of one footprint"
                    )
        require_one_boundary(files, [str(path) for path in paths])
        bounds = _hours([f.variables["flux_time_bnds"][:] for f in files], paths)
        cells = first.dimensions[y].size * first.dimensions[x].size
        shifts = [int(np.flatnonzero(bounds[:, 0] == f.variables["flux_time_bnds"][0, 0])[0]) * cells for f in files]
        require_space(destination, 2 * sum(path.stat().st_size for path in paths) + (1 << 20))
        with h5netcdf.File(destination, "w") as out:
            shape = _write_rows(out, files, paths, (len(bounds), cells))
            _write_columns(out, first, bounds, (y, x))
            concatenate_boundaries(out, files)
            _write_entries(out, files, shifts, shape[1])
            out.attrs.update(
                {
                    k: v
                    for k, v in first.attrs.items()
                    if k in ("Conventions", "format", "source", "sparse_format", "column_order")
                }
            )
            out.attrs["shape"] = np.array(shape, "i8")
            out.attrs["scene"] = " ".join(str(_attr(f, "scene")) for f in files)
            out.attrs["title"] = f"STILT jacobian of {len(files)} scenes"
            out.attrs["history"] = "concatenated by stilt_dagster from the jacobians of the scenes it names"
    return shape


def _open(path: Path) -> h5netcdf.File:
    try:
        if hostile := find_hostile_part(path):
            raise ConcatError(f"{path} is not read: {hostile}")
        file = h5netcdf.File(path, "r")
        form = _attr(file, "format")
    except (OSError, KeyError) as error:
        raise ConcatError(f"{path} is not a jacobian: {error}") from None
    if form != JACOBIAN_FORMAT:
        raise ConcatError(f"{path} is a {form}, not a {JACOBIAN_FORMAT}")
    return file


def _attr(file: h5netcdf.File, name: str) -> Any:
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else value


def _hours(bounds: Sequence[NDArray[np.float64]], paths: Sequence[Path]) -> NDArray[np.float64]:
    """Return the hours of flux of all files, without gaps."""
    whole = [b for b in bounds if not np.all(b[:, 1] - b[:, 0] == 1)]
    if whole:
        for path, b in zip(paths, bounds, strict=True):
            if not np.array_equal(b, bounds[0]):
                raise ConcatError(f"{path} is integrated over other hours than {paths[0]}: they have no common columns")
        return bounds[0]
    start, stop = min(b[0, 0] for b in bounds), max(b[-1, 1] for b in bounds)
    hours = np.arange(start, stop)
    return np.column_stack([hours, hours + 1])


def _write_rows(
    out: h5netcdf.File, files: Sequence[h5netcdf.File], paths: Sequence[Path], columns: tuple[int, int]
) -> tuple[int, int]:
    """Write what is known of each observation."""
    ids: list[str] = []
    for path, file in zip(paths, files, strict=True):
        new = [v.decode() if isinstance(v, bytes) else str(v) for v in file.variables["obs_id"][:]]
        if twice := set(ids) & set(new):
            raise ConcatError(f"observation {min(twice)} is in {path} and in one before it: it would count twice")
        ids += new
    indptr = [0]
    for file in files:
        indptr.extend((indptr[-1] + file.variables["indptr"][1:]).tolist())
    out.dimensions.update({"obs": len(ids), "obs_bound": len(ids) + 1, "nnz": indptr[-1] or None, "bnds": 2})
    for name in _row_variables(files, paths):
        variable = files[0].variables[name]
        values = [f.variables[name][:] for f in files]
        for dim, size in zip(variable.dimensions[1:], values[0].shape[1:], strict=True):
            if dim not in out.dimensions:
                out.dimensions[dim] = size
        text = values[0].dtype.kind == "O"
        kind = TEXT if text else values[0].dtype
        new = out.create_variable(name, variable.dimensions, kind)
        new[:] = np.concatenate(values)
        new.attrs.update(dict(variable.attrs))
    out.create_variable("indptr", ("obs_bound",), "i8", data=np.array(indptr, "i8"))
    return len(ids), columns[0] * columns[1]


def _row_variables(files: Sequence[h5netcdf.File], paths: Sequence[Path]) -> list[str]:
    """Return the names of the variables that have a row an observation.

    Raises
    ------
    ConcatError
        If one file has what another has not, or other levels.
    """
    kinds = [
        {n: v.shape[1:] for n, v in f.variables.items() if v.dimensions[:1] == ("obs",) and n != "indptr"}
        for f in files
    ]
    for path, kind in zip(paths, kinds, strict=True):
        for name in sorted(kind.keys() ^ kinds[0].keys()):
            raise ConcatError(f"only one of {path} and {paths[0]} has {name}: concatenate scenes of one kind")
        for name, shape in kind.items():
            if shape != kinds[0][name]:
                raise ConcatError(f"{path} and {paths[0]} have {name} on different levels: they cannot be one array")
    return list(kinds[0])


def _write_columns(
    out: h5netcdf.File, first: h5netcdf.File, bounds: NDArray[np.float64], axes: tuple[str, str]
) -> None:
    """Write the hours and the grid."""
    out.dimensions["flux_time"] = len(bounds)
    for name, values in (("flux_time", bounds[:, 0]), ("flux_time_bnds", bounds)):
        dims = ("flux_time", "bnds")[: values.ndim]
        out.create_variable(name, dims, "f8", data=values).attrs.update(dict(first.variables[name].attrs))
    for axis in axes:
        out.dimensions[axis] = first.dimensions[axis].size
    for name in (*axes, *(f"{a}_bnds" for a in axes), "crs", "cell_area"):
        variable = first.variables[name]
        new = out.create_variable(name, variable.dimensions, variable.dtype, data=variable[...])
        new.attrs.update(dict(variable.attrs))


def _write_entries(out: h5netcdf.File, files: Sequence[h5netcdf.File], shifts: Sequence[int], n_columns: int) -> None:
    """Write the entries, columns moved to the hours of all files."""
    total = sum(len(f.variables["data"]) for f in files)
    options: dict[str, Any] = {
        "chunks": (min(_CHUNK, max(total, 1)),), "compression": "gzip", "compression_opts": 1, "shuffle": True,
    }  # fmt: skip
    indices = out.create_variable("indices", ("nnz",), "i4" if n_columns < 2**31 else "i8", **options)
    data = out.create_variable("data", ("nnz",), "f4", **options)
    for name, new in (("indices", indices), ("data", data)):
        new.attrs.update(dict(files[0].variables[name].attrs))
    starts = np.cumsum([0, *(len(f.variables["data"]) for f in files)])
    for file, shift, (start, stop) in zip(files, shifts, pairwise(starts.tolist()), strict=True):
        for a in _steps(stop - start):
            b = min(a + _BLOCK, stop - start)
            indices[start + a : start + b] = file.variables["indices"][a:b].astype(np.int64) + shift
            data[start + a : start + b] = file.variables["data"][a:b]


def _steps(n: int) -> Iterator[int]:
    yield from range(0, n, _BLOCK)
