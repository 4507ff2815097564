"""The boundary of a jacobian's observations, beside the matrix: by which side and how high their air came in.

``hbc(obs, side, height)`` is what an inversion multiplies with mole fractions of the boundary. The group ``boundary``
holds the same shares along the sides too, as a sparse matrix of the matrix's own form::

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
        group = file.create_group("boundary")
        group.dimensions.update({"nnz": spool.size or None, "row_bound": len(ids) + 1})
        options: dict[str, Any] = {
            "chunks": (min(_CHUNK, max(spool.size, 1)),),
            "compression": "gzip",
            "compression_opts": 1,
            "shuffle": True,
        }
        cell = group.create_variable("cell", ("nnz",), "i4", **options)
        cell.attrs["long_name"] = "cell of the boundary, ascending in a row"
        share = group.create_variable("share", ("nnz",), "f4", **options)
        share.attrs.update({"long_name": "share of the particles' weight that left by the cell", "units": "1"})
        for block, cells, shares in spool.blocks(indptr):
            cell[block], share[block] = cells, shares
    group.create_variable("indptr", ("row_bound",), "i8", data=indptr)
    _describe(group, scene, box)
    _write_sides(file, settings.heights, settings.vertical)
    hbc = file.create_variable(
        "hbc", ("obs", "side", "height"), "f4", fillvalue=np.float32(np.nan), compression="gzip", compression_opts=1
    )
    hbc.attrs.update({"long_name": "share of the particles' weight that left the grid's box by a side", "units": "1"})
    for start in range(0, len(ids), _ROWS):
        bounds = indptr[start : start + _ROWS + 1]
        entries = slice(int(bounds[0]), int(bounds[-1]))
        hbc[start : start + len(bounds) - 1] = _by_side(box, bounds - bounds[0], cell[entries], share[entries])


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
    file.dimensions.update({"side": len(SIDES), "height": len(edges) - 1})
    side = file.create_variable("side", ("side",), TEXT)
    side[:] = np.array(SIDES, dtype=object)
    side.attrs["long_name"] = "side of the footprint's grid; inside of particles that never left it"
    height = file.create_variable("height", ("height",), "f8", data=(edges[:-1] + edges[1:]) / 2)
    names = {"agl": ("height", "above ground"), "asl": ("altitude", "above sea level")}
    standard, where = names[vertical]
    height.attrs.update(
        {"standard_name": standard, "long_name": f"middle of the bin, {where}", "units": "m", "positive": "up"}
    )
    height.attrs.update({"axis": "Z", "bounds": "height_bnds"})
    file.create_variable("height_bnds", ("height", "bnds"), "f8", data=np.column_stack([edges[:-1], edges[1:]]))


def _by_side(box: Box, indptr: NDArray[np.int64], cells: NDArray[Any], shares: NDArray[Any]) -> NDArray[np.float32]:
    """Return some rows' shares summed along the sides, ``(row, side, height)``; NaN of those that have none."""
    n_rows, n_bins = len(indptr) - 1, len(SIDES) * box.n_heights
    counts = np.diff(indptr)
    places = np.repeat(np.arange(n_rows) * n_bins, counts) + box.by_side(cells)
    summed = np.bincount(places, shares, n_rows * n_bins).reshape(n_rows, n_bins)
    summed[counts == 0] = np.nan
    return summed.reshape(n_rows, len(SIDES), box.n_heights).astype(np.float32)


def read_particle_locations(file: h5netcdf.File, rows: slice = slice(None)) -> dict[str, NDArray[np.float32]]:
    """Read by which cells of the four sides particles left, as openghg has it.

    Parameters
    ----------
    file : h5netcdf.File
        A jacobian whose scene has a boundary.
    rows : slice
        Observations to read, without a step; all of them take ``8 heights (nx + ny)`` bytes each.

    Returns
    -------
    dict of str to ndarray
        ``particle_locations_n``, ``_e``, ``_s``, ``_w``: shares of shape ``(obs, height, lon)``, of the second and
        fourth ``(obs, height, lat)`` (``x`` and ``y`` of a projected grid). With what left by the top and what never
        left, ``hbc`` of ``top`` and ``inside``, they sum to 1 over all four. NaN of observations that have none.

    Raises
    ------
    KeyError
        If the file has no boundary.
    """
    group = file.groups["boundary"]
    y, x = (file.dimensions[name].size for name in str(file.attrs["column_order"]).split()[1:])
    n_heights = file.dimensions["height"].size
    start, stop, _ = rows.indices(len(group.variables["indptr"]) - 1)
    indptr = group.variables["indptr"][start : max(start, stop) + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    cells, shares = group.variables["cell"][entries].astype(np.int64), group.variables["share"][entries]
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    found: dict[str, NDArray[np.float32]] = {}
    first = 0
    for side, width in zip(SIDES[:4], (x, y, x, y), strict=True):
        out = np.zeros((len(indptr) - 1, n_heights * width), np.float32)
        here = (cells >= first) & (cells < first + n_heights * width)
        out[row[here], cells[here] - first] = shares[here]
        out[np.diff(indptr) == 0] = np.nan
        found[f"particle_locations_{side[0]}"] = out.reshape(-1, n_heights, width)
        first += n_heights * width
    return found
