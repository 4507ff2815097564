"""The Monte-Carlo error of a row: what it must not see, what it must, and the spread over seeds of real HYSPLIT."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stilt_dagster.science.footprints.gridding import calculate_footprint
from stilt_dagster.science.footprints.row_error import particles_at_first_end, row_sum_error
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.receptors import make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.science.footprints.test_gridding import GRIDS, ours, particles

SEEDS = st.integers(0, 10_000)


@given(seed=SEEDS, n=st.integers(3, 300), slope=st.floats(-5, 5), level=st.floats(-5, 5))
def test_a_mean_linear_in_height_is_no_error(seed: int, n: int, slope: float, level: float) -> None:
    noise, slab = np.random.default_rng(seed).normal(size=n), np.arange(n)
    error = row_sum_error(noise, slab)
    assert row_sum_error(noise + level + slope * slab, slab) == pytest.approx(error, rel=1e-6)
    assert row_sum_error(3 * noise, slab) == pytest.approx(3 * error)
    assert row_sum_error(level + slope * slab, slab) == pytest.approx(0, abs=1e-9)


@given(seed=SEEDS, n=st.integers(1, 50), ensembles=st.integers(2, 5))
def test_of_several_ensembles_no_profile_is_an_error(seed: int, n: int, ensembles: int) -> None:
    rng = np.random.default_rng(seed)
    slab = np.tile(np.arange(n), ensembles)
    noise, profile = rng.normal(size=n * ensembles), rng.normal(size=n) * 100
    error = row_sum_error(noise, slab)
    assert row_sum_error(noise + profile[slab], slab) == pytest.approx(error, rel=1e-6)
    variances = noise.reshape(ensembles, n).var(axis=0, ddof=1)
    assert error == pytest.approx(np.sqrt(variances.mean() / (n * ensembles)))


@given(seed=SEEDS, first=st.integers(3, 100), second=st.integers(3, 100), jump=st.floats(-100, 100))
def test_the_ends_of_a_slanted_column_are_apart(seed: int, first: int, second: int, jump: float) -> None:
    noise = np.random.default_rng(seed).normal(size=first + second)
    slab, upper = np.arange(first + second), np.arange(first + second) >= first
    jitter = np.random.default_rng(seed).uniform(-1e-3, 1e-3, (2, first + second))
    split = particles_at_first_end(np.where(upper, -179.99, 179.99) + jitter[0], np.where(upper, 40.1, 40) + jitter[1])
    assert split == first
    assert row_sum_error(noise + jump * upper, slab, split) == pytest.approx(row_sum_error(noise, slab, split))


def test_of_heights_with_turbulence_below_it_is_right_in_the_mean() -> None:
    """Contributions as of a column: a mean and a spread that fall with height, by a factor of a hundred."""
    rng = np.random.default_rng(1)
    for n in (60, 600):
        height, slab = (np.arange(n) + 0.5) / n, np.arange(n)
        mean, spread = 3 * np.exp(-height / 0.1), np.exp(-height / 0.2)
        runs = mean + spread * rng.gamma(1.0, size=(400, n))
        truth = runs.mean(axis=1).std(ddof=1)
        errors = [row_sum_error(run, slab) for run in runs]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(truth, rel=0.12)
        assert np.mean([row_sum_error(run) for run in runs]) > 1.4 * truth  # as if particles were released alike


def test_too_few_particles_tell_nothing() -> None:
    one = np.ones(1)
    assert np.isnan(row_sum_error(one))
    assert np.isnan(row_sum_error(one, np.zeros(1, int)))
    assert np.isnan(row_sum_error(np.ones(4), np.arange(4), 3))
    assert row_sum_error(np.array([1.0, 3.0]), np.arange(2)) == pytest.approx(1.0)


@settings(deadline=None, max_examples=100)
@example(seed=3805, n=2, minutes=191, name="projected")
@given(seed=SEEDS, n=st.integers(2, 20), minutes=st.integers(2, 200), name=st.sampled_from(["coarse", "projected"]))
def test_the_error_of_a_point_is_of_what_particles_leave_on_the_grid(
    seed: int, n: int, minutes: int, name: str
) -> None:
    p = particles(seed, n, minutes)
    grid = GRIDS[name]
    foot = ours(p, grid, smooth_factor=0.0)
    x, y = p["lon"], p["lat"]
    if not grid.is_longlat:
        x, y = grid.transformer.transform(x, y)
    inside = (x >= grid.x_edges[0]) & (x < grid.x_edges[-1]) & (y >= grid.y_edges[0]) & (y < grid.y_edges[-1])
    each = np.bincount(p["particle"] - 1, p["foot"] * inside, n)
    assert foot.gridded == pytest.approx(each.mean(), rel=1e-5)
    assert foot.error == pytest.approx(each.std(ddof=1) / np.sqrt(n), rel=1e-6)


def test_files_keep_it(finished: Project) -> None:
    with h5netcdf.File(finished.store / "jacobian" / "valley-20230715t0920.nc", "r") as file:
        error, row_sum = file.variables["row_sum_error"][:], file.variables["row_sum"][:]
        assert (file.variables["status"][:] == 0).all()
    assert ((error > 0) & (error < row_sum)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("height", "numpar"), [(20.0, 60), ([0, 2000], 100)])
def test_it_is_the_spread_over_seeds(
    tmp_path: Path, meteorology: Path, height: float | list[float], numpar: int
) -> None:
    """24 runs of hycs_std: their rows spread as each says of itself, within what 24 of them can tell."""
    met = max(meteorology.iterdir())
    engine = Hysplit(scratch=tmp_path)
    receptor = make_receptor(dt.datetime(2023, 7, 15, 16, tzinfo=dt.UTC), -112.0, 40.5, height)
    grid = Grid(-113.0, -111.5, 0.05, 40.0, 41.0, 0.05)
    feet = []
    for seed in range(1, 25):
        p = engine.run(receptor, TransportSettings(n_hours=-2, numpar=numpar, seed=seed), met).columns
        columns = (p[name] for name in ("particle", "age", "lon", "lat", "foot"))
        feet.append(calculate_footprint(*columns, grid, slabs=numpar if isinstance(height, list) else None))
    spread = np.std([f.gridded for f in feet], ddof=1)
    # The standard deviation of 24 values is itself known to 15 percent.
    assert np.sqrt(np.mean([f.error**2 for f in feet])) == pytest.approx(spread, rel=0.35)
