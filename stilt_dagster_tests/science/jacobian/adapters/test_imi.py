"""The IMI's files, read and solved as its ``invert.py`` does: it is no package that could be installed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.imi import element_map, write_granules
from stilt_dagster_tests.science.jacobian.adapters.matrices import Small, small

LABELS = np.array([[1, 1, 2], [3, 3, 2], [3, np.nan, 0], [0, 0, 4]])


def prior_of(matrix: Small) -> np.ndarray:
    return np.random.default_rng(5).random(matrix.shape[1]) / 50


def test_the_inversion_of_its_files_is_that_of_the_matrix(tmp_path: Path) -> None:
    """Factors by its equations (Zhang et al. 2018, 5 and 6), and those of the matrix, are the same."""
    matrix = small()
    prior, variance, noise = prior_of(matrix), 0.25, 15.0**2
    labels = xr.DataArray(LABELS.T, dims=("lon", "lat"), coords={"lat": matrix.cells.y, "lon": matrix.cells.x})
    paths = write_granules(matrix, tmp_path, prior=prior, state_vector=labels)
    assert [p.name for p in paths.values()] == ["a_GCtoSatellite.pkl", "b_GCtoSatellite.pkl"]
    normal, right = np.zeros((4, 4)), np.zeros(4)
    tables = []
    for path in sorted(tmp_path.glob("*.pkl")):
        granule = pickle.loads(path.read_bytes())
        table, k = granule["obs_GC"], 1e9 * granule["K"]
        normal += k.T @ k / noise
        right += k.T @ (table[:, 0] - table[:, 1]) / noise
        tables.append(table)
    factors = 1 + np.linalg.inv(normal + np.eye(4) / variance) @ right

    dense = matrix.matrix.toarray().astype(float)
    cells = np.tile(LABELS.ravel(), 5)
    k = 1e3 * np.column_stack([(dense * prior)[:, cells == e].sum(axis=1) for e in (1, 2, 3, 4)])
    gap = 1e3 * (matrix.obs["value"] - matrix.obs["background"] - matrix.obs["prior_term"] - dense @ prior).to_numpy()
    expected = 1 + np.linalg.inv(k.T @ k / noise + np.eye(4) / variance) @ (k.T @ gap / noise)
    np.testing.assert_allclose(factors, expected, rtol=1e-5)

    table = np.concatenate(tables)
    np.testing.assert_allclose(table[:, 0], matrix.obs["value"] * 1e3, rtol=1e-6)  # ppb
    np.testing.assert_allclose(table[:, 2:], matrix.obs[["longitude", "latitude", "n_pixels"]], rtol=1e-6)


@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 5)), st.integers(1, 4), st.integers(0, 2**31))
def test_an_element_is_its_cells_at_all_hours(labels: np.ndarray, n_hours: int, seed: int) -> None:
    """Factors of 1 make the prior of all cells that are in an element, and other factors scale it."""
    present = np.unique(labels[labels > 0])
    numbered = np.searchsorted(present, labels) + 1
    numbered[labels == 0] = 0
    rng = np.random.default_rng(seed)
    prior = rng.random(n_hours * labels.size)
    if not len(present):
        with pytest.raises(JacobianError, match="numbered from 1"):
            element_map(numbered, prior)
        return
    factors = rng.random(len(present))
    expected = prior.reshape(n_hours, 3, 4) * np.concatenate([[0], factors])[numbered]
    np.testing.assert_allclose(element_map(numbered, prior) @ factors, expected.ravel(), rtol=1e-12)


def test_what_the_imi_cannot_take_is_refused(tmp_path: Path) -> None:
    matrix = small()
    prior = prior_of(matrix)
    moved = xr.DataArray(LABELS, dims=("lat", "lon"), coords={"lat": matrix.cells.y + 0.05, "lon": matrix.cells.x})
    obs = matrix.obs
    for changed, flux, labels, message in (
        (matrix.with_status("failed", "ok", "ok", "ok", "ok"), prior, LABELS, r"H\.without_failed\(\)"),
        (matrix.having(obs=obs.drop(columns="value")), prior, LABELS, "no retrieved value"),
        (matrix.having(obs=obs.drop(columns="background")), prior, LABELS, "no background"),
        (matrix.having(obs=obs.assign(scene="../../etc/x")), prior, LABELS, "cannot be part of a file's name"),
        (matrix.having(obs=obs.assign(background=np.nan)), prior, LABELS, "prior term of observation .* is not known"),
        (matrix, prior[1:], LABELS, "59 columns|60 columns"),
        (matrix, prior * np.inf, LABELS, "not finite"),
        (matrix, prior, LABELS[1:], "state vector has shape"),
        (matrix, prior, LABELS * 2, "numbered from 1 without gaps"),
        (matrix, prior, moved, "other lat than the matrix"),
        (matrix, prior, moved.to_dataset(name="StateVector"), "the state vector must hold real numbers"),
    ):
        with pytest.raises(JacobianError, match=message):
            write_granules(changed, tmp_path, prior=flux, state_vector=labels)
    assert not list(tmp_path.iterdir())


def test_a_background_can_be_given(tmp_path: Path) -> None:
    matrix = small()
    with pytest.raises(JacobianError, match=r"background has shape \(3,\), and there are 5 observations"):
        write_granules(matrix, tmp_path, prior=prior_of(matrix), state_vector=LABELS, background=[1.0, 2.0, 3.0])
    alone = matrix.having(obs=matrix.obs.drop(columns="background"))
    given = write_granules(alone, tmp_path / "given", prior=prior_of(matrix), state_vector=LABELS, background=1.65)
    known = write_granules(matrix, tmp_path / "known", prior=prior_of(matrix), state_vector=LABELS)
    for scene, path in given.items():
        assert path.read_bytes() == known[scene].read_bytes()
