"""Where particles start: as many at each place, and as high in a column, as hycs_std starts them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.scenes.receptors import make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.random_numbers import random_state
from stilt_dagster.science.transport.native.release import start_positions, started

TIME = dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Air at rest over flat land, without turbulence: after a minute particles are where they started."""
    folder = tmp_path_factory.mktemp("calm")
    [met] = make_meteorology(folder, "2023-07-15T06:00", 6, (-114.0, 38.8, -110.4, 42.2), Weather(speed=0.0))
    return met


def first_minute(met: Path, *place: object, **settings: object) -> dict[str, np.ndarray]:
    still = TransportSettings(n_hours=-1, nturb=1, hnf_plume=False, **settings)
    columns = Hysplit().run(make_receptor(TIME, *place), still, met).columns
    return {name: column[columns["age"] == -1] for name, column in columns.items()}


@pytest.mark.parametrize("numpar", [1, 2, 3, 9, 10, 37, 128, 200, 306, 1000])
def test_particles_of_a_column_lie_in_as_many_slabs_as_those_of_hycs_std(calm: Path, numpar: int) -> None:
    """The highest possible place of each: with enough seeds the slabs' depth is known to a fraction of a slab."""
    receptor = make_receptor(TIME, -112.0, 40.5, [100, 1100])
    slab, number = 1000 / started(numpar), np.arange(numpar)
    for seed in range(4):
        theirs = first_minute(calm, -112.0, 40.5, [100, 1100], numpar=numpar, seed=seed)
        lon, lat, own = start_positions(receptor, TransportSettings(numpar=numpar), random_state(seed))
        assert {*lon, *lat} == {-112.0, 40.5}
        for heights in (own, theirs["zagl"]):
            part = (heights - 100) / slab - number
            assert -1e-3 < part.min() <= part.max() < 1 + 1e-3


@pytest.mark.parametrize("numpar", [1, 7, 10, 33, 128, 200])
def test_ends_of_a_line_have_as_many_particles_as_those_of_hycs_std(calm: Path, numpar: int) -> None:
    place = ([-112.0, -112.2], [40.5, 40.6], [100, 300])
    theirs = first_minute(calm, *place, numpar=numpar)
    lon, lat, height = start_positions(make_receptor(TIME, *place), TransportSettings(numpar=numpar), random_state(1))
    for own, name in ((lon, "lon"), (lat, "lat"), (height, "zagl")):
        # A numpar that does not divide by two: hycs_std may leave the last particle out.
        np.testing.assert_allclose(own[: len(theirs[name])], theirs[name], atol=0.02)
    assert len(theirs["lon"]) >= numpar - 1


@pytest.mark.parametrize("numpar", [2000, 3001])
def test_places_along_a_line_are_those_of_hycs_std(calm: Path, numpar: int) -> None:
    place = ([-112.0, -112.2], [40.5, 40.6], [100, 300])
    theirs = first_minute(calm, *place, numpar=numpar, slanted="line")
    settings = TransportSettings(numpar=numpar, slanted="line")
    lon, lat, height = start_positions(make_receptor(TIME, *place), settings, random_state(1))
    for own, name in ((lon, "lon"), (lat, "lat"), (height, "zagl")):
        np.testing.assert_allclose(own, theirs[name], atol=0.02)
