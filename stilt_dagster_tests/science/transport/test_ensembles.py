"""More ensembles until a row is known well enough: how many, which, and what becomes of them in files."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

import h5netcdf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster import read_particles
from stilt_dagster.science.errors import Reason, SimulationFailed
from stilt_dagster.science.observations.column_operator import redistributed_weights
from stilt_dagster.science.observations.transport_error import levels_of_particles
from stilt_dagster.science.scenes.receptors import make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.ensembles import run_ensembles, simulate
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster_tests.conftest import Project

HERE = make_receptor(dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC), -112.0, 40.5, 5)
NUMPAR = 3


class Engine:
    """Gives particles that are made of their seed; fails in the ensembles it is told to."""

    def __init__(self, failing: Sequence[int] = ()) -> None:
        self.seeds: list[int | str] = []
        self._failing = failing

    def run(self, receptor: object, settings: TransportSettings, meteorology: object) -> Particles:
        number = len(self.seeds)
        self.seeds.append(settings.seed)
        if number in self._failing:
            raise SimulationFailed(Reason.NO_PARTICLE_DATA, "HYSPLIT wrote no particles")
        numbers = np.arange(1, settings.numpar + 1, dtype=np.int32)
        place = np.full(settings.numpar, float(number))
        columns = {"particle": numbers, "age": -60 * numbers, "lon": place, "lat": place, "zagl": place, "foot": place}
        return Particles(columns, dict.fromkeys(("lon", "lat", "zagl"), 4))

    def stop(self) -> None:
        """Nothing is under way."""


class Scripted:
    """An estimate that says what it is told to."""

    def __init__(self, errors: Sequence[float]) -> None:
        self._errors = errors
        self.first_numbers: list[int] = []

    def add(self, particles: Particles) -> None:
        self.first_numbers.append(int(particles.columns["particle"][0]))

    @property
    def relative_error(self) -> float:
        return self._errors[len(self.first_numbers) - 1]


@given(
    errors=st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, np.nan]), min_size=8, max_size=8),
    most=st.integers(2 * NUMPAR, 8 * NUMPAR),
)
def test_there_are_as_few_ensembles_as_the_precision_takes(errors: list[float], most: int) -> None:
    settings = TransportSettings(n_hours=-2, numpar=NUMPAR, precision=0.1, max_numpar=most)
    engine, estimate = Engine(), Scripted(errors)
    done = run_ensembles(HERE, settings, (), engine, estimate)
    number = next((k for k, error in enumerate(errors, 1) if error <= 0.1), 8)
    number = min(number, most // NUMPAR)
    assert len(engine.seeds) == number
    assert done.n_particles == number * NUMPAR <= most
    assert done.table.column("particle").to_pylist() == list(range(1, number * NUMPAR + 1))
    assert set(estimate.first_numbers) == {1}
    assert engine.seeds[0] == settings.seed
    assert len(set(engine.seeds)) == number
    assert run_ensembles(HERE, settings, (), Engine(), Scripted(errors)).table.equals(done.table)


def test_a_receptor_fails_with_any_of_its_ensembles() -> None:
    settings = TransportSettings(n_hours=-2, numpar=NUMPAR, precision=0.1, max_numpar=9)
    outcome, table = simulate(HERE, settings, (), Engine([1]), lambda receptor: Scripted([1.0, 1.0, 1.0]))
    assert (outcome.status, outcome.reason, table) == ("failed", Reason.NO_PARTICLE_DATA, None)


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=20).map(np.array),
    ensembles=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_ensembles_share_the_weights(weights: np.ndarray, ensembles: int, seed: int) -> None:
    numbers = np.arange(1, ensembles * len(weights) + 1)
    whole = redistributed_weights(weights, numbers)
    np.testing.assert_allclose(whole.reshape(ensembles, -1), np.tile(weights / ensembles, (ensembles, 1)))
    kept = np.random.default_rng(seed).random(len(numbers)) < 0.5
    if kept.any():
        assert redistributed_weights(weights, numbers[kept]).sum() == pytest.approx(weights.sum())


@given(numpar=st.integers(1, 50), n_levels=st.integers(1, 50), ensembles=st.integers(2, 4))
def test_ensembles_share_the_levels_of_a_column(numpar: int, n_levels: int, ensembles: int) -> None:
    first = levels_of_particles(np.arange(1, numpar + 1), numpar, n_levels)
    every = levels_of_particles(np.arange(1, ensembles * numpar + 1), numpar, n_levels)
    assert every.tolist() == ensembles * first.tolist()
    assert first.max() < n_levels


def test_rows_are_as_precise_as_they_were_asked_to_be(project: Project, finished: Project) -> None:
    """The scene of ``finished``, whose receptors have 20 particles each, with further ones until each row is known."""
    project.cli("scene", "add", project.scene_file(transport={"precision": 0.06, "max_numpar": 60}))
    project.cli("scene", "run", "valley-20230715t0920")
    with h5netcdf.File(project.store / "jacobian" / "valley-20230715t0920.nc", "r") as file:
        n, row_sum, error = (file.variables[v][:] for v in ("n_particles", "row_sum", "row_sum_error"))
    assert set(n) <= {20, 40, 60}
    assert n.max() > 20
    assert (error / row_sum)[n < 60] == pytest.approx(0.0, abs=0.06 * 1.05)
    plan = json.loads(project.cli("scene", "plan", "valley-20230715t0920", "--json").stdout)
    assert plan["actual"]["particle_hours"] == 2 * n.sum() < plan["at_most"]["particle_hours"] == 2 * 60 * len(n)
    for part in sorted((finished.store / "trajectories").rglob("part-*.parquet")):
        before = read_particles(part)
        now = read_particles(project.store / part.relative_to(finished.store))
        first = now[now["particle"] <= 20].reset_index(drop=True)
        assert first.drop(columns="receptor").equals(before.drop(columns="receptor"))
        assert first["receptor"].astype(str).equals(before["receptor"].astype(str))
    # A part that is lost is made of the same particles again.
    made = now.drop(columns="receptor")
    (project.store / part.relative_to(finished.store)).unlink()
    project.cli("scene", "run", "valley-20230715t0920")
    again = read_particles(project.store / part.relative_to(finished.store))
    assert again.drop(columns="receptor").equals(made)
