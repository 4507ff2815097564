"""The boundary of a jacobian's observations, beside the matrix: by which side and how high their air came in.

``hbc(obs, side, boundary_height)`` is what an inversion multiplies with mole fractions of the boundary. The group
``boundary`` holds the same shares along the sides too, as a sparse matrix of the matrix's own form::

    b = xr.open_dataset("jacobian/<scene>.nc", group="boundary")
    scipy.sparse.csr_matrix((b.share, b.cell, b.indptr), shape=b.attrs["shape"])

Its columns are the cells of :class:`~stilt_dagster.science.observations.boundary.Box`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.footprints.footprint_files import TEXT
from stilt_dagster.science.jacobian.row_spool import BLOCK, RowSpool
from stilt_dagster.science.observations.background_files import BackgroundFile
from stilt_dagster.science.observations.boundary import SIDES, Box
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import require_space

#: Entries of a chunk of the file.
_CHUNK = 1 << 16

#: Observations that are summed along the sides at a time.
_ROWS = 1024


def write_boundary(file: h5netcdf.File, path: Path, scene: Scene, background: BackgroundFile, scratch: Path) -> None:
    """Write the boundary of a scene's observations, a block at a time.

    Parameters
    ----------
    file : h5netcdf.File
        The jacobian being written, with its observations.
    path : Path
        Where it is.
    scene : Scene
        The scene, with a boundary.
    background : BackgroundFile
        The scene's.
    scratch : Path
        An empty directory for the entries on their way to the order of the rows.
    """
    assert scene.background is not None and scene.background.boundary is not None  # noqa: PT018
    settings, ids = scene.background.boundary, scene.receptor_ids
    box = Box(scene.footprint.grid, tuple(settings.heights))
    place = {receptor: k for k, receptor in enumerate(ids)}
    with closing(RowSpool(scratch, box.size)) as spool:
        for receptor, cells, shares in background.boundary():
            spool.add(place[receptor], np.asarray(cells), np.asarray(shares))
        indptr = spool.close_rows(len(ids))
        require_space(path, spool.n_bytes + 4 * len(ids) * len(SIDES) * box.n_heights + (1 << 20))
        cell, share = _make_entries(file, spool.size, len(ids))
        for block, cells, shares in spool.blocks(indptr):
            cell[block], share[block] = cells, shares
    group = file.groups["boundary"]
    group.create_variable("indptr", ("row_bound",), "i8", data=indptr)
    _describe(group, scene, box)
    _write_sides(file, settings.heights, settings.vertical)
    hbc = file.create_variable(
        "hbc",
        ("obs", "side", "boundary_height"),
        "f4",
        fillvalue=np.float32(np.nan),
        compression="gzip",
        compression_opts=1,
    )
    hbc.attrs.update({"long_name": "share of the particles' weight that left the grid's box by a side", "units": "1"})
    for start in range(0, len(ids), _ROWS):
        bounds = indptr[start : start + _ROWS + 1]
        entries = slice(int(bounds[0]), int(bounds[-1]))
        hbc[start : start + len(bounds) - 1] = _by_side(box, bounds - bounds[0], cell[entries], share[entries])


def _make_entries(file: h5netcdf.File, size: int, n_rows: int) -> tuple[h5netcdf.Variable, h5netcdf.Variable]:
    """Make the group and its variables of entries, which are not written yet."""
    group = file.create_group("boundary")
    group.dimensions.update({"nnz": size or None, "row_bound": n_rows + 1})
    options: dict[str, Any] = {
        "chunks": (min(_CHUNK, max(size, 1)),),
        "compression": "gzip",
        "compression_opts": 1,
        "shuffle": True,
    }
    cell = group.create_variable("cell", ("nnz",), "i4", **options)
    cell.attrs["long_name"] = "cell of the boundary, ascending in a row"
    share = group.create_variable("share", ("nnz",), "f4", **options)
    share.attrs.update({"long_name": "share of the particles' weight that left by the cell", "units": "1"})
    return cell, share


def _describe(group: h5netcdf.Group, scene: Scene, box: Box) -> None:
    """Say what the columns are."""
    y, x = ("lat", "lon") if scene.footprint.grid.is_longlat else ("y", "x")
    along = dict(zip(SIDES, (x, y, x, y, "", ""), strict=True))
    group.attrs["shape"] = np.array([len(scene.receptor_ids), box.size], "i8")
    group.attrs["column_order"] = " ".join(
        f"{side}({', '.join(filter(None, ('height', axis)))})" for side, axis in along.items()
    )


def _write_sides(file: h5netcdf.File, heights: Sequence[float], vertical: str) -> None:
    """Write the coordinates of ``hbc``."""
    edges = np.array(heights)
    file.dimensions.update({"side": len(SIDES), "boundary_height": len(edges) - 1})
    side = file.create_variable("side", ("side",), TEXT)
    side[:] = np.array(SIDES, dtype=object)
    side.attrs["long_name"] = "side of the footprint's grid; inside of particles that never left it"
    height = file.create_variable("boundary_height", ("boundary_height",), "f8", data=(edges[:-1] + edges[1:]) / 2)
    names = {"agl": ("height", "above ground"), "asl": ("altitude", "above sea level")}
    standard, where = names[vertical]
    height.attrs.update(
        {"standard_name": standard, "long_name": f"middle of the bin, {where}", "units": "m", "positive": "up"}
    )
    height.attrs.update({"axis": "Z", "bounds": "boundary_height_bnds"})
    file.create_variable(
        "boundary_height_bnds", ("boundary_height", "bnds"), "f8", data=np.column_stack([edges[:-1], edges[1:]])
    )


def _by_side(box: Box, indptr: NDArray[np.int64], cells: NDArray[Any], shares: NDArray[Any]) -> NDArray[np.float32]:
    """Return some rows' shares summed along the sides, ``(row, side, height)``; NaN of those that have none."""
    n_rows, n_bins = len(indptr) - 1, len(SIDES) * box.n_heights
    counts = np.diff(indptr)
    places = np.repeat(np.arange(n_rows) * n_bins, counts) + box.by_side(cells)
    summed = np.bincount(places, shares, n_rows * n_bins).reshape(n_rows, n_bins)
    summed[counts == 0] = np.nan
    return summed.reshape(n_rows, len(SIDES), box.n_heights).astype(np.float32)


