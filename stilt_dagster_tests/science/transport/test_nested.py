"""Nested meteorology on the real hycs_std: what leaves one grid goes on in the next."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.errors import Reason, SimulationFailed
from stilt_dagster.science.scenes.receptors import Receptor, make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.ensembles import simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster_tests.science.meteorology.global_files import Rotation, lonlat, write

#: A west wind of 8 m/s takes particles off the inner grid within two and a half hours, and never off the outer one.
WIND = Weather(speed=8.0, direction=270.0)
INNER, OUTER = (-112.6, 40.0, -111.4, 41.0), (-116.0, 38.0, -110.0, 43.0)
SIX_HOURS = TransportSettings(n_hours=-6, numpar=40)
METRES_A_DEGREE = 111.2e3 * np.cos(np.radians(40.5))


def released(lon: float = -112.0) -> Receptor:
    return make_receptor(dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC), lon, 40.5, 50)


def grid(
    directory: Path, box: tuple[float, float, float, float], spacing_km: float, weather: Weather = WIND, **hours: Any
) -> Path:
    times = {"start": "2023-07-15T02:00", "hours": 9} | hours
    made = make_meteorology(directory, bbox=box, weather=weather, spacing_km=spacing_km, **times)
    path = directory / "whole.arl"
    path.write_bytes(b"".join(p.read_bytes() for p in sorted(made)))
    return path


@pytest.fixture(scope="module")
def inner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid(tmp_path_factory.mktemp("inner"), INNER, 2.0)


@pytest.fixture(scope="module")
def outer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid(tmp_path_factory.mktemp("outer"), OUTER, 12.0)


@pytest.fixture(scope="module")
def calm_outer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another wind than inside, by which it is seen which grid a particle is in."""
    return grid(tmp_path_factory.mktemp("calm"), OUTER, 12.0, Weather(speed=2.0, direction=270.0))


@pytest.fixture
def engine(tmp_path: Path) -> Hysplit:
    return Hysplit(scratch=tmp_path)


def table(particles: Particles) -> pd.DataFrame:
    return pd.DataFrame(particles.columns)


def speed(particles: Particles, first: int, last: int) -> float:
    """Return the mean speed westward between two ages, m/s."""
    lon = table(particles).groupby("age").lon.mean()
    return float((lon[-first] - lon[-last]) * METRES_A_DEGREE / ((last - first) * 60))


def test_alone_the_inner_grid_loses_every_particle(engine: Hysplit, inner: Path) -> None:
    outcome, _ = simulate(released(), SIX_HOURS, inner, engine)
    assert (outcome.status, outcome.escaped_fraction) == ("ok", 1.0)
    assert 1.5 < outcome.hours_covered < 3


def test_particles_that_leave_the_first_grid_go_on_in_the_second(engine: Hysplit, inner: Path, outer: Path) -> None:
    outcome, _ = simulate(released(), SIX_HOURS, (inner, outer), engine)
    assert (outcome.status, outcome.escaped_fraction, outcome.hours_covered) == ("ok", 0.0, 6.0)
    both = engine.run(released(), SIX_HOURS, (inner, outer))
    assert both.n_particles == 40
    steps = table(both).groupby("particle")[["lon", "lat"]].diff().abs().max()
    assert steps.max() < 60 * 12 / METRES_A_DEGREE, "a jump: more than a minute at 12 m/s"
    for first in range(30, 330, 30):
        assert speed(both, first, first + 30) == pytest.approx(8.0, rel=0.06), f"{first} minutes back"
    end = table(both)[both.columns["age"] == -360]
    assert end.lon.max() < -113.5
    assert end.lat.mean() == pytest.approx(40.5, abs=0.03)


def test_inside_the_first_grid_particles_are_those_of_it_alone(engine: Hysplit, inner: Path, outer: Path) -> None:
    alone, both = (table(engine.run(released(), SIX_HOURS, met)) for met in (inner, (inner, outer)))
    left = alone.groupby("particle").age.min().max()  # the first to leave: from then on random numbers are others
    assert left < -90
    same = [t[t.age >= left].sort_values(["particle", "age"]).reset_index(drop=True) for t in (alone, both)]
    pd.testing.assert_frame_equal(*same)
    assert not alone[alone.age == left - 1].equals(both[both.age == left - 1])


