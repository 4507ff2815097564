"""The column operator: against sums done by hand, and against a known answer through gridding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.footprints.gridding import calculate_footprint
from stilt_dagster.science.observations.column_operator import (
    ColumnOperator,
    column_receptors,
    level_heights,
    operators,
    redistributed_weights,
)
from stilt_dagster.science.observations.selection import aggregate, select, thin
from stilt_dagster.science.observations.soundings import Soundings, read_soundings
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.observation_settings import Aggregation, Selection

SCALE = 8000.0  # m: height over which pressure falls by e in the test's atmosphere


def soundings(n: int = 1, layers: int = 12, *, levels: bool = False, zenith: float = 0.0) -> Soundings:
    surface = 900.0 + np.arange(n)
    sigma = np.linspace(1, 0.02, layers + (not levels))
    pressure = surface[:, None] * sigma
    edges = np.concatenate([[sigma[0]], (sigma[:-1] + sigma[1:]) / 2, [sigma[-1]]]) if levels else sigma
    weight = -np.diff(edges)
    return Soundings(
        sounding=np.array([f"s{k}" for k in range(n)], object),
        time=np.datetime64("2023-07-15T09:20:00", "s") + np.arange(n).astype("m8[s]"),
        longitude=-112 + 0.01 * np.arange(n),
        latitude=np.full(n, 40.5),
        value=np.full(n, 1.9),
        uncertainty=np.full(n, 0.01),
        quality=np.ones(n),
        surface_pressure=surface,
        surface_altitude=np.full(n, 1300.0),
        zenith=np.full(n, zenith),
        azimuth=np.full(n, 90.0),
        pressure=pressure,
        averaging_kernel=np.tile(np.linspace(1.1, 0.6, layers), (n, 1)),
        pressure_weight=np.tile(weight / weight.sum(), (n, 1)),
        prior=np.tile(np.linspace(1.9, 1.6, layers), (n, 1)),
        altitude=1300 - SCALE * np.log(np.tile(sigma, (n, 1))),
    )


@pytest.mark.parametrize("levels", [False, True])
def test_particles_carry_the_column_and_the_prior_the_rest(levels: bool) -> None:
    [operator] = operators(soundings(levels=levels))
    whole = operator.height[-1]
    column = float((operator.weight * operator.kernel).sum())
    assert operator.particle_weights(0, whole, 500).sum() == pytest.approx(column, rel=1e-9)
    prior = float((operator.weight * (1 - operator.kernel) * operator.prior).sum())
    assert operator.prior_term(0, whole) == pytest.approx(prior, rel=1e-9)
    # Above the top all is the prior's, and air equal to the prior gives the prior's column wherever the top is.
    for top in (700.0, 2500.0, 9000.0):
        weights = operator.particle_weights(0, top, 4000)
        p = np.exp(np.interp((np.arange(4000) + 0.5) * top / 4000, operator.height, np.log(operator.pressure)))
        if levels:
            air = np.interp(-p, -operator.pressure, operator.prior)
        else:
            air = operator.prior[np.clip(np.searchsorted(-operator.pressure, -p) - 1, 0, len(operator.prior) - 1)]
        total = float((weights * air).sum()) + operator.prior_term(0, top)
        assert total == pytest.approx(float((operator.weight * operator.prior).sum()), rel=2e-4)


@given(st.floats(100, 20_000), st.integers(1, 400), st.booleans())
def test_weights_are_linear_in_the_kernel(top: float, numpar: int, levels: bool) -> None:
    [full] = operators(soundings(levels=levels))
    half = ColumnOperator(full.pressure, full.height, full.kernel / 2, full.weight, full.prior)
    none = ColumnOperator(full.pressure, full.height, full.kernel * 0, full.weight, full.prior)
    one = ColumnOperator(full.pressure, full.height, np.ones_like(full.kernel), full.weight, full.prior)
    weights = full.particle_weights(0, top, numpar)
    np.testing.assert_allclose(half.particle_weights(0, top, numpar), weights / 2, rtol=1e-12, atol=1e-15)
    assert not none.particle_weights(0, top, numpar).any()
    assert none.prior_term(0, top) == pytest.approx(float((full.weight * full.prior).sum()))
    plain = full.particle_weights(0, top, numpar, kernel=False)
    np.testing.assert_allclose(one.particle_weights(0, top, numpar), plain, rtol=1e-12, atol=1e-15)


def test_a_layer_s_weight_is_its_share_of_pressure() -> None:
    """Equal layers of pressure: a slab's weight is the pressure it spans over the column's."""
    [operator] = operators(soundings())
    weights = operator.particle_weights(0, 3000, 100, kernel=False)
    edges = 900 * np.exp(-np.linspace(0, 3000, 101) / SCALE)
    inside = operator.pressure[0] - operator.pressure[-1]
    # Between levels heights are interpolated in the logarithm of pressure, which here is exact.
    np.testing.assert_allclose(weights, -np.diff(edges) / inside, rtol=1e-9)


def test_uniform_flux_and_wind_give_the_analytic_column() -> None:
    """Particles of all heights carried by one wind, each feeling flux F for T minutes: X = F f T sum(w)."""
    numpar, hours, per_minute, flux = 50, 4, 2e-4, 3.0
    minutes = np.arange(1, 60 * hours + 1)
    particle = np.repeat(np.arange(1, numpar + 1, dtype=np.int32), len(minutes))
    age = -np.tile(minutes, numpar)
    lon = -112.0 - 0.001 * np.tile(minutes, numpar) + 1e-5 * particle
    lat = np.full(len(age), 40.5) + 1e-5 * particle
    foot = np.full(len(age), per_minute)
    grid = Grid(-114, -110, 0.05, 39, 42, 0.05)
    [operator] = operators(soundings())
    weights = operator.particle_weights(0, 3000, numpar)

    def row(w: np.ndarray | None, **more: float) -> np.ndarray:
        return calculate_footprint(particle, age, lon, lat, foot, grid, weights=w, **more).dense(grid, hours)

    felt = flux * per_minute * 60 * hours
    assert flux * row(weights).sum(dtype=float) == pytest.approx(felt * weights.sum(), rel=1e-6)
    np.testing.assert_allclose(row(weights / 2), row(weights) / 2, rtol=1e-6)
    assert not row(weights * 0).any()
    np.testing.assert_allclose(row(np.full(numpar, 1 / numpar)), row(None), rtol=1e-6)
    np.testing.assert_allclose(row(-weights), -row(weights), rtol=1e-6)
    tau = 2.5
    decayed = flux * per_minute * np.exp(-minutes / 60 / tau).sum()
    assert flux * row(weights, lifetime=tau).sum(dtype=float) == pytest.approx(decayed * weights.sum(), rel=1e-6)


def test_lost_particles_are_stood_for_by_the_others() -> None:
    weights = np.array([0.1, 0.2, 0.3])
    assert redistributed_weights(weights, np.array([1, 3])).sum() == pytest.approx(0.6)
    assert redistributed_weights(weights, np.array([1, 2, 3])) is not None
    np.testing.assert_array_equal(redistributed_weights(weights, np.array([1, 2, 3])), weights)


def test_columns_end_at_a_level_and_follow_the_line_of_sight() -> None:
    [upright] = column_receptors(soundings(), 3000, slant=False)
    heights = level_heights(soundings())[0]
    assert upright.heights == (0.0, round(heights[heights >= 3000].min()))
    assert not upright.slanted
    [slanted] = column_receptors(soundings(zenith=45.0), 3000, slant=True)
    east = np.deg2rad(slanted.longitudes[1] - slanted.longitudes[0]) * 6_371_007 * np.cos(np.deg2rad(40.5))
    assert east == pytest.approx(slanted.heights[1], rel=1e-3)
    with pytest.raises(ValueError, match="86 degrees"):
        column_receptors(soundings(zenith=86.0), 3000, slant=True)


def test_super_observations_average_operators(tmp_path) -> None:
    pixels = soundings(40)
    made = aggregate(pixels, Aggregation(km=2))
    assert made.n_pixels.sum() == 40
    assert sorted(i for ids in made.pixels for i in ids) == sorted(pixels.sounding)
    k = int(made.n_pixels.argmax())
    of_cell = np.isin(pixels.sounding, made.pixels[k])
    np.testing.assert_allclose(made.pressure[k], pixels.pressure[of_cell].mean(axis=0))
    np.testing.assert_allclose(made.averaging_kernel[k], pixels.averaging_kernel[0])
    assert made.uncertainty[k] == pytest.approx(0.01 / np.sqrt(of_cell.sum()))
    alike = aggregate(pixels, Aggregation(km=2, correlation=1.0))
    np.testing.assert_allclose(alike.uncertainty, 0.01)
    assert made.is_whole.all()
    made.write(tmp_path / "s.parquet")
    again = read_soundings(tmp_path / "s.parquet")
    assert again.digests() == made.digests()
    assert again.pixels == made.pixels
    assert len(thin(pixels, 2)) == len(made)
    assert select(pixels, Selection(quality=1, thin_km=2))[1].selected == len(made)
