"""The file of a jacobian as it is read: all but its entries, and what must hold of it before these are used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.files.format_numbers import JACOBIAN_FORMAT, require_format
from stilt_dagster.science.files.hdf5_checks import find_hostile_part_of
from stilt_dagster.science.footprints.footprint_files import FOOT_UNITS, STATUS
from stilt_dagster.science.jacobian.cells import GridCells

if TYPE_CHECKING:
    import pandas as pd

#: Variables of a file by name.
Variables = Mapping[str, h5py.Dataset]

_HOURS = "hours since 1970-01-01 00:00:00"


class Ranges(Protocol):
    """A file of another machine, in one state: read by ranges, and the same in another process."""

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop*."""

    def open(self) -> BinaryIO:
        """Return it as an open file."""


class Stored(NamedTuple):
    """Where in a file the values of a variable lie, one after the other, and what kind they are."""

    offset: int
    kind: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class JacobianFile:
    """A jacobian's file, without its entries.

    Attributes
    ----------
    source : Path or Ranges
        The file.
    name : str
        What errors call it.
    state : tuple of int
        Size and time of a file of this machine, to tell another one of its name; empty of others.
    stored : tuple of Stored, or None
        Where columns, as unsigned numbers, and values of entries lie; None where they are compressed.
    bounds : ndarray of int64, shape (n, 2)
        Start and end of each time step of flux, hours since 1970-01-01 UTC.
    cells : GridCells
        The cells of a time step.
    indptr : ndarray of int64, shape (rows + 1,)
        Where each row's entries begin, and the last ends.
    rows : dict of str to ndarray
        What is known of each row: every variable of the file that has one number or text an observation.
    scene : str
        The scene; of several as one, their ids apart by blanks.
    """

    source: Path | Ranges
    name: str
    state: tuple[int, ...]
    stored: tuple[Stored, Stored] | None
    bounds: NDArray[np.int64]
    cells: GridCells
    indptr: NDArray[np.int64]
    rows: Mapping[str, NDArray[Any]]
    scene: str

    @property
    def ids(self) -> NDArray[Any]:
        """Ids of observations, text, shape (rows,)."""
        return self.rows["obs_id"]

    @property
    def is_hourly(self) -> bool:
        """Whether the time steps are hours without gaps; else influence is integrated over time."""
        return bool(np.all(self.bounds == self.bounds[0, 0] + np.arange(len(self.bounds))[:, None] + (0, 1)))

    @property
    def n_columns(self) -> int:
        """Columns of its matrix."""
        return len(self.bounds) * self.cells.size

    def opened(self) -> BinaryIO:
        """Return it as an open file.

        Raises
        ------
        JacobianError
            If it is not what it was.
        """
        if not isinstance(self.source, Path):
            return self.source.open()
        file = self.source.open("rb")
        self.require_unchanged(file.fileno())
        return file

    def require_unchanged(self, descriptor: int) -> None:
        """Make sure that an open file is what it was when it was read first.

        Raises
        ------
        JacobianError
            If it is not.
        """
        if _state(os.fstat(descriptor)) != self.state:
            raise JacobianError(f"{self.name} was written anew since it was opened: open it again")

    def columns_beyond(self) -> JacobianError:
        """Return the error of entries in columns there are not, which are met when entries are read."""
        return JacobianError(
            f"{self.name} is damaged: entries lie in columns beyond its {self.n_columns}: make it again"
        )

    @cached_property
    def observations(self) -> pd.DataFrame:
        """Its rows, by ``obs_id``: scene, time (UTC), longitude, latitude, status, row_sum, and what else there is."""
        import pandas as pd

        known = dict(self.rows)
        ids = known.pop("obs_id")
        head = {
            "scene": known.pop("scene", np.full(len(ids), self.scene, dtype=object)),
            "time": known.pop("time").astype("i8").astype("M8[m]").astype("M8[ns]"),
            "longitude": known.pop("longitude"),
            "latitude": known.pop("latitude"),
            "status": np.array(STATUS, dtype=object)[known.pop("status")],
            "row_sum": known.pop("row_sum"),
        }
        return pd.DataFrame({**head, **known}, index=pd.Index(ids, name="obs_id"))


def read_jacobian_file(source: Path | Ranges, name: str) -> JacobianFile:
    """Read what a jacobian's file says of its rows and columns, and check that its parts fit each other.

    Parameters
    ----------
    source : Path or Ranges
        The file.
    name : str
        What errors call it.

    Raises
    ------
    JacobianError
        One line naming the file: it is no jacobian, of another version, damaged, hostile, or contradicts itself.
    """
    with _readable(name), ExitStack() as stack:
        state = _state(os.stat(source)) if isinstance(source, Path) else ()
        opened = source if isinstance(source, Path) else stack.enter_context(source.open())
        file = stack.enter_context(h5py.File(opened, "r"))
        if hostile := find_hostile_part_of(file, streamed=("data", "indices", "nnz")):
            raise JacobianError(f"{name} is not read: {hostile}")
        form = _text(file.attrs.get("format", ""))
        if not form.startswith("stilt-jacobian/"):
            said = f" but a {form:.40}" if form else ""
            raise JacobianError(f"{name} is no jacobian{said}: name a scene's, <store>/jacobian/<scene>.nc")
        require_format(form, JACOBIAN_FORMAT, name)
        _, y, x = _text(file.attrs["column_order"]).split()
        # Each variable is opened once: it takes as long as reading one of a thousand rows.
        variables = {k: v for k, v in file.items() if isinstance(v, h5py.Dataset)}
        indptr = variables["indptr"][:].astype(np.int64)
        found = JacobianFile(
            source,
            name,
            state,
            _stored(variables),
            _time_steps(variables, name),
            _cells(variables, (y, x), name),
            indptr,
            dict(_row_variables(variables, len(indptr) - 1)),
            _text(file.attrs.get("scene", "")),
        )
        _check_matrix(variables, found, tuple(int(n) for n in file.attrs["shape"]))
    return found


