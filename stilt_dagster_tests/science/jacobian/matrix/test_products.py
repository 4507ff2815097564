"""What a matrix of files multiplies to, against the same rows as one dense array: any files, any view."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse.linalg
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stilt_dagster import concat_jacobians, open_jacobian
from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.matrix import products, windows
from stilt_dagster.science.jacobian.matrix.jacobian import Jacobian
from stilt_dagster_tests.science.jacobian.files import DAY, GRID, Sample, sample

NY, NX = 4, 6


def dense(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of files over the hours of all, (row, hour, y, x), and these hours."""
    hours = np.arange(min(s.first for s in samples), max(s.first + s.hours for s in samples))
    out = np.zeros((sum(s.matrix.shape[0] for s in samples), len(hours), NY, NX))
    row = 0
    for s in samples:
        n, at = s.matrix.shape[0], s.first - hours[0]
        out[row : row + n, at : at + s.hours] = s.matrix.toarray().reshape(n, s.hours, NY, NX)
        row += n
    return out, hours


@st.composite
def files(draw: st.DrawFn) -> list[Sample]:
    """Return up to three files of different hours, layouts and numbers of rows."""
    found = []
    for k in range(draw(st.integers(1, 3))):
        how = {"first": DAY + draw(st.integers(0, 30)), "hours": draw(st.integers(1, 5))}
        made = sample(
            "abc"[k], draw(st.integers(1, 5)), draw(st.integers(0, 99)), draw(st.sampled_from([0, 0.1, 1])), **how
        )
        if draw(st.booleans()):
            made.matrix.indices = made.matrix.indices.astype(np.int64)
        found.append(made.but(compressed=draw(st.booleans())))
    return found