def test_hycs_std_takes_the_finest_grid_that_has_the_particle(engine: Hysplit, inner: Path, calm_outer: Path) -> None:
    """In the order of their spacing, whichever they are named in; also for what comes in from outside."""
    leaving = engine.run(released(), SIX_HOURS, (inner, calm_outer))
    assert speed(leaving, 10, 90) == pytest.approx(8.0, rel=0.1)
    assert speed(leaving, 200, 350) == pytest.approx(2.0, rel=0.1)
    other = engine.run(released(), SIX_HOURS, (calm_outer, inner))
    assert table(leaving).equals(table(other))
    entering = engine.run(released(-111.25), SIX_HOURS, (inner, calm_outer))
    assert speed(entering, 5, 30) == pytest.approx(2.0, rel=0.1)
    assert speed(entering, 200, 300) == pytest.approx(8.0, rel=0.1)


def test_hours_a_finer_grid_lacks_are_those_of_the_coarser(
    engine: Hysplit, inner: Path, calm_outer: Path, tmp_path: Path
) -> None:
    late = grid(tmp_path / "late", INNER, 2.0, start="2023-07-15T08:00", hours=3)
    particles = engine.run(released(), SIX_HOURS, (late, calm_outer))
    assert speed(particles, 10, 70) == pytest.approx(8.0, rel=0.1)
    assert speed(particles, 90, 350) == pytest.approx(2.0, rel=0.1)
    coarse = grid(tmp_path / "coarse", OUTER, 12.0, start="2023-07-15T07:00", hours=4)
    with pytest.raises(SimulationFailed) as failed:
        engine.run(released(), SIX_HOURS, (inner, coarse))
    assert failed.value.reason is Reason.MET_COVERAGE, "out of the finer one, and the coarser has ended"


def test_grids_of_other_levels_and_hours_nest(engine: Hysplit, inner: Path, tmp_path: Path) -> None:
    """Sigma inside, pressure outside on latitude and longitude, every three hours."""
    west, south = OUTER[:2]
    around = Rotation(0.0, 90.0, 8.0 / np.cos(np.radians(40.5)))  # the same wind, along parallels
    times = pd.date_range("2023-07-15T00:00", periods=5, freq="3h")
    outer = write(tmp_path / "gdas.arl", lonlat(west + 360, south, 49, 41, 0.125), "pressure", around, times)
    both = engine.run(released(), SIX_HOURS, (inner, outer))
    assert both.coverage(-6) == (6.0, 0.0)
    assert speed(both, 200, 350) == pytest.approx(8.0, rel=0.08)
    assert table(both).groupby("age").lat.mean().diff().abs().max() < 0.001


def test_grids_are_called_grids_in_control(engine: Hysplit, inner: Path, outer: Path, tmp_path: Path) -> None:
    """pystilt calls them times of one grid, and hycs_std then releases particles half a degree off without a word."""
    (tmp_path / "run").mkdir()
    engine.prepare(tmp_path / "run", released(), SIX_HOURS, (inner, outer))
    control = (tmp_path / "run" / "CONTROL").read_text().splitlines()
    assert control[6:11] == ["2 1", "./", "met.arl", "./", "met.2.arl"]
    assert (tmp_path / "run" / "met.2.arl").resolve() == outer
    (tmp_path / "one").mkdir()
    engine.prepare(tmp_path / "one", released(), SIX_HOURS, inner)
    assert (tmp_path / "one" / "CONTROL").read_text().splitlines()[6:9] == ["1 1", "./", "met.arl"]
    first = table(engine.run(released(), SIX_HOURS, (inner, outer)))
    assert first[first.age == -1].lon.mean() == pytest.approx(-112.0, abs=0.01)