def _state(known: os.stat_result) -> tuple[int, int]:
    return known.st_size, known.st_mtime_ns


def _stored(file: Variables) -> tuple[Stored, Stored] | None:
    """Return where entries lie, if they lie in the file as they are in memory."""
    found = []
    for name, kinds in (("indices", {"<i4": "<u4", "<i8": "<u8"}), ("data", {"<f4": "<f4"})):
        variable = file[name]
        offset, kind = variable.id.get_offset(), kinds.get(variable.dtype.newbyteorder("<").str)
        if offset is None or kind is None or variable.dtype.str[0] == ">" or sys.byteorder != "little":
            return None
        found.append(Stored(int(offset), np.dtype(kind)))
    return found[0], found[1]


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what HDF5 and numpy say of a file that is damaged or another's into one line."""
    try:
        yield
    except (OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError, OverflowError) as error:
        raise JacobianError(f"{name} is no whole jacobian ({error}): make it again, or name another file") from error


def _check_matrix(file: Variables, found: JacobianFile, shape: tuple[int, ...]) -> None:
    """Check that rows, columns and the number of entries agree."""

    def require(holds: bool, wrong: str) -> None:
        if not holds:
            raise JacobianError(f"{found.name} is damaged: {wrong}: make it again")

    data, indices, indptr = file["data"], file["indices"], found.indptr
    require(shape == (len(indptr) - 1, found.n_columns), f"its shape {shape} is not that of its rows and columns")
    require(data.ndim == 1 and data.shape == indices.shape, "data and indices are not as many")
    require(data.dtype.kind == "f" and indices.dtype.kind == "i", "data or indices are no numbers")
    require(int(indptr[0]) == 0 and bool(np.all(np.diff(indptr) >= 0)), "indptr does not ascend from 0")
    require(int(indptr[-1]) == data.shape[0], f"indptr ends at {indptr[-1]} of {data.shape[0]} entries")
    status = found.rows["status"]
    require(bool(np.all((status >= 0) & (status < len(STATUS)))), "status has values that mean nothing")
    if (units := _text(data.attrs["units"])) != FOOT_UNITS:
        raise JacobianError(f"{found.name} has entries in {units}, and {FOOT_UNITS} is read: convert it")


def _time_steps(file: Variables, name: str) -> NDArray[np.int64]:
    """Return start and end of each time step of flux, hours since 1970."""
    if (units := _text(file["flux_time"].attrs["units"])) != _HOURS:
        raise JacobianError(f"{name} has flux_time in {units}, and {_HOURS} is read: convert it")
    values = file["flux_time_bnds"][:]
    bounds: NDArray[np.int64] = values.astype(np.int64)
    whole = len(bounds) > 0 and np.array_equal(bounds, values) and bool(np.all(bounds[:, 0] < bounds[:, 1]))
    gaps = bounds[1:, 0] - bounds[:-1, 1]
    hourly = bool(np.all(bounds[:, 1] - bounds[:, 0] == 1))
    if not whole or np.any(gaps < 0) or (hourly and np.any(gaps)):
        raise JacobianError(
            f"{name} is damaged: its hours of flux are not whole and one after the other: make it again"
        )
    return bounds


def _cells(file: Variables, names: tuple[str, str], name: str) -> GridCells:
    """Return the cells of a time step."""
    edges = []
    for axis in names:
        bounds = file[f"{axis}_bnds"][:].astype(np.float64)
        if not (len(bounds) and np.array_equal(bounds[1:, 0], bounds[:-1, 1]) and np.all(bounds[:, 0] < bounds[:, 1])):
            raise JacobianError(f"{name} is damaged: cells of its {axis} axis do not join: make it again")
        edges.append(np.append(bounds[:, 0], bounds[-1, 1]))
    hidden = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_FillValue")
    crs = {k: _plain(v) for k, v in file["crs"].attrs.items() if k not in hidden}
    y_edges, x_edges = edges
    area = file["cell_area"]
    if area.shape != (len(y_edges) - 1, len(x_edges) - 1):
        raise JacobianError(f"{name} is damaged: its cell_area is not on its grid: make it again")
    # The areas of others follow from their edges: of a large grid they are as much as all else that is read here.
    unit = float(area[0, 0]) / float((y_edges[1] - y_edges[0]) * (x_edges[1] - x_edges[0]))
    centres = (file[names[0]][:].astype(np.float64), file[names[1]][:].astype(np.float64))
    return GridCells(*centres, y_edges, x_edges, names, crs, unit)


def _row_variables(file: Variables, n: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the variables that have one value an observation."""
    for name, variable in file.items():
        if variable.shape != (n,) or variable.is_scale:
            continue
        if [scale.name for scale in variable.dims[0].values()] == ["/obs"]:
            text = h5py.check_string_dtype(variable.dtype) is not None
            yield name, variable.asstr(errors="replace")[:] if text else variable[:]


def _plain(value: Any) -> Any:
    """Return an attribute as a number, a text or a list of them."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.item() if value.size == 1 else value.tolist()
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    return str(_plain(value))
