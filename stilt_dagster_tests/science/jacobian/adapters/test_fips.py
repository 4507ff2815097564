"""fips itself multiplies with the matrix, and solves with it."""

from __future__ import annotations

import fips
import numpy as np
import pandas as pd
import pytest
from fips.problems.flux import FluxProblem

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters import fips as adapter
from stilt_dagster.science.jacobian.adapters.fips import forward_operator
from stilt_dagster.science.jacobian.cells import Regions
from stilt_dagster_tests.science.jacobian.adapters.matrices import small


@pytest.mark.parametrize("sparse", [False, True])
def test_fips_multiplies_as_the_matrix_does(sparse: bool) -> None:
    matrix = small()
    operator = forward_operator(matrix, sparse=sparse)
    assert isinstance(operator, fips.ForwardOperator)
    assert operator.is_sparse == sparse
    columns = operator.state_index.droplevel("block")
    assert columns.names == ["time", "lat", "lon"]
    assert columns[0] == (pd.Timestamp("2023-07-01T08:00"), 40.35, -112.1)
    # fips finds a flux by its labels, whatever order it comes in.
    flux = pd.Series(np.random.default_rng(1).random(len(columns)), index=columns, name="flux")
    found = operator.convolve(flux.sample(frac=1, random_state=2))
    np.testing.assert_allclose(found.to_numpy(), matrix.matrix @ flux.to_numpy(), rtol=1e-12)
    assert found.index.get_level_values("obs_location").tolist() == matrix.obs.index.tolist()
    assert found.index.get_level_values("obs_time").tolist() == matrix.obs["time"].tolist()


def test_fips_solves_with_it() -> None:
    """Its posterior is ``x_b + S_0 H' (H S_0 H' + S_z)^-1 (z - H x_b)`` (Rodgers 2000, equation 4.6)."""
    matrix = small()
    operator = forward_operator(matrix)
    rows, columns = operator.obs_index.droplevel("block"), operator.state_index.droplevel("block")
    prior, variance, noise = np.full(len(columns), 0.5), 0.3, 1e-4
    y = matrix.obs["value"].to_numpy()
    problem = FluxProblem(
        obs=pd.Series(y, index=rows, name="concentration"),
        prior=pd.Series(prior, index=columns, name="flux"),
        forward_operator=operator,
        modeldata_mismatch=pd.DataFrame(np.eye(len(rows)) * noise, index=rows, columns=rows),
        prior_error=pd.DataFrame(np.eye(len(columns)) * variance, index=columns, columns=columns),
    ).solve()
    h = matrix.matrix.toarray().astype(float)
    gain = variance * h.T @ np.linalg.inv(variance * h @ h.T + noise * np.eye(len(y)))
    np.testing.assert_allclose(problem.posterior_fluxes.to_numpy(), prior + gain @ (y - h @ prior), rtol=1e-6)


def test_regions_keep_their_names() -> None:
    matrix = small()
    regions = Regions(["lake", "land"], np.array([1e6, 2e6]))
    index = adapter.state_index(matrix.having(cells=regions))
    assert index.names == ["time", "region"]
    assert index[1] == (pd.Timestamp("2023-07-01T08:00"), "land")


def test_what_fips_cannot_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = small()
    with pytest.raises(JacobianError, match=r"1 of 5 observations failed .* H\.without_failed\(\)"):
        forward_operator(matrix.with_status("ok", "failed", "ok", "ok", "empty"))
    monkeypatch.setattr(adapter, "_MOST_BYTES", 1000)
    with pytest.raises(JacobianError, match="coarsen the matrix first, or use sparse=True"):
        forward_operator(matrix)
