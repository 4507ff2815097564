"""`stilt-dagster migrate`: what it lists, what it does, what it leaves alone; on directories, buckets and databases."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import h5py
import numpy as np
import psycopg2
import pytest
import xarray as xr

from stilt_dagster import open_jacobian
from stilt_dagster.operations.migrate.jacobians import compressed_size, write_uncompressed
from stilt_dagster.operations.migrate.scenes import find_moves
from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import JacobianError, StoreError
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.s3 import S3Server, use
from stilt_dagster_tests.science.jacobian.files import sample
from stilt_dagster_tests.upgrades.eras import GRANULE, VALLEY, content, unpack

#: A schema before the last of Dagster's.
EARLIER = "6b7fb194ff9c"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A store whose jacobians have compressed entries."""
    return unpack("before-matrix", tmp_path)


def is_compressed(path: Path) -> bool:
    with h5py.File(path) as file:
        return file["data"].compression is not None


def test_jacobians_are_moved_and_nothing_is_due_afterwards(project: Project) -> None:
    folder = project.store / "jacobian"
    before = content(project.store)
    read = {scene: xr.load_dataset(folder / f"{scene}.nc") for scene in (VALLEY, GRANULE)}
    listed = project.cli("migrate").stdout
    assert f"{VALLEY}: jacobian" in listed
    assert f"{GRANULE}: jacobian" in listed
    assert "nothing was changed" in listed
    assert content(project.store) == before

    one = json.loads(project.cli("migrate", VALLEY, "--yes", "--json").stdout)
    assert one["scenes"] == [{"scene": VALLEY, "what": "jacobian", "done": True}]
    assert is_compressed(folder / f"{GRANULE}.nc")
    done = project.cli("migrate", "--yes").stdout  # goes on with what is left
    assert f"{VALLEY}:" not in done
    assert "done: 1 scene moved" in done
    assert project.cli("migrate", "--yes").stdout == "nothing to do\n"

    for scene, earlier in read.items():
        path = folder / f"{scene}.nc"
        assert not is_compressed(path)
        assert xr.load_dataset(path).identical(earlier)
        matrix = open_jacobian(path)
        np.testing.assert_allclose(matrix @ np.ones(matrix.shape[1]), matrix.obs["row_sum"], rtol=1e-5)
    moved = {f"jacobian/{scene}.nc" for scene in read}
    assert {k: v for k, v in content(project.store).items() if k not in moved} == {
        k: v for k, v in before.items() if k not in moved
    }
    assert project.cli("scene", "run", GRANULE).stderr.count("nothing to do") == 3


def test_a_damaged_jacobian_is_left_and_others_are_moved(project: Project) -> None:
    damaged = project.store / "jacobian" / f"{GRANULE}.nc"
    with h5py.File(damaged) as file:
        at = file["data"].id.get_chunk_info(0).byte_offset
    data = bytearray(damaged.read_bytes())
    data[at : at + 20] = bytes(20)
    damaged.write_bytes(data)
    done = project.cli("migrate", "--yes", code=1)
    [line] = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {GRANULE} is left as it is: ")
    assert "damaged" in line
    assert damaged.read_bytes() == data
    assert not is_compressed(project.store / "jacobian" / f"{VALLEY}.nc")
    assert "no scene matches" in project.error("migrate", "none-*")
    assert "has no spec" in project.error("migrate", "none")


def test_a_disk_without_room_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sample(compressed=True).write(tmp_path / "a.nc")
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StoreError, match="No space left"):
        write_uncompressed(path, tmp_path / "b.nc", "a.nc")
    assert is_compressed(path)


@pytest.mark.parametrize("rows", [0, 5])
def test_matrices_of_any_kind_are_written_again(rows: int, tmp_path: Path) -> None:
    """Without entries, with failed rows, with columns as texts and vectors of each row."""
    made = sample(rows=5, compressed=True, failed=range(5 - rows), attrs={"stilt_key": "k"})
    path = made.but(rows={"value": np.array([1.0, np.nan, -0.0, np.inf, 5.0])}).write(tmp_path / "a.nc")
    written = tmp_path / "b.nc"
    assert compressed_size(path) == (path.stat().st_size, "k")
    assert write_uncompressed(path, written, "a.nc") == written.stat().st_size
    assert compressed_size(written) is None
    assert xr.load_dataset(written).identical(xr.load_dataset(path))


