"""The store on Google's object store: a real server on loopback, and all that may go wrong on the way to it."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from stilt_dagster.operations.status import scene_status
from stilt_dagster.resources import folders, gcs, object_folders
from stilt_dagster.resources.configurable import TransportEngine
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import StoreError, StoreUnavailable
from stilt_dagster.science.scratch import Source
from stilt_dagster_tests.assets.test_runs import Bench, arrays
from stilt_dagster_tests.harness.gcs import GcsProxy, GcsServer, use

URL = "gs://scenes/some/prefix"


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with GcsServer("scenes") as server:
        yield server


@pytest.fixture
def proxy(server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsProxy]:
    """A proxy before the server, which the client is to use; tries follow each other quickly."""
    with server.proxy() as proxy:
        use(monkeypatch, proxy)
        monkeypatch.setattr(gcs, "RETRY", gcs.RETRY.with_delay(initial=0.02, maximum=0.1).with_timeout(20.0))
        yield proxy


@pytest.fixture
def parts(proxy: GcsProxy, request: pytest.FixtureRequest) -> folders.Folder:
    """A folder of its own, of the kind that is listed."""
    return folder_named(request.node.name)


def folder_named(name: str) -> folders.Folder:
    plain = "".join(c if c.isalnum() else "-" for c in name.lower())[:60]
    return Store(URL).folder("trajectories", plain, "00")


def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / f"file-{random.random()}"
    path.write_bytes(data)
    return path


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def content(folder: folders.Folder, name: str) -> bytes | None:
    return folder.open(name, lambda source: Path(source).read_bytes(), whole=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 300_000, 9 << 20, 40 << 20])
def test_what_is_put_is_what_is_got(parts: folders.Folder, tmp_path: Path, size: int) -> None:
    data = noise(size)
    path = file(tmp_path, data)
    parts.put(path, "part-00000.nc")
    assert not path.exists()
    again = folder_named(f"test_what_is_put_is_what_is_got[{size}]")
    assert again.names() == ["part-00000.nc"]
    assert content(again, "part-00000.nc") == data
    kept = again.get("part-00000.nc")
    assert kept is not None
    assert kept.read_bytes() == data
    assert again.get("part-00000.nc") == kept  # copied once
    again.remove("part-00000.nc")
    assert again.names() == []
    assert not again.has("part-00000.nc")
    again.remove("part-00000.nc")


def test_names_below_and_hidden_ones_are_none(proxy: GcsProxy) -> None:
    store = Store(URL)
    store.folder("scenes").write("a.json", "{}")
    store.folder("scenes", "below").write("b.json", "{}")
    store.folder("scenes").write(".hidden", "")
    assert store.scenes() == ["a"]
    assert store.has_scene("a")
    assert not store.has_scene("b")
    assert store.folder("scenes").read("c.json") is None
    listings = [c.path for c in proxy.calls if "/o?" in c.path and c.method == "GET"]
    assert all("prefix=some%2Fprefix%2Fscenes%2F" in path for path in listings)


def test_three_thousand_names_are_listed_in_pages_and_asked_for_once(parts: folders.Folder, proxy: GcsProxy) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda k: parts.write(f"part-{k:05d}.nc", str(k)), range(3000)))
    folder = folder_named("test_three_thousand_names_are_listed_in_pages_and_asked_for_once")
    proxy.calls.clear()
    assert len(folder.names()) == 3000
    assert all(folder.has(f"part-{k:05d}.nc") == (k < 3000) for k in range(2900, 3100))
    assert len(proxy.calls) <= 4


def test_of_racing_creators_one_wins_and_its_file_is_whole(proxy: GcsProxy, tmp_path: Path) -> None:
    data = [noise(200_000, k) for k in range(16)]
    paths = [file(tmp_path, d) for d in data]
    racers = [folder_named("race") for _ in data]
    assert not any(r.names() for r in racers)  # all have seen that there is nothing
    start = threading.Barrier(16)

    def race(k: int) -> None:
        start.wait()
        racers[k].put(paths[k], "part-00000.nc")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(race, range(16)))
    assert content(folder_named("race"), "part-00000.nc") in data
    assert any(c.status == 412 for c in proxy.calls)


def test_another_runs_file_is_replaced_once_and_an_equal_one_is_left(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path
) -> None:
    other = folder_named("test_another_runs_file_is_replaced_once_and_an_equal_one_is_left")
    assert parts.names() == other.names() == []
    other.put(file(tmp_path, b"theirs"), "part-00000.nc")
    parts.put(file(tmp_path, b"ours"), "part-00000.nc")
    assert [c.status for c in proxy.calls if c.method == "POST"] == [200, 412, 200]
    proxy.calls.clear()
    other.put(file(tmp_path, b"ours"), "part-00000.nc")  # what it saw last is gone
    assert [c.status for c in proxy.calls if c.method == "POST"] == [412]
    assert content(other, "part-00000.nc") == b"ours"


def test_an_upload_whose_answer_is_lost_has_succeeded(parts: folders.Folder, proxy: GcsProxy, tmp_path: Path) -> None:
    left = ["lose"]
    proxy.mischief = lambda method, path: left.pop() if method == "POST" and left else None
    parts.put(file(tmp_path, b"data"), "part-00000.nc")
    assert not left
    assert [c.status for c in proxy.calls if c.method == "POST"] == [412]
    assert content(parts, "part-00000.nc") == b"data"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_store_that_refuses_for_a_while_is_asked_again(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path, status: int
) -> None:
    random_of = random.Random(status)
    proxy.mischief = lambda method, path: status if random_of.random() < 0.6 else None
    for size in (1000, 20 << 20):
        data = noise(size)
        parts.put(file(tmp_path, data), f"part-{size}.nc")
        assert content(parts, f"part-{size}.nc") == data
    parts.remove("part-1000.nc")
    assert parts.names() == [f"part-{20 << 20}.nc"]
    assert sum(c.status == status for c in proxy.calls) > 5


def test_answers_that_break_off_are_asked_for_again(parts: folders.Folder, proxy: GcsProxy, tmp_path: Path) -> None:
    data = noise(40 << 20)
    parts.put(file(tmp_path, data), "part-00000.nc")
    left = ["cut"] * 3
    proxy.mischief = lambda method, path: left.pop() if "alt=media" in path and left else None
    assert content(parts, "part-00000.nc") == data
    assert not left


def test_an_answer_that_arrives_damaged_is_asked_for_again(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path
) -> None:
    data = noise(18 << 20)
    parts.put(file(tmp_path, data), "part-00000.nc")
    left = ["flip"]
    proxy.mischief = lambda method, path: left.pop() if "alt=media" in path and left else None
    assert content(parts, "part-00000.nc") == data
    proxy.mischief = lambda method, path: "flip" if "alt=media" in path else None
    with pytest.raises(StoreUnavailable, match="arrives damaged, 3 times"):
        content(parts, "part-00000.nc")
    parts.write("note.json", "abc")
    with pytest.raises(StoreUnavailable, match="arrives damaged"):
        parts.read("note.json")


def test_a_file_replaced_while_it_is_read_is_one_or_the_other(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path
) -> None:
    old, new = noise(40 << 20, 1), noise(40 << 20, 2)
    parts.put(file(tmp_path, old), "part-00000.nc")
    other = folder_named("test_a_file_replaced_while_it_is_read_is_one_or_the_other")
    path = file(tmp_path, new)
    first = threading.Lock()

    def replace(method: str, path_: str) -> None:
        if "alt=media" in path_ and first.acquire(blocking=False):
            other.put(path, "part-00000.nc")

    proxy.mischief = replace
    found = content(parts, "part-00000.nc")
    assert found in (old, new)


def test_a_server_that_is_restarted_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gcs, "RETRY", gcs.RETRY.with_delay(initial=0.1, maximum=0.5).with_timeout(60.0))
    with GcsServer("scenes") as server:
        use(monkeypatch, server)
        folder = folder_named("restarted")
        folder.put(file(tmp_path, b"before"), "before.nc")
        server.stop()
        data = noise(40 << 20)
        with ThreadPoolExecutor(2) as pool:
            small = pool.submit(folder.put, file(tmp_path, b"small"), "small.nc")
            large = pool.submit(folder.put, file(tmp_path, data), "large.nc")
            time.sleep(1.0)
            server.start()
            small.result()
            large.result()
        assert content(folder, "large.nc") == data
        assert folder_named("restarted").names() == ["before.nc", "large.nc", "small.nc"]
    use(monkeypatch, server)


def test_a_store_that_never_answers_is_unavailable_in_one_line(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "RETRY", gcs.RETRY.with_timeout(1.0))
    proxy.mischief = lambda method, path: 503
    path = file(tmp_path, b"x")
    for use_it in (parts.names, lambda: parts.put(path, "a"), lambda: parts.read("a"), lambda: parts.remove("a")):
        with pytest.raises(StoreUnavailable) as error:
            use_it()
        assert "for 1 s (503 ServiceUnavailable): run it again later" in str(error.value)
        assert "http" not in str(error.value)
        assert "upload" not in str(error.value)
    assert path.exists(), "what is not published is kept"


def test_what_another_try_does_not_mend_is_said_at_once(
    proxy: GcsProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = Store("gs://no-such-bucket/prefix")
    for use_it in (
        lambda: absent.folder("scenes").names(),
        lambda: absent.folder("scenes").read("a.json"),
        lambda: absent.folder("scenes").write("a.json", "{}"),
        lambda: absent.folder("footprints", "a", "00").put(file(tmp_path, noise(9 << 20)), "part-00000.nc"),
    ):
        with pytest.raises(StoreError, match="there is no bucket no-such-bucket") as error:
            use_it()
        assert not isinstance(error.value, StoreUnavailable)
        assert str(error.value).startswith("cannot ")
        assert "gs://no-such-bucket/prefix" in str(error.value)
    proxy.mischief = lambda method, path: 403
    with pytest.raises(StoreError, match=r"grant this service account roles/storage.objectUser on bucket scenes"):
        Store(URL).folder("scenes").names()
    proxy.mischief = lambda method, path: 401
    with pytest.raises(StoreError, match="no Google credentials"):  # the emulator's client has none
        Store(URL).folder("scenes").names()
    monkeypatch.setattr(gcs, "client", lambda: (_ for _ in ()).throw(auth.DefaultCredentialsError("no")))
    with pytest.raises(StoreError, match="no Google credentials"):
        Store(URL).folder("scenes").names()
    with pytest.raises(StoreError, match="names no bucket"):
        Store("gs://")


def test_dagster_tries_again_what_may_go_better_and_shows_why() -> None:
    with pytest.raises(dg.RetryRequested) as retry, user_errors_as_failures():
        raise StoreUnavailable("the store is away")
    assert (retry.value.max_retries, retry.value.seconds_to_wait) == (5, 60)
    assert isinstance(retry.value.__cause__, dg.Failure)
    assert retry.value.__cause__.description == "the store is away"
    with pytest.raises(dg.Failure) as failure, user_errors_as_failures():
        raise StoreError("no such bucket")
    assert not failure.value.allow_retries


def test_a_file_read_here_and_there_costs_what_is_read(parts: folders.Folder, proxy: GcsProxy, tmp_path: Path) -> None:
    data = noise(5_000_000)
    parts.put(file(tmp_path, data), "part-00000.nc")
    proxy.calls.clear()

    def read(source: folders.Source) -> None:
        assert not isinstance(source, Path)
        source.seek(-8, os.SEEK_END)
        assert source.read(8) == data[-8:]
        source.seek(4_999_000)
        assert source.read(5000) == data[4_999_000:]
        source.seek(10)
        assert source.read(20) == data[10:30]
        source.seek(1_000_000)
        assert source.read(1_000_000) == data[1_000_000:2_000_000]
        assert source.read() == data[2_000_000:]

    parts.open("part-00000.nc", read, whole=False)
    assert len(proxy.calls) < 25
    sizes = random.Random(3)

    def scattered(source: Source) -> None:
        assert not isinstance(source, Path)
        for _ in range(200):
            at, n = sizes.randrange(5_000_100), sizes.randrange(600_000)
            source.seek(at)
            assert source.read(n) == data[at : at + n]

    parts.open("part-00000.nc", scattered, whole=False)


def test_a_scene_on_it_is_the_scene_of_a_directory(proxy: GcsProxy, tmp_path: Path, meteorology: Path) -> None:
    """The same arrays; a listing a shard, an upload and a download a part; no copies left; little read for status."""
    version = TransportEngine().open().version
    before = set(object_folders._copies().rglob("*"))  # other tests of this process ask for copies that stay
    found = []
    for url in (str(tmp_path / "store"), "gs://scenes/whole"):
        (tmp_path / url[:2].strip("/")).mkdir(exist_ok=True)
        with dg.instance_for_test() as instance:
            bench = Bench(tmp_path, meteorology, instance, url)
            scene = bench.scene(transport={"numpar": 200})
            assert bench.run("prepare", scene).success
            proxy.calls.clear()
            assert bench.run("simulate", scene).success
            simulate = list(proxy.calls)
            proxy.calls.clear()
            assert bench.run("assemble", scene).success
            assemble = list(proxy.calls)
            assert bench.run("simulate", scene).success
            assert bench.metadata("trajectories", f"{scene.id}|00")["stilt/receptors_kept"] == 9
            path = bench.store.folder("jacobian").get(f"{scene.id}.nc")
            assert path is not None
            found.append(arrays(path))
    assert all((found[0][k] == v).all() for k, v in found[1].items())
    n_parts = len({r.shard for r in scene.receptor_list})

    def ops(calls: list, method: str, kind: str, word: str = "") -> int:
        return sum(c.method == method and f"{kind}%2F" in c.path and word in c.path for c in calls)

    uploads = [c for c in simulate if c.method == "POST" and "uploadType" in c.path]
    assert len(uploads) == 4 * n_parts  # two assets: a part, and the index of its shard
    assert not [c for c in simulate + assemble if c.status == 404 and "part-" in c.path]
    simulate_parts, assemble_parts = ([c for c in calls if "part-" in c.path] for calls in (simulate, assemble))
    assert ops(simulate_parts, "GET", "trajectories", "alt=media") == n_parts
    assert ops(simulate_parts, "GET", "footprints", "alt=media") == 0
    assert ops(assemble_parts, "GET", "footprints", "alt=media") == n_parts
    listings = [c.path for c in simulate if c.method == "GET" and "delimiter" in c.path]
    # Every shard of both assets as it is run; those with receptors for the gridding, and for the checks of each asset.
    assert len(listings) <= 2 * 16 + 3 * n_parts
    # Of the jacobian and of the report: a shard of each asset, for what it took and how much there is of it.
    assert len([c for c in assemble if "delimiter" in c.path]) == 4 * n_parts
    gc.collect()
    copies = [p for p in object_folders._copies().rglob("*") if p.is_file() and p not in before]
    assert not [p for p in copies if "part-" in p.name]
    here = {os.readlink(p) for p in Path("/proc/self/fd").iterdir() if os.path.lexists(p)}
    assert not [p for p in here if "part-" in p]
    proxy.calls.clear()
    assert scene_status(StoredScene.load(bench.store, scene.id, version)).is_ready
    assert not [c for c in proxy.calls if "part-" in c.path and "alt=media" in c.path], "the indexes tell"


def test_the_status_of_large_parts_reads_their_ends(parts: folders.Folder, proxy: GcsProxy, tmp_path: Path) -> None:
    import numpy as np

    from stilt_dagster.science.outcomes import Outcome
    from stilt_dagster.science.transport.particle_files import ParticleFile, ParticleWriter
    from stilt_dagster.science.transport.particle_tables import to_table
    from stilt_dagster.science.transport.particles import Particles

    path = tmp_path / "part.parquet"
    writer = ParticleWriter(path, "key")
    rng = np.random.default_rng(1)
    n = 150_000
    for k in range(12):
        columns = {"particle": np.arange(n), "age": -np.arange(n), **{c: rng.random(n) for c in ("lon", "lat", "foot")}}
        writer.add(Outcome(f"r{k}"), to_table(f"r{k}", Particles(columns)))  # type: ignore[call-arg]
    writer.close()
    size = path.stat().st_size
    parts.put(path, "part-00000.parquet")
    proxy.calls.clear()
    part = parts.open("part-00000.parquet", ParticleFile, whole=False)
    assert part is not None
    assert [o.receptor for o in part.outcomes] == [f"r{k}" for k in range(12)]
    assert part.size == size > 10 << 20
    assert len(proxy.calls) == 1
    assert proxy.received <= 256 << 10


def test_nothing_of_it_needs_gcsfs(proxy: GcsProxy) -> None:
    code = (
        "import sys; from stilt_dagster.resources.store import Store; s = Store('gs://scenes/gcsfs'); "
        "s.folder('scenes').write('a.json', '{}'); assert s.scenes() == ['a']; assert 'gcsfs' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=dict(os.environ), timeout=60)


def test_errors_of_the_client_carry_no_urls() -> None:
    error = gcs._unavailable(
        "cannot read gs://b/x", api.RetryError("t", api.ServiceUnavailable("http://secret?token=1"))
    )
    assert "secret" not in str(error)
    assert json.dumps(str(error))