@st.composite
def views(draw: st.DrawFn) -> tuple[Callable[[Jacobian], Jacobian], Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Return a view of a matrix, and what it is of a dense one."""
    kind = draw(st.sampled_from(["rows", "region", "time", "factor", "day", "regions", "none"]))
    if kind == "rows":
        seed, share = draw(st.integers(0, 99)), draw(st.floats(0, 1))

        def chosen(n: int) -> np.ndarray:
            order = np.random.default_rng(seed).permutation(n)
            return order[: int(np.ceil(share * n))]

        return lambda h: h.select(rows=list(h.obs.index[chosen(len(h.obs))])), lambda d, t: d[chosen(len(d))]
    if kind == "region":
        (y0, y1), (x0, x1) = (sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))) for n in (NY, NX))
        box = (-112 + 0.1 * x0 + 0.01, 40 + 0.1 * y0 + 0.01, -112 + 0.1 * x1 + 0.09, 40 + 0.1 * y1 + 0.09)
        return lambda h: h.select(region=box), lambda d, t: d[:, :, y0 : y1 + 1, x0 : x1 + 1]
    if kind == "time":
        skip = draw(st.integers(0, 3))

        def later(h: Jacobian) -> Jacobian:
            return h.select(time=slice(h.flux_time[min(skip, len(h.flux_time) - 1)], None))

        return later, lambda d, t: d[:, min(skip, len(t) - 1) :]
    if kind == "factor":
        fy, fx = draw(st.integers(1, NY)), draw(st.integers(1, NX))

        def blocks(d: np.ndarray, t: np.ndarray) -> np.ndarray:
            return np.add.reduceat(np.add.reduceat(d, range(0, NY, fy), 2), range(0, NX, fx), 3)

        return lambda h: h.coarsen((fy, fx)), blocks
    if kind == "day":

        def by_day(d: np.ndarray, t: np.ndarray) -> np.ndarray:
            _, first = np.unique(t // 24, return_index=True)
            return np.add.reduceat(d, first, 1)

        return lambda h: h.aggregate_time("D"), by_day
    if kind == "regions":
        labels = np.random.default_rng(draw(st.integers(0, 99))).integers(-1, 3, (NY, NX))
        labels[0, 0] = 0

        def regions(h: Jacobian) -> Jacobian:
            return h.coarsen(regions=xr.DataArray(labels, {"lat": h.cells.y, "lon": h.cells.x}, ("lat", "lon")))

        def sums(d: np.ndarray, t: np.ndarray) -> np.ndarray:
            return np.stack([d[:, :, labels == k].sum(-1) for k in np.unique(labels[labels >= 0])], -1)

        return regions, sums
    return lambda h: h, lambda d, t: d


@pytest.mark.parametrize(("entries", "columns", "flux"), [(1 << 20, 1 << 23, 1 << 28), (7, 100, 1000)])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=files(), view=views(), vectors=st.sampled_from([(), (1,), (3,)]))
def test_products_are_those_of_the_dense_matrix(
    monkeypatch: pytest.MonkeyPatch, entries: int, columns: int, flux: int, samples: list[Sample], view, vectors
) -> None:
    """In blocks of any size: the small ones cut rows, hours and vectors apart."""
    monkeypatch.setattr(products, "_BLOCK", entries)
    monkeypatch.setattr(products, "_FLUX_BYTES", flux)
    monkeypatch.setattr(windows, "_COLUMNS", columns)
    with tempfile.TemporaryDirectory() as folder:
        h = view[0](open_jacobian([s.write(Path(folder, f"{s.scene}.nc")) for s in samples]))
        expected = view[1](*dense(samples)).reshape(h.shape)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((h.shape[1], *vectors)), rng.standard_normal((h.shape[0], *vectors))
        close = {"rtol": 1e-12, "atol": 1e-12}
        np.testing.assert_allclose(h @ x, expected @ x, **close)
        np.testing.assert_allclose(h.rmatvec(y), expected.T @ y, **close)
        np.testing.assert_allclose(h.to_csr().toarray(), expected, **close)
        at = 0
        for rows, block in h.iter_blocks():
            assert rows.start == at
            assert block.has_sorted_indices
            np.testing.assert_allclose(block.toarray(), expected[rows], **close)
            at = rows.stop
        assert at == len(expected)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three scenes an hour apart; the second has a failed observation."""
    folder = tmp_path_factory.mktemp("three")
    values = {"value": [1.9, 1.8, 1.7, 1.6]}
    return [
        sample("a", seed=1).write(folder / "a.nc"),
        sample("b", seed=2, first=DAY + 1, failed=[2]).write(folder / "b.nc"),
        sample("c", seed=3, first=DAY + 20).but(rows=values).write(folder / "c.nc"),
    ]


def test_it_says_what_its_rows_and_columns_are(three: list[Path]) -> None:
    h = open_jacobian(three)
    assert h.shape == (12, 26 * NY * NX)
    assert h.obs.index.tolist() == [f"{s}-{k}" for s in "abc" for k in range(4)]
    assert h.obs.scene.tolist() == ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    assert h.obs.status.tolist() == ["ok"] * 6 + ["failed"] + ["ok"] * 5
    assert h.obs.time.iloc[0] == pd.Timestamp("2023-07-15T06:00")
    assert h.obs.value.tolist()[8:] == [1.9, 1.8, 1.7, 1.6]
    assert h.obs.value.isna().sum() == 8
    assert h.flux_time[0] == pd.Timestamp("2023-07-15")
    assert h.flux_time.freq is None
    assert (np.diff(h.flux_time_bounds, axis=1) == np.timedelta64(1, "h")).all()
    assert h.cells.area.shape == (NY, NX)
    with xr.open_dataset(three[0]) as ds:
        np.testing.assert_allclose(h.cells.area, ds.cell_area, rtol=1e-12)
        np.testing.assert_allclose(h.cells.x, ds.lon)
        np.testing.assert_allclose(h.cells.y_bounds, ds.lat_bnds)
    assert "12 observations (11 ok, 1 failed) of 3 files" in repr(h)


def test_failed_observations_are_no_measurement(three: list[Path]) -> None:
    h = open_jacobian(three)
    x = np.ones(h.shape[1])
    assert np.flatnonzero(np.isnan(h @ x)).tolist() == [6]
    for use in (lambda: h.rmatvec(np.ones(12)), h.as_linear_operator, h.to_csr, lambda: next(h.iter_blocks())):
        with pytest.raises(JacobianError, match=r"1 of 12 observations failed .* H\.without_failed\(\)"):
            use()
    whole = h.without_failed()
    assert len(whole.obs) == 11
    np.testing.assert_allclose(whole @ x, whole.obs.row_sum, rtol=1e-6)


def test_scipy_solves_with_it(three: list[Path]) -> None:
    h = open_jacobian(three).without_failed()
    y = np.arange(1.0, 12)
    found = scipy.sparse.linalg.lsqr(h.as_linear_operator(), y, atol=1e-12, btol=1e-12)[0]
    np.testing.assert_allclose(h @ found, y, rtol=1e-6)
    many = h.as_linear_operator() @ np.ones((h.shape[1], 2))
    np.testing.assert_allclose(many[:, 0], h.obs.row_sum, rtol=1e-6)


def test_a_pickled_one_is_the_same_and_small(three: list[Path]) -> None:
    h = open_jacobian(three).select(time=slice("2023-07-15", "2023-07-15")).coarsen(2)
    data = pickle.dumps(h)
    assert len(data) < 20_000
    other = pickle.loads(data)
    x = np.random.default_rng(0).random(h.shape[1])
    assert np.array_equal(other @ x, h @ x, equal_nan=True)
    assert other.obs.equals(h.obs)


def test_fluxes_on_a_map_become_vectors_and_back(three: list[Path]) -> None:
    h = open_jacobian(three)
    x = np.random.default_rng(0).random(h.shape[1])
    on_map = h.flux_array(x)
    assert on_map.dims == ("flux_time", "lat", "lon")
    assert np.array_equal(h.flux_vector(on_map), x)
    other_order = on_map.isel(lat=slice(None, None, -1)).transpose("lon", "flux_time", "lat")
    assert np.array_equal(h.flux_vector(other_order), x)
    wider = on_map.reindex(lat=np.append(h.cells.y, 41.0), fill_value=0.0)
    assert np.array_equal(h.flux_vector(wider), x)
    same = h.flux_vector(on_map[0].drop_vars(["flux_time", "flux_time_end"]))
    assert np.array_equal(same.reshape(26, -1), np.tile(x[: NY * NX], (26, 1)))
    for wrong, message in (
        (on_map[1:], "no flux_time 2023-07-15T00:00"),
        (on_map.assign_coords(lon=h.cells.x + 0.03), "no lon -111.95"),
        (on_map.assign_attrs(units="kg m-2 s-1"), "'kg m-2 s-1'"),
        (on_map.where(on_map > 0.5), "are not finite"),
        (on_map.rename(lat="y"), "has dimensions"),
        (on_map.drop_vars("lon"), "no coordinate lon"),
        (on_map.to_numpy(), r"an xarray\.DataArray of fluxes on flux_time, lat, lon is needed.*\(got ndarray\)"),
        (on_map.to_numpy().ravel(), r"\(got ndarray\)"),
        (on_map.to_dataset(name="flux"), r"\(got Dataset\)"),
        (on_map.assign_coords(flux_time=np.arange(on_map.sizes["flux_time"])), "values of int64 on its flux_time"),
        (on_map.astype(str), "holds no numbers"),
    ):
        with pytest.raises(JacobianError, match=message):
            h.flux_vector(wrong)
    with pytest.raises(JacobianError, match="flux_vector makes one"):
        h.matvec(on_map)
    for use in (h.matvec, h.flux_array):
        with pytest.raises(JacobianError, match=r"must hold real numbers \(got str 'flux'\)"):
            use("flux")
        with pytest.raises(JacobianError, match="must hold real numbers"):
            use(np.full(h.shape[1], 1j))


def test_the_whole_as_an_array_with_coordinates(three: list[Path]) -> None:
    h = open_jacobian(three).without_failed()
    array = h.to_sparse_xarray()
    assert array.dims == ("obs_id", "flux_time", "lat", "lon")
    assert array.sizes == {"obs_id": 11, "flux_time": 26, "lat": NY, "lon": NX}
    total = array.sel(obs_id="c-1").sum().data
    np.testing.assert_allclose(
        float(total.todense() if hasattr(total, "todense") else total), h.obs.row_sum["c-1"], rtol=1e-6
    )


def test_views_of_views_are_one(three: list[Path]) -> None:
    h = open_jacobian(three).without_failed()

    def same(one: Jacobian, other: Jacobian) -> None:
        np.testing.assert_allclose(one.to_csr().toarray(), other.to_csr().toarray(), rtol=1e-12)
        assert one.cells.is_same_as(other.cells)
        assert np.array_equal(one.flux_time_bounds, other.flux_time_bounds)
        assert one.obs.equals(other.obs)

    box, days, rows = (-111.8, 40.1, -111.4, 40.4), slice("2023-07-15T04", "2023-07-15T22"), ["c-3", "a-0", "b-1"]
    same(h.coarsen((2, 3)).coarsen((2, 2)), h.coarsen((4, 6)))
    same(h.coarsen(2).aggregate_time("D"), h.aggregate_time("D").coarsen(2))
    same(h.aggregate_time("3h").aggregate_time("D"), h.aggregate_time("D"))
    same(h.select(rows=rows).select(region=box).select(time=days), h.select(rows, box, days))
    same(h.select(region=box).coarsen((3, 2)).select(rows=rows), h.select(rows=rows).select(region=box).coarsen((3, 2)))


def test_matrices_of_other_selections_join(three: list[Path]) -> None:
    """An hour may be left out of one of them and be a time step of another."""
    a, b = open_jacobian(three[0]), open_jacobian(three[1]).without_failed()
    both = concat_jacobians([a.select(time=slice("2023-07-15T02", "2023-07-15T03")), b])
    assert both.flux_time[0] == b.flux_time[0]
    hours = [h in both.flux_time[1:3] for h in a.flux_time]
    expected = np.zeros((7, *both.flux_time.shape, NY * NX))
    expected[:4, 1:3] = a.to_csr().toarray().reshape(4, -1, NY * NX)[:, hours]
    expected[4:] = b.to_csr().toarray().reshape(3, -1, NY * NX)
    np.testing.assert_allclose(both.to_csr().toarray(), expected.reshape(7, -1))
    np.testing.assert_allclose(both @ np.ones(both.shape[1]), expected.sum(axis=(1, 2)))
    np.testing.assert_allclose(both.rmatvec(np.ones(7)), expected.sum(axis=0).ravel())


def test_other_grids_join_after_coarsening(three: list[Path], tmp_path: Path) -> None:
    finer = sample("d", seed=4, grid={**GRID, "xres": 0.05, "yres": 0.05}).write(tmp_path / "d.nc")
    with pytest.raises(JacobianError, match=r"d\.nc and .*a\.nc are on different grids .* concat_jacobians"):
        open_jacobian([*three, finer])
    h, other = open_jacobian(three[0]), open_jacobian(finer)
    for wrong in (h, three, [h, three[1]]):
        with pytest.raises(JacobianError, match="takes a list of matrices"):
            concat_jacobians(wrong)
    both = concat_jacobians([h, other.coarsen(grid=h.cells)])
    assert both.shape == (8, h.shape[1])
    np.testing.assert_allclose(both @ np.ones(both.shape[1]), both.obs.row_sum, rtol=1e-6)


def test_an_observation_in_two_files_counts_once(three: list[Path], tmp_path: Path) -> None:
    again = sample("a", rows=6, seed=9, first=DAY + 2).write(tmp_path / "again.nc")
    with pytest.raises(JacobianError, match=r"observation a-0 is in .*a\.nc and again in .*again\.nc"):
        open_jacobian([three[0], again])
    with pytest.raises(JacobianError, match=r"a\.nc is named twice"):
        open_jacobian([three[0], three[0]])
    h = open_jacobian([three[0], again], duplicates="first")
    assert h.obs.index.tolist() == [f"a-{k}" for k in range(6)]
    np.testing.assert_allclose(h @ np.ones(h.shape[1]), h.obs.row_sum, rtol=1e-6)
    with pytest.raises(JacobianError, match="'refuse' or 'first'"):
        open_jacobian(three, duplicates="last")
