"""Error runs: real hycs_std spreads particles by the errors of winds, and a receptor's own run knows nothing of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stilt_dagster.science.costs.prediction import predict
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.ensembles import simulate, simulate_runs
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particle_files import ParticleFile, ParticleWriter, read_particles
from stilt_dagster.science.transport.particle_tables import of_run, positions, to_table
from stilt_dagster.science.versions import simulation_key
from stilt_dagster_tests.science.scenes.test_spec import scene
from stilt_dagster_tests.science.transport.test_hysplit import HERE, SHORT, engine, met  # noqa: F401 - fixtures
from stilt_dagster_tests.science.transport.test_particles import table_of

SCALES = {"tluverr": 120.0, "zcoruverr": 600.0, "horcoruverr": 40.0}
MIXING = {"sigzierr": 20.0, "tlzierr": 120.0, "horcorzierr": 40.0}


def with_errors(siguverr: float = 2.0, numpar: int = 60, **more: object) -> TransportSettings:
    return TransportSettings(**{"n_hours": -1, "numpar": numpar, "siguverr": siguverr, **SCALES, **more})


def spread(table: pa.Table | None) -> float:
    """Return how far particles lie from their mean at the end, degrees."""
    assert table is not None
    _, age, lon, lat, _ = positions(table)
    last = age == age.min()
    return float(np.hypot(lon[last].std(), lat[last].std()))


def test_errors_of_winds_spread_particles_of_their_own_run_alone(engine: Hysplit, met: Path) -> None:  # noqa: F811
    _, plain = simulate(HERE, TransportSettings(n_hours=-1, numpar=60), met, engine)
    runs = {s: simulate_runs(HERE, with_errors(s), met, engine) for s in (0.5, 2.0, 8.0)}
    for outcome, own, perturbed in runs.values():
        assert outcome.status == "ok"
        assert own is not None
        assert perturbed is not None
        assert own.drop_columns(["error"]).equals(plain)
        assert not any(own["error"].to_pylist())
        assert all(perturbed["error"].to_pylist())
    assert spread(plain) < spread(runs[0.5][2]) < spread(runs[2.0][2]) < spread(runs[8.0][2])
    assert spread(runs[8.0][2]) > 3 * spread(runs[2.0][2])
    again = simulate_runs(HERE, with_errors(2.0), met, engine)
    assert again[1:] == runs[2.0][1:]  # to the bit
    _, own, perturbed = simulate_runs(HERE, with_errors(**dict.fromkeys(("siguverr", *SCALES)), **MIXING), met, engine)
    assert own is not None
    assert perturbed is not None
    assert own.drop_columns(["error"]).equals(plain)
    assert not perturbed["foot"].equals(own["foot"])


def test_seeds_are_those_of_the_receptor_and_none_stays_none() -> None:
    for seed, own in (("receptor", None), (7, 7)):
        settings = with_errors(seed=seed)
        seeds = [run.for_receptor(HERE, None).seed for run in (settings.unperturbed, settings.perturbed(HERE))]
        assert own in (None, seeds[0])
        assert seeds[0] != seeds[1]
        assert None not in seeds
    assert with_errors(seed="none").perturbed(HERE).for_receptor(HERE, None).seed is None
    assert SHORT.unperturbed == SHORT


def test_a_part_keeps_both_runs_and_readers_see_the_receptors_own(tmp_path: Path) -> None:
    """Of receptors that share a row group, and of those that have one for themselves."""
    path = tmp_path / "part.parquet"
    writer = ParticleWriter(path, "key")
    sizes = {"a": 60, "b": 510, "c": 60, "d": 20}
    tables = {
        name: [of_run(to_table(name, table_of(2 * k + e, n=500, minutes=m)), error=bool(e)) for e in (0, 1)]
        for k, (name, m) in enumerate(sizes.items())
    }
    for name, runs in tables.items():
        writer.add(Outcome(name), *runs)
    writer.add(Outcome("x", "failed", "TIMEOUT"), None)
    writer.close()
    part = ParticleFile(path)
    assert part.n_groups == 2
    assert "error" not in part.columns
    assert part.rows == writer.rows == 2 * 500 * sum(sizes.values())
    for name, table in part.tables():
        own = tables[name][0].drop_columns(["error"])
        assert all(table[c].to_pylist() == own[c].to_pylist() for c in own.column_names)
    for name, *runs in part.runs(("particle", "foot")):
        for found, written in zip(runs, tables[name], strict=True):
            assert found is not None
            assert found["foot"].equals(written["foot"])
    assert [name for name, _, _ in part.runs()] == list(sizes)
    own, perturbed = read_particles(path), read_particles(path, error=True)
    assert list(own.columns) == list(perturbed.columns) == part.columns
    assert len(own) == len(perturbed) == part.rows / 2
    assert not own["foot"].equals(perturbed["foot"])


def test_parts_of_scenes_without_errors_are_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    writer = ParticleWriter(path, "key")
    writer.add(Outcome("a"), to_table("a", table_of(1)))
    writer.close()
    assert [(name, error) for name, _, error in ParticleFile(path).runs()] == [("a", None)]
    assert "error" not in pq.read_schema(path).names
    with pytest.raises(ValueError, match="has no error runs: they come with siguverr or sigzierr"):
        read_particles(path, error=True)


def test_only_scenes_with_errors_have_other_keys_and_cost_twice() -> None:
    plain, errors = scene(), scene(transport={"siguverr": 1.0, **SCALES})
    assert "error_run" not in plain.transport.identity
    assert errors.transport.identity["error_run"] == 1
    assert "transport_error" not in plain.model_dump()
    assert simulation_key(plain, "m", "e") != simulation_key(errors, "m", "e")
    assert errors.predicted_cpu == 2 * plain.predicted_cpu
    assert errors.transport.released == 2 * plain.transport.numpar
    less, more = predict(plain), predict(errors)
    assert more.cpu_seconds > less.cpu_seconds
    assert more.trajectories > 1.5 * less.trajectories
    assert more.footprints == less.footprints
