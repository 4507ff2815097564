"""Several scenes' jacobians as one file: their rows one below the other, over the hours of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError, counted
from stilt_dagster.science.footprints.footprint_files import TEXT
from stilt_dagster.science.jacobian.boundary.joining import bins_of, concatenate_boundaries, require_one_boundary
from stilt_dagster.science.jacobian.compatibility import first_rows, require_one_grid
from stilt_dagster.science.jacobian.jacobian_files import create_entries, create_file
from stilt_dagster.science.jacobian.reading import JacobianFile, read_jacobian_file
from stilt_dagster.science.jacobian.time_steps import Steps, common_steps, place_of
from stilt_dagster.science.scratch import require_space, writing

_BLOCK = 1 << 20

#: Attributes that hold of all scenes of a matrix.
_SHARED = ("Conventions", "format", "sparse_format", "column_order")

#: Attributes whose values in the files are named, each once.
_OF_EACH = ("source", "transport_engine", "engine_verdict")

#: What jacobians of earlier versions have not kept: missing numbers in their rows.
_KEPT_LATER = ("foot_sum", "row_sum_error", "imbalance")


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
    JacobianError
        If one cannot be used, or they cannot be one matrix: other grids, other steps of time, an observation in two.
    """
    names = [str(path) for path in paths]
    known = [read_jacobian_file(path, name) for path, name in zip(paths, names, strict=True)]
    require_one_grid([f.cells for f in known], names)
    steps = common_steps([f.bounds for f in known], names)
    first_rows([f.ids for f in known], names, "refuse")
    shape = (sum(len(f.ids) for f in known), len(steps) * known[0].cells.size)
    with ExitStack() as stack, writing(destination):
        files = [stack.enter_context(h5netcdf.File(path, "r")) for path in paths]
        require_one_boundary([bins_of(file) for file in files], names)
        require_space(destination, 12 * sum(int(f.indptr[-1]) for f in known) + 4000 * shape[0] + (1 << 20))
        with create_file(destination) as out:
            _write_rows(out, known, files)
            _write_columns(out, files[0], steps, known[0].cells.names)
            concatenate_boundaries(out, destination, files)
            _write_entries(out, known, files, steps, shape[1])
            out.attrs.update({k: v for k, v in files[0].attrs.items() if k in _SHARED})
            for name in _OF_EACH:
                values = [str(f.attrs[name]) for f in files if name in f.attrs]
                if values:
                    out.attrs[name] = "; ".join(dict.fromkeys(values))
            out.attrs["shape"] = np.array(shape, "i8")
            out.attrs["scene"] = " ".join(f.scene for f in known)
            out.attrs["title"] = f"STILT jacobian of {counted(len(files), 'scene')}"
            out.attrs["history"] = "concatenated by stilt_dagster from the jacobians of the scenes it names"
    return shape


def _write_rows(out: h5netcdf.File, known: Sequence[JacobianFile], files: Sequence[h5netcdf.File]) -> None:
    """Write what is known of each observation."""
    n_rows, n_entries = sum(len(f.ids) for f in known), sum(int(f.indptr[-1]) for f in known)
    out.dimensions.update({"obs": n_rows, "obs_bound": n_rows + 1, "nnz": n_entries or None, "bnds": 2})
    for name in _row_variables(known, files):
        variable = next(f.variables[name] for f in files if name in f.variables)
        values = [
            f.variables[name][:] if name in f.variables else np.full(f.dimensions["obs"].size, np.nan, variable.dtype)
            for f in files
        ]
        for dim, size in zip(variable.dimensions[1:], values[0].shape[1:], strict=True):
            if dim not in out.dimensions:
                out.dimensions[dim] = size
        kind = TEXT if values[0].dtype.kind == "O" else values[0].dtype
        new = out.create_variable(name, variable.dimensions, kind)
        new[:] = np.concatenate(values)
        new.attrs.update(dict(variable.attrs))
    scenes = out.create_variable("scene", ("obs",), TEXT)
    scenes[:] = np.concatenate([f.observations["scene"].to_numpy(object) for f in known])
    scenes.attrs["long_name"] = "scene of the observation"
    starts = np.cumsum([0, *(f.indptr[-1] for f in known)])
    indptr = np.concatenate([[0], *(f.indptr[1:] + start for f, start in zip(known, starts[:-1], strict=True))])
    new = out.create_variable("indptr", ("obs_bound",), "i8", data=indptr.astype("i8"))
    new.attrs.update(dict(files[0].variables["indptr"].attrs))


def _row_variables(known: Sequence[JacobianFile], files: Sequence[h5netcdf.File]) -> list[str]:
    """Return the names of the variables that have a row an observation, without that of their scenes.

    Raises
    ------
    JacobianError
        If one file has what another has not, or other levels.
    """
    kinds = [
        {n: v.shape[1:] for n, v in f.variables.items() if v.dimensions[:1] == ("obs",) and n != "scene"} for f in files
    ]
    for file, kind in zip(known, kinds, strict=True):
        for name in sorted((kind.keys() ^ kinds[0].keys()) - set(_KEPT_LATER)):
            raise JacobianError(
                f"only one of {file.name} and {known[0].name} has {name}: concatenate scenes of one kind"
            )
        for name, shape in kind.items():
            if shape != kinds[0].get(name, shape):
                raise JacobianError(
                    f"{file.name} and {known[0].name} have {name} on different levels: they cannot be one array"
                )
    return list(dict.fromkeys(name for kind in kinds for name in kind))


def _write_columns(out: h5netcdf.File, first: h5netcdf.File, steps: Steps, axes: tuple[str, str]) -> None:
    """Write the time steps and the grid."""
    out.dimensions["flux_time"] = len(steps)
    for name, values in (("flux_time", steps[:, 0]), ("flux_time_bnds", steps)):
        dims = ("flux_time", "bnds")[: values.ndim]
        new = out.create_variable(name, dims, "f8", data=values.astype("f8"))
        new.attrs.update(dict(first.variables[name].attrs))
    for axis in axes:
        out.dimensions[axis] = first.dimensions[axis].size
    for name in (*axes, *(f"{a}_bnds" for a in axes), "crs", "cell_area"):
        variable = first.variables[name]
        new = out.create_variable(name, variable.dimensions, variable.dtype, data=variable[...])
        new.attrs.update(dict(variable.attrs))


def _write_entries(
    out: h5netcdf.File, known: Sequence[JacobianFile], files: Sequence[h5netcdf.File], steps: Steps, n_columns: int
) -> None:
    """Write the entries, columns moved to the time steps of all files."""
    indices, data = create_entries(out, np.dtype("i4" if n_columns < 2**31 else "i8"))
    at = 0
    for header, file in zip(known, files, strict=True):
        place, cells, n = place_of(header.bounds, steps), header.cells.size, int(header.indptr[-1])
        for start in range(0, n, _BLOCK):
            stop = min(start + _BLOCK, n)
            columns: NDArray[np.int64] = file.variables["indices"][start:stop].astype(np.int64)
            if columns.min() < 0 or columns.max() >= header.n_columns:
                raise header.columns_beyond()
            indices[at + start : at + stop] = place[columns // cells] * cells + columns % cells
            data[at + start : at + stop] = file.variables["data"][start:stop]
        at += n