def have_one_boundary(a: h5netcdf.File, b: h5netcdf.File) -> bool:
    """Return whether the boundaries of two jacobians on one grid have the same cells; also of two that have none."""
    if "boundary" not in a.groups or "boundary" not in b.groups:
        return "boundary" not in a.groups and "boundary" not in b.groups
    standards = {str(f.variables["boundary_height"].attrs["standard_name"]) for f in (a, b)}
    edges = (f.variables["boundary_height_bnds"][:] for f in (a, b))
    return len(standards) == 1 and np.array_equal(*edges)


def concatenate_boundaries(out: h5netcdf.File, files: Sequence[h5netcdf.File]) -> None:
    """Write the boundaries of several jacobians, which have the same cells, one below the other, a block at a time."""
    first = files[0]
    if "boundary" not in first.groups:
        return
    for name in ("side", "boundary_height", "boundary_height_bnds"):
        variable = first.variables[name]
        kind = TEXT if name == "side" else variable.dtype
        copy = out.create_variable(name, variable.dimensions, kind)
        copy[:] = variable[:]
        copy.attrs.update(dict(variable.attrs))
    groups = [file.groups["boundary"] for file in files]
    counts = np.concatenate([np.diff(group.variables["indptr"][:]) for group in groups])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    cell, share = _make_entries(out, int(indptr[-1]), len(counts))
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


class Curtains:
    """By which cells of the grid's four sides the particles of a jacobian's observations left, read as it is asked for.

    Parameters
    ----------
    file : h5netcdf.File
        An open jacobian whose scene has a boundary.

    Attributes
    ----------
    heights : ndarray
        Middles of the bins of height, m.
    weights : ndarray
        What the particles of each observation stand for of it, shape ``(obs,)``; NaN of those that failed.

    Raises
    ------
    KeyError
        If the file has no boundary.
    """

    def __init__(self, file: h5netcdf.File) -> None:
        self._group = file.groups["boundary"]
        self._ny, self._nx = (file.dimensions[name].size for name in str(file.attrs["column_order"]).split()[1:])
        self.heights: NDArray[np.float64] = file.variables["boundary_height"][:]
        self.weights: NDArray[np.float64] = file.variables["hbc_weight"][:]

    def read(self, rows: slice) -> dict[str, NDArray[np.float32]]:
        """Return the share of particles by cell of each side, of some observations.

        Parameters
        ----------
        rows : slice
            Without a step. An observation takes ``8 heights (nx + ny)`` bytes.

        Returns
        -------
        dict of str to ndarray
            ``n`` and ``s`` of shape ``(obs, height, lon)``, ``e`` and ``w`` ``(obs, height, lat)``; ``x``, ``y`` of a
            projected grid. With the shares of what left by the top and of what never left, which ``hbc`` has, they sum
            to 1 over all four. NaN of observations that have none.
        """
        start, stop, _ = rows.indices(len(self._group.variables["indptr"]) - 1)
        indptr = self._group.variables["indptr"][start : max(start, stop) + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        cells = self._group.variables["cell"][entries].astype(np.int64)
        shares = self._group.variables["share"][entries]
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        found: dict[str, NDArray[np.float32]] = {}
        first = 0
        for side, width in zip(SIDES[:4], (self._nx, self._ny, self._nx, self._ny), strict=True):
            size = len(self.heights) * width
            out = np.zeros((len(indptr) - 1, size), np.float32)
            here = (cells >= first) & (cells < first + size)
            out[row[here], cells[here] - first] = shares[here]
            out[np.diff(indptr) == 0] = np.nan
            found[side[0]] = out.reshape(-1, len(self.heights), width)
            first += size
        return found
