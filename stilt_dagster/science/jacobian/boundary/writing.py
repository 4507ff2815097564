"""The boundary of a scene's observations, written into its jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.footprints.footprint_files import TEXT
from stilt_dagster.science.jacobian.row_spool import RowSpool
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
        cell, share = make_entries(file, spool.size, len(ids))
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
    hbc.attrs["coordinates"] = "side_name"  # a label: coordinates that are dimensions are numbers in CF
    for start in range(0, len(ids), _ROWS):
        bounds = indptr[start : start + _ROWS + 1]
        entries = slice(int(bounds[0]), int(bounds[-1]))
        hbc[start : start + len(bounds) - 1] = _by_side(box, bounds - bounds[0], cell[entries], share[entries])


def make_entries(file: h5netcdf.File, size: int, n_rows: int) -> tuple[h5netcdf.Variable, h5netcdf.Variable]:
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
    side = file.create_variable("side_name", ("side",), TEXT)
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
