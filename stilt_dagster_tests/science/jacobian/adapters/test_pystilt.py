"""PYSTILT's own readers find in the files what the matrix holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stilt
from hypothesis import given
from hypothesis import strategies as st
from stilt.footprint import jacobian, open_footprints
from stilt.receptors import ColumnReceptor, MultiPointReceptor, PointReceptor

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.pystilt import make_receptor, write_footprints
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import make_receptor as our_receptor
from stilt_dagster_tests.science.jacobian.adapters.matrices import cells_of, small

LAMBERT = "+proj=lcc +lat_1=38.5 +lat_2=38.5 +lat_0=38.5 +lon_0=-97.5 +R=6371229 +units=m"


def test_pystilts_jacobian_is_the_matrix(tmp_path: Path) -> None:
    """Summed onto the grid in time bins of full hours by PYSTILT: H x is the same to what a float32 holds."""
    matrix = small()
    paths = write_footprints(matrix, tmp_path)
    assert list(paths) == matrix.obs.index.tolist()
    table = pa.concat_tables([pq.ParquetFile(p).read().replace_schema_metadata(None) for p in paths.values()])
    config = stilt.read_footprint(next(iter(paths.values()))).stilt.config
    start, stop = matrix.flux_time_bounds[0, 0], matrix.flux_time_bounds[-1, 1]
    hours = pd.interval_range(pd.Timestamp(start), pd.Timestamp(stop), freq="h", closed="left")
    theirs = jacobian(table, config, config.grid, hours, list(paths))
    assert theirs.receptors.tolist() == matrix.obs.index[:4].tolist()
    assert theirs.empty == [matrix.obs.index[4]]
    x = np.random.default_rng(1).random((len(hours), *matrix.cells.shape))
    labelled = pd.Series(
        x.ravel(),
        index=pd.MultiIndex.from_product([hours.left, matrix.cells.y, matrix.cells.x], names=["time", "lat", "lon"]),
    )
    flux = labelled.reorder_levels(theirs.columns.names).reindex(theirs.columns)
    np.testing.assert_allclose(theirs.data @ flux.to_numpy(), (matrix.matrix @ x.ravel())[:4], rtol=1e-6)


def test_footprints_are_those_of_rows(tmp_path: Path) -> None:
    matrix = small()
    paths = list(write_footprints(matrix, tmp_path).values())
    assert paths[0] == tmp_path / "date=2023-07-01" / f"{matrix.obs.index[0]}.parquet"
    rows = matrix.matrix.toarray().reshape(5, -1, *matrix.cells.shape)
    foot = stilt.read_footprint(paths[2])
    assert foot.stilt.receptor.id == matrix.obs.index[2]
    np.testing.assert_array_equal(foot.lat, matrix.cells.y)
    # A release at 11:00 feels the hours before; PYSTILT's layer -1 begins at 10:00.
    felt = np.flatnonzero(rows[2].any(axis=(1, 2)))
    np.testing.assert_array_equal(foot.time, matrix.flux_time_bounds[felt[0] : felt[-1] + 1, 0])
    np.testing.assert_array_equal(foot.to_numpy(), rows[2][felt[0] : felt[-1] + 1])
    assert stilt.read_footprint(paths[4]) is None
    # A release at 12:20 feels the hour it is in: layer 0, stamped 12:20.
    assert stilt.read_footprint(paths[0]).time.to_index()[-1] == pd.Timestamp("2023-07-01T12:20")
    together = open_footprints(paths, workers=1)
    np.testing.assert_allclose(together.foot.sum(["hour", "lat", "lon"]), rows[:4].sum(axis=(1, 2, 3)), rtol=1e-6)


def test_an_integrated_footprint_is_layer_0(tmp_path: Path) -> None:
    matrix = small()
    ny, nx = matrix.cells.shape
    summed = sum(matrix.matrix[:, k * ny * nx : (k + 1) * ny * nx] for k in range(5))
    bounds = matrix.flux_time_bounds[[0], [0]], matrix.flux_time_bounds[[-1], [1]]
    whole = matrix.having(matrix=summed.tocsr(), flux_time_bounds=np.column_stack(bounds))
    foot = stilt.read_footprint(write_footprints(whole, tmp_path)[matrix.obs.index[0]])
    assert foot.stilt.config.time_integrate
    np.testing.assert_allclose(foot.to_numpy()[0], summed[0].toarray().reshape(ny, nx), rtol=1e-6)


def test_a_projected_grid(tmp_path: Path) -> None:
    from pyproj import CRS

    grid = Grid(-112.2, -111.9, 5000, 40.3, 40.5, 5000, LAMBERT)
    cells = cells_of(grid, CRS.from_user_input(LAMBERT).to_cf())
    shape = (5, *cells.shape)
    matrix = small(grid=grid).having(cells=cells)
    foot = stilt.read_footprint(next(iter(write_footprints(matrix, tmp_path).values())))
    assert foot.dims == ("time", "y", "x")
    np.testing.assert_allclose(foot.x, cells.x, atol=1)
    np.testing.assert_allclose(foot.sum(), matrix.matrix[0].toarray().reshape(shape).sum(), rtol=1e-6)


def test_what_pystilt_has_no_place_for_is_refused(tmp_path: Path) -> None:
    matrix = small()
    two_hours = matrix.flux_time_bounds[::2].copy()
    two_hours[:, 1] = two_hours[:, 0] + np.timedelta64(2, "h")
    uneven = np.array([-112.2, -112.0, -111.9, -111.6])
    for wrong, message in (
        (matrix.with_status("ok", "ok", "failed", "ok", "ok"), r"H\.without_failed\(\)"),
        (matrix.having(flux_time_bounds=two_hours), "other steps than hours"),
        (matrix.having(cells=type(matrix.cells)(
            matrix.cells.y, (uneven[1:] + uneven[:-1]) / 2, matrix.cells.y_edges, uneven, ("lat", "lon"), {},
            matrix.cells.area)), "cells of one size"),
        (matrix.having(obs=matrix.obs.rename(index={matrix.obs.index[3]: "tower"})), "observation tower is not named"),
        (matrix.having(obs=matrix.obs.rename(index={matrix.obs.index[0]: "202307011220_999_40.5_5"})), "no receptor"),
    ):  # fmt: skip
        with pytest.raises(JacobianError, match=message):
            write_footprints(wrong, tmp_path / "none")
    assert not list(tmp_path.rglob("*.parquet"))


coordinates = st.floats(-80, 80).map(lambda v: round(v, 6))
heights = st.floats(0, 20_000).map(lambda v: round(v, 2))


@given(coordinates, coordinates, heights, heights, st.booleans())
def test_ids_say_where_receptors_are(x: float, y: float, bottom: float, top: float, slanted: bool) -> None:
    """PYSTILT's receptor of an id is at the same place, and has the same id unless it is slanted."""
    time = pd.Timestamp("2023-07-01T12:20")
    for longitude, height in ((x, bottom), (x, [bottom, top]), ([x, x + 0.5] if slanted else x, [bottom, top])):
        if isinstance(height, list) and bottom == top:
            continue
        ours = our_receptor(time.to_pydatetime(), longitude, y, height)
        theirs = make_receptor(ours.id, time)
        kind = MultiPointReceptor if ours.slanted else ColumnReceptor if len(ours.heights) == 2 else PointReceptor
        assert isinstance(theirs, kind)
        assert [tuple(p) for p in theirs.coords()] == [
            (lat, lon, z) for lon, lat, z in zip(ours.longitudes * 2, ours.latitudes * 2, ours.heights, strict=False)
        ]
        assert ours.slanted or theirs.id == ours.id
