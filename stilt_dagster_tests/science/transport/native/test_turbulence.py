"""``sigw`` and ``tlgr`` of the native engine against those that the real hycs_std prints, and their limits."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.advection import place_at, surface_at, time_step
from stilt_dagster.science.transport.native.columns import column_at, layer, layer_at
from stilt_dagster.science.transport.native.meteorology.levels import squeeze
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology, prepare
from stilt_dagster.science.transport.native.meteorology.projection import to_grid
from stilt_dagster.science.transport.native.meteorology.surface_layer import (
    obukhov,
    scales_from_fluxes,
    scales_from_profiles,
)
from stilt_dagster.science.transport.native.meteorology.turbulence import free_mixing, hanna
from stilt_dagster_tests.science.transport.native.weather import Weather

#: A solar hour of convection.
DAY = 14.0
TIME = dt.datetime(2023, 7, 15, 6, tzinfo=dt.UTC)
PLACES = 100


@pytest.fixture(scope="module", params=["sigma", "pressure"])
def mountains(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night over mountains, with friction velocities and roughness, or with stresses and no roughness."""
    return Weather(request.param, relief=1200.0, hours=3).write(tmp_path_factory.mktemp("night") / request.param)


@pytest.fixture(scope="module")
def convection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The afternoon of a plain."""
    return Weather("sigma", steady=DAY, hours=3).write(tmp_path_factory.mktemp("day") / "day")


def turbulence(meteorology: Meteorology, minute: float, lon: float, lat: float, zagl: float) -> tuple[float, float]:
    """Return what the engine has at a place that hycs_std printed."""
    x, y = to_grid(meteorology.projection, lon, lat)
    here = place_at(meteorology.wind, time_step(meteorology.wind.times, minute), x, y)
    shrink = squeeze(surface_at(meteorology.terrain, here), meteorology.top)
    column = column_at(meteorology, here, shrink)
    air = layer(meteorology, column, layer_at(meteorology.level, column, zagl, 0))
    return air.sigma_w, air.timescale


def errors(path: Path, settings: TransportSettings) -> dict[str, NDArray[np.float64]]:
    """Return relative errors over half a unit of the last printed digit, of particles from many places."""
    rng = np.random.default_rng(1)
    places = (rng.uniform(-113.2, -110.9, PLACES), rng.uniform(39.7, 41.7, PLACES))
    heights = np.exp(rng.uniform(np.log(3), np.log(3500), PLACES))
    receptor = Receptor(TIME, *(tuple(np.round(v, 4).tolist()) for v in places), tuple(np.round(heights, 1).tolist()))
    printed = Hysplit().run(receptor, settings, path).columns
    rows = np.flatnonzero(np.isin(printed["age"], (-1, -20, -40, -59)))
    meteorology, start = prepare(path, settings, TIME.timestamp() / 60), TIME.timestamp() / 60
    at = np.stack([start + printed["age"], printed["lon"], printed["lat"], printed["zagl"]], axis=1)[rows]
    own = np.array([turbulence(meteorology, *(float(v) for v in row)) for row in at])
    found = {}
    for column, (name, slack) in enumerate((("sigw", 5e-4), ("tlgr", 5e-5))):
        theirs = printed[name][rows]
        found[name] = np.maximum(np.abs(own[:, column] - theirs) - slack, 0) / np.maximum(theirs, slack)
    return found


def settings(kbls: int) -> TransportSettings:
    return TransportSettings(n_hours=-1, numpar=PLACES, seed=1, hnf_plume=False, kbls=kbls)


def require_agreement(found: dict[str, NDArray[np.float64]]) -> None:
    # What is left lies at the edge between two grid points: hycs_std asks where the particle was within the minute.
    for name, error in found.items():
        assert np.median(error) < 5e-3, name
        assert np.mean(error < 0.01) > 0.95, name


def test_a_night_over_mountains(mountains: Path) -> None:
    require_agreement(errors(mountains, settings(kbls=1)))


@pytest.mark.parametrize("kbls", [1, 2])
def test_convection(convection: Path, kbls: int) -> None:
    require_agreement(errors(convection, settings(kbls)))


def test_limits() -> None:
    # Calm air without a heat flux is weakly unstable, and stability is bounded on both sides at the second level.
    ustar, theta_star = scales_from_fluxes(0.0, 0.0, 1.2)
    assert (ustar, theta_star) == (1e-4, -1e-4)
    assert obukhov(0.05, -1.0, 300.0, 75.0)[0] == -37.5
    assert obukhov(0.05, 1.0, 300.0, 75.0)[0] == 7.5
    assert math.isinf(obukhov(0.3, 0.0, 300.0, 75.0)[0])
    # Above the mixed layer mixing is bounded, and does not grow with unstable air.
    assert free_mixing(500.0, 245.0, 300.0, 20.0, 0.0) == 0.01
    assert free_mixing(500.0, 245.0, 300.0, 0.0, 900.0) == 200.0
    assert free_mixing(500.0, 245.0, 300.0, -2.0, 4.0) == free_mixing(500.0, 245.0, 300.0, 0.0, 4.0)


def test_hanna() -> None:
    # Stable: Hanna (1982), eq. 7.25 and 7.27; convective, at mid-height of the mixed layer: eq. 7.17 and 7.20.
    sigma, timescale = hanna(200.0, 1000.0, 0.3, 0.5, 100.0, 0.1)
    assert sigma == pytest.approx(1.3 * 0.3 * 0.8)
    assert timescale == pytest.approx(0.1 * 1000 / sigma * 0.2**0.8)
    sigma, timescale = hanna(500.0, 1000.0, 0.3, 2.0, -40.0, 0.1)
    assert sigma == pytest.approx(0.722 * 2.0 * 0.5**0.207)
    assert timescale == pytest.approx(150 / sigma * (1 - math.exp(-2.5)))


def test_profiles_of_neutral_air_are_logarithmic() -> None:
    ustar, theta_star = scales_from_profiles(10.0, 75.0, 4.0, 300.0, 300.0, 0.1)
    assert ustar == pytest.approx(0.4 * 75 * 2 / 65)
    assert theta_star == 0.0