def test_a_jacobian_that_a_run_makes_meanwhile_stays(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(project.store))
    [move] = find_moves(dg.DagsterInstance.ephemeral(), store, [VALLEY], pytest.fail)
    path = project.store / "jacobian" / f"{VALLEY}.nc"
    kind = type(store.folder("jacobian"))
    opened = kind.open

    def replaced_then_open(self: Folder, name: str, read: object, *, whole: bool) -> object:
        found = opened(self, name, read, whole=whole)
        if whole:
            with h5py.File(path, "a") as file:
                file.attrs["stilt_key"] = "another"
        return found

    monkeypatch.setattr(kind, "open", replaced_then_open)
    with pytest.raises(JacobianError, match="made again meanwhile"):
        move.apply()
    with h5py.File(path) as file:
        assert file.attrs["stilt_key"] == "another"


def test_a_store_in_a_bucket(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server() as server:
        server.put("scenes")
        use(monkeypatch, server.url)
        for file in (p for p in project.store.rglob("*") if p.is_file()):
            server.put(f"scenes/{file.relative_to(project.store)}", file.read_bytes())
        store = Store("s3://scenes")
        instance = dg.DagsterInstance.ephemeral()
        moves = list(find_moves(instance, store, store.scenes(), pytest.fail))
        assert {m.scene for m in moves} == {VALLEY, GRANULE}
        for move in moves:
            move.apply()
        assert list(find_moves(instance, store, store.scenes(), pytest.fail)) == []
        path = store.folder("jacobian").get(f"{VALLEY}.nc")
        assert path is not None
        assert xr.load_dataset(path).identical(xr.load_dataset(project.store / "jacobian" / f"{VALLEY}.nc"))


# -- the instance ------------------------------------------------------------------------------------------------------


def test_an_instance_in_sqlite(project: Project) -> None:
    """Every database of it: runs, schedules, the index of events, and events of each run."""
    databases = [p for p in (project.path / "home").rglob("*.db") if p.stat().st_size]
    for path in databases:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("update alembic_version set version_num = ?", (EARLIER,))
            connection.commit()
    shutil.rmtree(project.store)
    listed = project.cli("migrate", "--instance").stdout
    assert [line.split(",")[0] for line in listed.splitlines()[:-1]] == [
        f"instance: schema of {storage}" for storage in ("runs", "events", "schedules")
    ]
    done = project.cli("migrate", "--instance", "--yes")
    assert "done" in done.stdout
    assert done.stderr == ""
    assert project.cli("migrate", "--instance").stdout == "nothing to do\n"
    with dg.DagsterInstance.from_config(str(project.path / "home")) as instance:
        assert instance.get_runs_count() == 6


def test_an_instance_in_postgres(project: Project) -> None:
    with Postgres() as server:
        names = {"hostname": "HOST", "username": "USER", "password": "PASSWORD", "db_name": "DB"}
        settings = {name: {"env": f"DAGSTER_POSTGRES_{variable}"} for name, variable in names.items()}
        postgres = {"postgres_db": {**settings, "port": server.port, "scheme": "postgresql+psycopg2"}}
        home = project.path / "home"
        shutil.rmtree(home)
        home.mkdir()
        (home / "dagster.yaml").write_text(json.dumps({"storage": {"postgres": postgres}}))
        env = server.env
        assert project.cli("migrate", "--instance", **env).stdout == "nothing to do\n"
        for revision in (EARLIER, "0123456789ab"):
            with psycopg2.connect(server.url.replace("+psycopg2", "")) as connection:
                connection.cursor().execute("update alembic_version set version_num = %s", (revision,))
            if revision == EARLIER:
                assert "done" in project.cli("migrate", "--instance", "--yes", **env).stdout
                assert project.cli("migrate", "--instance", **env).stdout == "nothing to do\n"
            else:
                refused = project.error("migrate", "--instance", "--yes", **env)
                assert "of a schema that Dagster" in refused
                assert "go on with the version that made it" in refused
