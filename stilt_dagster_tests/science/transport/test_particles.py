"""HYSPLIT's text, read exactly, and kept exactly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stilt_dagster.science.errors import SimulationFailed
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.transport.hysplit_output import parse_particle_dat
from stilt_dagster.science.transport.particle_files import ParticleFile, ParticleWriter, read_particles
from stilt_dagster.science.transport.particle_tables import positions, to_table
from stilt_dagster.science.transport.particles import Particles

NUMBERS = st.one_of(
    st.decimals(min_value=-99999, max_value=99999, places=4).map(str),
    st.decimals(min_value=0, max_value=1, places=7).map(str),
    st.floats(min_value=1e-12, max_value=1e20).map(lambda v: f"{-v:.6E}"),
    st.integers(-(10**9), 10**9).map(lambda v: f"{v}."),
    st.sampled_from(["0.", ".5", "-.25", "+1.5", "1.0D+02"]),
)
SPACES = st.sampled_from([" ", "  ", "     "])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20), gap=SPACES)
def test_numbers_are_read_as_python_reads_them(tmp_path: Path, rows: list, gap: str) -> None:
    path = tmp_path / "p"
    lines = [gap.join(["", f"{-t}.", f"{1 + t % 3}.", *row]) for t, row in enumerate(rows)]
    path.write_text("   40.5  -112.0   5.0\n" + "\n".join(lines) + "\n")
    table = parse_particle_dat(path, ["time", "indx", "long", "lati", "foot"])
    expected = sorted(
        ((1 + t % 3, -t, *(float(v.replace("D", "E")) for v in row)) for t, row in enumerate(rows)),
        key=lambda r: (r[0], -r[1]),
    )
    for k, name in enumerate(("particle", "age", "lon", "lat", "foot")):
        np.testing.assert_array_max_ulp(table.columns[name].astype(float), np.array([r[k] for r in expected]), maxulp=1)


@pytest.mark.parametrize(
    "line", ["-1. 1. 2.", "-1. 1. 2. 3. 4. 5.", "-1. 1. abc 3. 4.", "-1. 1. 2.5.5 3. 4.", "-1. 1. 1-2 3. 4."]
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p").write_text(f"head\n -1. 1. 2. 3. 4.\n {line}\n")
    with pytest.raises(SimulationFailed, match="line 3 of p"):
        parse_particle_dat(tmp_path / "p", ["time", "indx", "long", "lati", "foot"])


@pytest.mark.parametrize("text", ["", "head", "head\n", "head\n\n"])
def test_no_particles_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(SimulationFailed, match="no particle"):
        parse_particle_dat(tmp_path / "p", ["time", "indx", "long", "lati", "foot"])


def test_a_truncated_last_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("head\n -1. 1. 2. 3. 4.\n -1. 2. 2. 3")
    with pytest.raises(SimulationFailed):
        parse_particle_dat(tmp_path / "p", ["time", "indx", "long", "lati", "foot"])


def test_stars_are_missing_values(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("head\n -1. 1. 2. 3. ******\n -1. 2. 2. 3. -****\n")
    assert np.isnan(parse_particle_dat(tmp_path / "p", ["time", "indx", "long", "lati", "foot"]).columns["foot"]).all()


def table_of(seed: int, n: int = 50, minutes: int = 60) -> Particles:
    """Return particles that wander as HYSPLIT's do, with the decimals it prints."""
    rng = np.random.default_rng(seed)
    particle = np.repeat(np.arange(1, n + 1, dtype=np.int32), minutes)
    age = np.tile(-np.arange(1, minutes + 1, dtype=np.int32), n)

    def walk(start: float, step: float, digits: int) -> np.ndarray:
        return np.round(start + rng.normal(0, step, (n, minutes)).cumsum(1).ravel(), digits)

    columns = {
        "age": age,
        "particle": particle,
        "lon": walk(-111.9, 0.003, 4),
        "lat": walk(40.7, 0.003, 4),
        "zagl": np.abs(walk(3000, 30, 4)),
        "foot": np.round(np.abs(rng.normal(0, 0.02, n * minutes)), 7),
        "mlht": np.abs(walk(500, 3, 2)),
        "dens": np.abs(walk(1.1, 0.0005, 5)),
        "tlgr": np.where(
            particle == 1, 99_999_999.9999, np.abs(walk(100, 3, 4))
        ),  # where turbulence is next to nothing
    }
    return Particles(columns, {"lon": 4, "lat": 4, "zagl": 4, "foot": 7, "mlht": 2, "dens": 5, "tlgr": 4})


def test_a_part_file_loses_no_printed_digit(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    writer = ParticleWriter(path, "key")
    tables = {f"r{i}": table_of(i) for i in range(3)}
    for name, particles in tables.items():
        writer.add(Outcome(name, n_particles=50), to_table(name, particles))
    writer.add(Outcome("r9", "failed", "TIMEOUT", "too slow"), None)
    writer.close()
    part = ParticleFile(path)
    assert part.key == "key"
    assert [(o.receptor, o.status, o.reason) for o in part.outcomes][-1] == ("r9", "failed", "TIMEOUT")
    back = read_particles(path)
    for name, particles in tables.items():
        rows = back[back.receptor == name]
        for column, values in particles.columns.items():
            assert np.array_equal(rows[column], values), column
    for name, table in part.tables(("particle", "age", "lon", "lat", "foot")):
        assert np.array_equal(positions(table)[2], tables[name].columns["lon"])


def test_an_unfinished_or_foreign_file_is_no_part_file(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    writer = ParticleWriter(path, "key")
    writer.add(Outcome("r"), to_table("r", table_of(1)))
    writer.close()
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="not a complete particle file"):
            ParticleFile(path)


def test_particles_and_their_end_are_counted() -> None:
    particles = table_of(1, n=4, minutes=60)
    keep = ~((particles.columns["particle"] == 2) & (particles.columns["age"] < -30))
    particles = Particles({k: v[keep] for k, v in particles.columns.items()})
    assert particles.n_particles == 4
    assert particles.coverage(-1) == (1.0, 0.25)


def test_threads_may_share_a_part_file(tmp_path: Path) -> None:
    """Row groups read from many threads at once come whole, and come at all."""
    path = tmp_path / "part.parquet"
    writer = ParticleWriter(path, "key")
    for i in range(4):
        writer.add(Outcome(f"r{i}"), to_table(f"r{i}", table_of(i, n=500, minutes=510)))  # a row group each
    writer.close()
    part = ParticleFile(path)
    assert part.n_groups == 4

    def read(k: int) -> int:
        ((_, table),) = part.tables_of(k % 4, ("particle", "age", "lon", "lat", "foot"))
        return len(positions(table)[0])

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(read, k) for k in range(200)]
        assert {r.result(timeout=60) for r in results} == {255_000}
