"""One run of hycs_std: what pystilt leaves to be put right, on the real binary."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.errors import EngineError, Interrupted, NoEngineError, Reason, SimulationFailed, StoreError
from stilt_dagster.science.pystilt import WHEEL_BUILD, engine_here
from stilt_dagster.science.scenes.receptors import Receptor, make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings, seed_for
from stilt_dagster.science.transport.ensembles import simulate
from stilt_dagster.science.transport.hysplit import Hysplit, release
from stilt_dagster.science.transport.particles import Particles

TIME = dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC)
HERE = make_receptor(TIME, -112.0, 40.5, 5)
SHORT = TransportSettings(n_hours=-2, numpar=20)
LONG = TransportSettings(n_hours=-3, numpar=500)


@pytest.fixture(scope="module")
def met(meteorology: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("met") / "two_files"
    path.write_bytes(b"".join(p.read_bytes() for p in sorted(meteorology.iterdir())))
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Hysplit:
    return Hysplit(scratch=tmp_path)


def equal(a: Particles, b: Particles) -> bool:
    return all(np.array_equal(a.columns[k], b.columns[k], equal_nan=True) for k in a.columns)


def children(of: int) -> list[int]:
    """Return the simulations a process has started; servers of other tests may be its children too."""
    found: list[int] = []
    for task in Path(f"/proc/{of}/task").iterdir():
        with suppress(OSError):  # the thread, or its child, has ended since it was listed
            for child in (task / "children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() in ("hycs_std", "setpriv"):
                    found.append(int(child))
    return found


def wait_for_child() -> int:
    for _ in range(500):
        if found := children(os.getpid()):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("hycs_std did not start")


def test_particles_go_upwind_at_the_speed_of_the_wind(engine: Hysplit, met: Path) -> None:
    """A west wind of 6 m/s brings air from the west, 21.6 km an hour."""
    p = engine.run(HERE, TransportSettings(n_hours=-3, numpar=100), met).columns
    end = p["age"] == -180
    east = (p["lon"][end].mean() + 112.0) * 111.2e3 * np.cos(np.radians(40.5))
    north = (p["lat"][end].mean() - 40.5) * 111.2e3
    assert -east / (3 * 3600) == pytest.approx(6.0, rel=0.1)
    assert abs(north / east) < 0.09


def test_a_run_repeats_itself_and_receptors_differ(engine: Hysplit, met: Path) -> None:
    first = engine.run(HERE, SHORT, met)
    assert equal(first, engine.run(HERE, SHORT, met))
    other = make_receptor(TIME, -112.0, 40.5, 6)
    assert seed_for(other.id) != seed_for(HERE.id) < 2**31
    assert not equal(first, engine.run(HERE, SHORT.model_copy(update={"seed": 7}), met))


def test_nothing_is_left_in_scratch(engine: Hysplit, met: Path, tmp_path: Path) -> None:
    engine.run(HERE, SHORT, met)
    assert not list(tmp_path.glob("stilt-*"))


def test_a_killed_run_is_incomplete_and_succeeds_when_tried_again(engine: Hysplit, met: Path) -> None:
    undisturbed = engine.run(HERE, LONG, met)
    killer = threading.Thread(target=lambda: (time.sleep(0.4), os.kill(wait_for_child(), signal.SIGKILL)))
    killer.start()
    with pytest.raises(SimulationFailed) as failed:
        engine.run(HERE, LONG, met)
    killer.join()
    assert failed.value.reason is Reason.INCOMPLETE
    killer = threading.Thread(target=lambda: (time.sleep(0.4), os.kill(wait_for_child(), signal.SIGKILL)))
    killer.start()
    outcome, table = simulate(HERE, LONG, met, engine)
    killer.join()
    assert (outcome.status, outcome.attempts) == ("ok", 2)
    assert table is not None
    assert table.num_rows == len(undisturbed)


def test_a_timeout_ends_only_its_own_process(engine: Hysplit, met: Path) -> None:
    results: dict[str, object] = {}

    def run(name: str, settings: TransportSettings) -> None:
        outcome, _ = simulate(HERE, settings, met, engine)
        results[name] = (outcome.status, outcome.reason, outcome.attempts)

    threads = [
        threading.Thread(target=run, args=("slow", LONG.model_copy(update={"timeout": 0.3}))),
        threading.Thread(target=run, args=("fine", LONG)),
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {"slow": ("failed", "TIMEOUT", 2), "fine": ("ok", "", 1)}
    assert not children(os.getpid())


def test_stopping_ends_all(engine: Hysplit, met: Path) -> None:
    seen: list[BaseException] = []

    def run() -> None:
        try:
            engine.run(HERE, LONG, met)
        except BaseException as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for_child()
    engine.stop()
    thread.join(5)
    assert [type(e) for e in seen] == [Interrupted]
    with pytest.raises(Interrupted):
        engine.run(HERE, SHORT, met)


@pytest.mark.parametrize(
    "receptor",
    [make_receptor(TIME, -100.0, 40.5, 5), make_receptor(TIME.replace(hour=20), -112.0, 40.5, 5)],
    ids=["place", "time"],
)
def test_a_receptor_outside_the_meteorology_is_met_coverage(engine: Hysplit, met: Path, receptor: Receptor) -> None:
    outcome, table = simulate(receptor, SHORT, met, engine)
    assert (outcome.status, outcome.reason, outcome.attempts, table) == ("failed", "MET_COVERAGE", 1, None)
    assert outcome.log


def test_meteorology_that_ends_is_not_a_domain_that_is_left(engine: Hysplit, met: Path) -> None:
    """Time running out fails; particles blown off the grid are a complete run, and counted."""
    ends, _ = simulate(HERE, TransportSettings(n_hours=-8, numpar=20), met, engine)
    assert (ends.status, ends.reason) == ("failed", "MET_COVERAGE")
    edge = make_receptor(TIME, -114.05, 40.5, 5)
    left, _ = simulate(edge, TransportSettings(n_hours=-3, numpar=20), met, engine)
    assert left.status == "ok"
    assert left.escaped_fraction == 1.0
    assert 0 < left.hours_covered < 3


def test_columns_stand_for_their_slabs(engine: Hysplit, met: Path) -> None:
    column = make_receptor(TIME, -112.0, 40.5, [0, 1000])
    p = engine.run(column, SHORT, met).columns
    np.testing.assert_allclose(p["xhgt"], (p["particle"] - 0.5) * 50)
    slanted = make_receptor(TIME, [-112.0, -112.1], [40.5, 40.6], [0, 1000])
    p = engine.run(slanted, SHORT, met).columns
    first = p["age"] == -1
    assert p["lon"][first].min() < -112.08
    assert p["lon"][first].max() > -112.02
    assert len(set(p["particle"])) == 20


def test_particles_start_along_a_line_of_sight(engine: Hysplit, met: Path) -> None:
    """Weights of a column are those of slabs of height: particles must be where these are."""
    slanted = make_receptor(TIME, [-112.0, -112.1], [40.5, 40.6], [0, 2000])
    along = SHORT.model_copy(update={"slanted": "line"})
    p = engine.run(slanted, along, met).columns
    first = p["age"] == -1
    assert p["particle"][first].tolist() == list(range(1, 21))
    part = (p["particle"][first] - 0.5) / 20
    np.testing.assert_allclose(p["lon"][first], -112 - 0.1 * part, atol=0.015)
    np.testing.assert_allclose(p["lat"][first], 40.5 + 0.1 * part, atol=0.015)
    np.testing.assert_allclose(p["xhgt"][first], 2000 * part)
    assert np.abs(p["zagl"][first] - 2000 * part).max() < 100
    across = release(make_receptor(TIME, [179.9, -179.9], [40.5, 40.6], [0, 2000]), 0, 4)
    np.testing.assert_allclose(np.asarray(across.longitudes) % 360, [179.925, 179.975, 180.025, 180.075])


def test_more_particles_than_places_start_all_along_the_line(engine: Hysplit, met: Path) -> None:
    """Of 3 particles a place hycs_std makes 4, and the last quarter of the column was without any."""
    slanted = make_receptor(TIME, [-112.0, -112.1], [40.5, 40.6], [0, 2000])
    along = SHORT.model_copy(update={"slanted": "line", "numpar": 2999, "maxpar": None, "nturb": 1})
    p = engine.run(slanted, along, met).columns
    first = p["age"] == -1
    assert p["particle"][first].tolist() == list(range(1, 3000))
    assert np.abs(p["zagl"][first] - 2000 * (p["particle"][first] - 0.5) / 2999).max() < 100


@pytest.mark.parametrize(
    "changes",
    [
        {"siguverr": 2.0, "tluverr": 60.0, "zcoruverr": 500.0, "horcoruverr": 40.0},
        {"sigzierr": 50.0, "tlzierr": 60.0, "horcorzierr": 40.0},
        {"ziscale": [6.0, 6.0, 6.0]},
        {"kmix0": 600},
        {"hnf_plume": False},
        {"veght": 1.0},
        {"z_top": 5000.0},
        {"krand": 4},
    ],
    ids=str,
)
def test_transport_parameters_reach_hysplit(engine: Hysplit, met: Path, changes: dict) -> None:
    """Each changes the particles, so none is dropped on the way."""
    receptor = make_receptor(TIME.replace(hour=16), -112.0, 40.5, 5)  # a morning with a mixed layer to scale
    plain = engine.run(receptor, SHORT, met)
    if "z_top" in changes:
        receptor = replace(receptor, heights=(6000.0,))
        outcome, _ = simulate(
            receptor, TransportSettings(**{**SHORT.model_dump(exclude={"exe_dir", "data_dir"}), **changes}), met, engine
        )
        assert outcome.status == "failed"
        return
    changed = engine.run(receptor, TransportSettings(**{"n_hours": -2, "numpar": 20, **changes}), met)
    assert not equal(plain, Particles({k: changed.columns.get(k, np.zeros(1)) for k in plain.columns}))


def test_heights_are_above_sea_level_with_kmsl(tmp_path: Path, engine: Hysplit) -> None:
    """Over a hill of 500 m, 600 m above sea level is 100 m above ground."""
    (met,) = make_meteorology(
        tmp_path / "hill", "2023-07-15T06:00", 6, (-114.0, 38.8, -110.4, 42.2), Weather(speed=1.0, hill=500.0)
    )
    on_top = make_receptor(TIME, -112.2, 40.5, 600)
    settings = {"n_hours": -1, "numpar": 20, "hnf_plume": False}
    above_ground = engine.run(on_top, TransportSettings(**settings), met).columns["zagl"][::60].mean()
    above_sea = engine.run(on_top, TransportSettings(**settings, kmsl=1), met).columns["zagl"][::60].mean()
    assert above_ground - above_sea == pytest.approx(500, abs=60)


def test_more_variables_are_kept(engine: Hysplit, met: Path) -> None:
    settings = TransportSettings(n_hours=-1, numpar=5, varsiwant=[*SHORT.varsiwant, "pres", "temp"])
    assert 500 < engine.run(HERE, settings, met).columns["pres"].mean() < 1013


def test_a_machine_without_hycs_std_is_told_what_to_do(
    tmp_path: Path, met: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="no executable hycs_std"):
        Hysplit(exe_dir=tmp_path).run(HERE, SHORT, met)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(NoEngineError, match="aarch64, where hycs_std is not: simulate in a container"):
        Hysplit(scratch=tmp_path).run(HERE, SHORT, met)
    assert engine_here() is None


def test_other_machines_take_scenes_to_be_simulated_by_the_build_in_the_wheel() -> None:
    assert engine_here() == WHEEL_BUILD, "pystilt brings another hycs_std: name it in science/pystilt.py"


def test_hycs_std_that_refuses_forecasts_is_an_error_of_the_scene(tmp_path: Path, met: Path) -> None:
    """Its words, printed by a program in its place: the real one needs a date ahead of the clock."""
    fake = tmp_path / "hycs_std"
    fake.write_text(
        "#!/bin/sh\necho ' *ERROR* metset: the use of forecast data'\necho '   User registration'\nexit 132\n"
    )
    fake.chmod(0o755)
    with pytest.raises(EngineError, match="forecast"):
        Hysplit(exe_dir=tmp_path, scratch=tmp_path).run(HERE, SHORT, met)


def test_scratch_that_cannot_be_written_is_named(tmp_path: Path, met: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="set TMPDIR"):
        Hysplit(scratch=tmp_path / "file").run(HERE, SHORT, met)


def test_a_long_path_is_not_cut_off(tmp_path: Path, met: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60) / ("f" * 60)
    deep.mkdir(parents=True)
    (deep / "met").symlink_to(met)
    assert len(Hysplit(scratch=deep).run(HERE, SHORT, deep / "met")) == 2400
