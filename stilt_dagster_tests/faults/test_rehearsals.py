"""What docs/how-to/runbook.md promises, done: a database gone or gone back, lost prefixes, a store that moves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.postgres import Postgres

SCENE = "valley-20230715t0920"
STORAGE = {
    "scheme": "postgresql+psycopg2",
    **{
        field: {"env": f"DAGSTER_POSTGRES_{name}"}
        for field, name in (
            ("hostname", "HOST"), ("username", "USER"), ("password", "PASSWORD"), ("db_name", "DB"), ("port", "PORT"),
        )
    },
}  # fmt: skip


@pytest.fixture
def copy(finished: Project, tmp_path: Path, meteorology: Path) -> Project:
    """A finished scene of its own, times of files and all, and an instance that has never heard of it."""
    project = Project(tmp_path, meteorology)
    shutil.copytree(finished.store, project.store)
    return project


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def parts(project: Project) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in project.store.rglob("part-*")}


def dump(postgres: Postgres, *command: str) -> None:
    env = {**os.environ, "PGPASSWORD": postgres.env["DAGSTER_POSTGRES_PASSWORD"]}
    place = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", postgres.env["DAGSTER_POSTGRES_USER"]]
    done = subprocess.run(
        [postgres.programs / command[0], *place, *command[1:]], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_database_that_is_lost_costs_no_simulation(copy: Project) -> None:
    before = parts(copy)
    assert len(before) > 1
    assert copy.status(SCENE)["ok"] == copy.status(SCENE)["receptors"], "the store alone tells"
    copy.cli("scene", "add", *(copy.store / "scenes").glob("*.json"))
    copy.cli("scene", "run", SCENE)
    assert parts(copy) == before


def test_a_database_goes_back_to_last_night(copy: Project, postgres: Postgres, tmp_path: Path) -> None:
    (copy.path / "home" / "dagster.yaml").write_text(
        yaml.safe_dump({"storage": {"postgres": {"postgres_db": STORAGE}}})
    )
    copy.env |= postgres.env
    copy.cli("scene", "add", copy.store / "scenes" / f"{SCENE}.json")
    backup = str(tmp_path / "backup")
    dump(postgres, "pg_dump", "--format=custom", f"--file={backup}", postgres.database)
    copy.cli("scene", "add", copy.scene_file(name="later"))  # what the backup does not know
    copy.cli("scene", "run", SCENE)
    before = parts(copy)
    postgres.execute(f'drop database "{postgres.database}"', "postgres")
    postgres.execute(f'create database "{postgres.database}"', "postgres")
    dump(postgres, "pg_restore", f"--dbname={postgres.database}", backup)

    def known() -> set[object]:
        return {name for [name] in postgres.execute("select partition from dynamic_partitions")}

    assert known() == {SCENE}
    copy.cli("scene", "add", *(copy.store / "scenes").glob("*.json"))
    assert known() == {SCENE, "later-20230715t0920"}
    copy.cli("scene", "run", SCENE)
    assert parts(copy) == before


def test_what_aged_out_of_the_store_is_still_told(copy: Project) -> None:
    told = copy.status(SCENE)
    for prefix in ("trajectories", "footprints"):
        shutil.rmtree(copy.store / prefix)
    for aggregate in (copy.store / "meteorology_aggregate").glob("*.arl"):
        aggregate.unlink()
    aged = copy.status(SCENE)
    assert {k: aged[k] for k in ("ok", "empty", "failed", "pending")} == {
        k: told[k] for k in ("ok", "empty", "failed", "pending")
    }
    assert aged["assets"]["jacobian"] == {"state": "ready"}
    assert aged["assets"]["trajectories"]["state"] == aged["assets"]["meteorology_aggregate"]["state"] == "missing"
    copy.cli("scene", "add", copy.scene_file(footprint={"smooth_factor": 2}), "--replace")
    changed = copy.status(SCENE)
    assert (changed["assets"]["jacobian"]["state"], changed["ok"]) == ("stale", 0), "but not of another spec"


def content(part: Path) -> tuple[pa.Table, dict[bytes, bytes]]:
    """Return what a part holds, and what made it; not what making it took, which is another each time."""
    file = pq.ParquetFile(part)
    kept = {name: value for name, value in (file.metadata.metadata or {}).items() if name != b"stilt:effort"}
    return file.read(), kept


def test_a_prefix_that_is_lost_is_made_again_as_it_was(copy: Project, finished: Project) -> None:
    copy.cli("scene", "add", copy.store / "scenes" / f"{SCENE}.json")
    shutil.rmtree(copy.store / "trajectories" / SCENE)
    copy.cli("scene", "run", SCENE)
    made, before = (
        {p.relative_to(store): content(p) for p in (store / "trajectories").rglob("part-*")}
        for store in (copy.store, finished.store)
    )
    assert made.keys() == before.keys()
    for name, (table, metadata) in made.items():
        assert table.equals(before[name][0]), name
        assert metadata == before[name][1], name
    assert copy.status(SCENE)["assets"]["jacobian"] == {"state": "ready"}


def test_a_store_that_moves_is_the_same_store(copy: Project, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(copy.store, moved, copy_function=shutil.copyfile)  # no times, as between buckets
    shutil.rmtree(copy.store)
    copy.store = moved
    copy.env["STILT_STORE"] = str(moved)
    before = parts(copy)
    copy.cli("scene", "add", *(moved / "scenes").glob("*.json"))
    copy.cli("scene", "run", SCENE)
    assert parts(copy) == before
