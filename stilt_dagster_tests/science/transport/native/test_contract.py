"""The native engine ends where hycs_std ends, and fails as it fails: each case is run through both."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from stilt_dagster.demo.meteorology import Weather as SteadyWind
from stilt_dagster.demo.meteorology import make_meteorology
from stilt_dagster.science.errors import EngineError, Interrupted, MeteorologyError
from stilt_dagster.science.scenes.receptors import Receptor, make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.ensembles import Engine, simulate
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.engine import NativeEngine

TIME = dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC)
HERE = make_receptor(TIME, -112.0, 40.5, 5)
SHORT = TransportSettings(n_hours=-2, numpar=20)


@pytest.fixture(scope="module")
def met(meteorology: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("met") / "two_files"
    path.write_bytes(b"".join(p.read_bytes() for p in sorted(meteorology.iterdir())))
    return path


@pytest.fixture(scope="module")
def native() -> Engine:
    return NativeEngine()


@pytest.mark.parametrize(
    ("receptor", "hours"),
    [
        (make_receptor(TIME, -100.0, 40.5, 5), -2),
        (make_receptor(TIME.replace(hour=20), -112.0, 40.5, 5), -2),
        (HERE, -8),  # the file begins three hours before
    ],
    ids=["place", "time", "begins"],
)
def test_what_meteorology_does_not_cover_fails(native: Engine, met: Path, receptor: Receptor, hours: int) -> None:
    settings = TransportSettings(n_hours=hours, numpar=20)
    for engine in (native, Hysplit()):
        outcome, table = simulate(receptor, settings, met, engine)
        assert (outcome.status, outcome.reason, table) == ("failed", "MET_COVERAGE", None)


def test_particles_that_leave_the_grid_are_a_complete_run(native: Engine, met: Path) -> None:
    edge = make_receptor(TIME, -114.05, 40.5, 5)
    own, theirs = (simulate(edge, TransportSettings(n_hours=-3, numpar=50), met, e)[0] for e in (native, Hysplit()))
    assert own.status == theirs.status == "ok"
    assert own.escaped_fraction == theirs.escaped_fraction == 1.0
    assert own.hours_covered == pytest.approx(theirs.hours_covered, abs=0.2)


def test_an_engine_that_was_stopped_simulates_no_more(met: Path) -> None:
    """A run under way takes milliseconds, and is let end."""
    engine = NativeEngine()
    engine.run(HERE, SHORT, met)
    engine.stop()
    with pytest.raises(Interrupted):
        engine.run(HERE, SHORT, met)


MORNING = make_receptor(TIME.replace(hour=16), -112.0, 40.5, 100)  # with a mixed layer to scale


def means(engine: Engine, met: Path, **changes: object) -> np.ndarray:
    """Return the mean mixing height, influence and height of particles."""
    p = engine.run(MORNING, TransportSettings(**{"n_hours": -2, "numpar": 200, **changes}), met).columns
    return np.array([p[name].mean() for name in ("mlht", "foot", "zagl")])


def test_settings_change_particles_as_they_change_those_of_hycs_std(native: Engine, met: Path) -> None:
    """With and without each, both engines go the same way by as much."""
    engines = (native, Hysplit())
    plain = [means(engine, met) for engine in engines]
    for name, value in (
        ("kmix0", 1500), ("ziscale", 3.0), ("kmixd", 0), ("kmixd", 700), ("kbls", 2), ("tlfrac", 0.4), ("hscale", 60.0),
        ("z_top", 5000.0), ("hnf_plume", False), ("veght", 1.0), ("veght", 100.0),
    ):  # fmt: skip
        own, theirs = (means(e, met, **{name: value}) / p for e, p in zip(engines, plain, strict=True))
        np.testing.assert_allclose(own, theirs, rtol=0.15, err_msg=name)


@pytest.mark.parametrize("changes", [{"kmix0": 1500}, {"ziscale": 3.0}], ids=str)
def test_mixing_heights_are_raised_and_scaled_as_those_of_hycs_std(native: Engine, met: Path, changes: dict) -> None:
    own, theirs = (means(engine, met, **changes)[0] for engine in (native, Hysplit()))
    assert own == pytest.approx(theirs, rel=0.02)


def test_heights_are_above_sea_level_with_kmsl(native: Engine, tmp_path: Path) -> None:
    """Over a hill of 500 m, 600 m above sea level is 100 m above ground."""
    [met] = make_meteorology(
        tmp_path, "2023-07-15T06:00", 6, (-114.0, 38.8, -110.4, 42.2), SteadyWind(speed=1.0, hill=500.0)
    )
    on_top, settings = make_receptor(TIME, -112.2, 40.5, 600), {"n_hours": -1, "numpar": 20, "hnf_plume": False}
    above_ground = native.run(on_top, TransportSettings(**settings), met).columns["zagl"][::60].mean()
    above_sea = native.run(on_top, TransportSettings(**settings, kmsl=1), met).columns["zagl"][::60].mean()
    assert above_ground - above_sea == pytest.approx(500, abs=60)


def test_nested_meteorology_is_refused_in_one_line(native: Engine, met: Path) -> None:
    with pytest.raises((EngineError, MeteorologyError), match="engine: hysplit") as refused:
        native.run(HERE, SHORT, [met, met])
    assert "\n" not in str(refused.value)
