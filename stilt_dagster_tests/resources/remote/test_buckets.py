"""The store on S3, on Azure and in memory: real servers on loopback, and what may go wrong on the way to them."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stilt_dagster.resources import folders
from stilt_dagster.resources.granules import GranuleFolder, fetch
from stilt_dagster.resources.object_folders import ObjectChanged
from stilt_dagster.resources.remote import buckets, retries
from stilt_dagster.resources.remote.buckets import objects_at
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import StoreError, StoreUnavailable
from stilt_dagster_tests.harness import azure
from stilt_dagster_tests.harness.azure import AzureServer
from stilt_dagster_tests.harness.gcs import GcsProxy
from stilt_dagster_tests.harness.s3 import S3Server, use


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        server.put("scenes")
        yield server


@pytest.fixture(scope="module")
def az() -> Iterator[AzureServer]:
    with AzureServer() as server:
        server.make_container("scenes")
        yield server


@pytest.fixture(params=["s3", "az", "memory"])
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


#: For tests of what a server does, which memory has none of.
SERVED = pytest.mark.parametrize("scheme", ["s3", "az"])


@pytest.fixture
def proxy(scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsProxy]:
    """A proxy before the server, which clients are to use; tries follow each other quickly."""
    monkeypatch.setattr(retries, "RETRY", retries.RETRY.with_delay(initial=0.02, maximum=0.1).with_timeout(20.0))
    port = 9 if scheme == "memory" else int(request.getfixturevalue(scheme).url.rpartition(":")[2])
    with GcsProxy(port) as proxy:
        use(monkeypatch, proxy.url)
        azure.use(monkeypatch, proxy.url)
        yield proxy


@pytest.fixture
def parts(proxy: GcsProxy, scheme: str, request: pytest.FixtureRequest) -> folders.Folder:
    return folder_named(scheme, request.node.name)


def folder_named(scheme: str, name: str) -> folders.Folder:
    plain = "".join(c if c.isalnum() else "-" for c in name.lower())[:60]
    return Store(f"{scheme}://scenes/some/prefix").folder("trajectories", plain, "00")


def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / f"file-{random.random()}"
    path.write_bytes(data)
    return path


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def content(folder: folders.Folder, name: str) -> bytes | None:
    return folder.open(name, lambda source: Path(source).read_bytes(), whole=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 300_000, 20 << 20])
def test_what_is_put_is_what_is_got(parts: folders.Folder, scheme: str, tmp_path: Path, size: int) -> None:
    data = noise(size)
    parts.put(file(tmp_path, data), "part-00000.nc")
    again = folder_named(scheme, f"test_what_is_put_is_what_is_got[{scheme}-{size}]")
    states = [f.states() for f in (parts, again)]
    assert states[0] == states[1], "what a write says of an object is what a listing does"
    [name] = again.names() or [None]
    assert name == "part-00000.nc"
    assert content(again, name) == data
    again.remove(name)
    assert again.names() == []
    again.remove(name)
    assert not again.has(name)


def test_a_large_file_goes_in_pieces(parts: folders.Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_ONE_REQUEST", 1 << 20)
    monkeypatch.setattr(buckets, "_PIECE", 5 << 20)
    data = noise(12 << 20)
    parts.put(file(tmp_path, data), "large.nc")
    assert content(parts, "large.nc") == data
    parts.put(file(tmp_path, data[:11_000_000]), "large.nc")
    assert content(parts, "large.nc") == data[:11_000_000]


def test_names_below_and_hidden_ones_are_none(proxy: GcsProxy, scheme: str) -> None:
    store = Store(f"{scheme}://scenes/names")
    store.folder("scenes").write("a.json", "{}")
    store.folder("scenes", "below").write("b.json", "{}")
    store.folder("scenes").write(".hidden", "")
    assert store.scenes() == ["a"]
    assert store.has_scene("a")
    assert not store.has_scene("b")
    assert store.folder("scenes").read("a.json") == "{}"
    assert store.folder("scenes").read("c.json") is None
    assert store.folder("scenes").remove_all() == 3
    assert store.scenes() == []


def test_of_racing_creators_one_wins_and_its_file_is_whole(proxy: GcsProxy, scheme: str, tmp_path: Path) -> None:
    data = [noise(200_000, k) for k in range(12)]
    paths = [file(tmp_path, d) for d in data]
    racers = [folder_named(scheme, "race") for _ in data]
    assert not any(r.names() for r in racers)
    start = threading.Barrier(12)

    def race(k: int) -> None:
        start.wait()
        racers[k].put(paths[k], "part-00000.nc")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(race, range(12)))
    assert content(folder_named(scheme, "race"), "part-00000.nc") in data
    if scheme != "memory":
        assert any(c.status in (409, 412) for c in proxy.calls), "later ones were told"


def test_another_runs_file_is_replaced_once(parts: folders.Folder, scheme: str, tmp_path: Path) -> None:
    other = folder_named(scheme, f"test_another_runs_file_is_replaced_once[{scheme}]")
    assert parts.names() == other.names() == []
    other.put(file(tmp_path, b"theirs"), "part-00000.nc")
    parts.put(file(tmp_path, b"ours"), "part-00000.nc")
    assert content(other, "part-00000.nc") == b"ours"
    parts.remove("part-00000.nc")
    other.put(file(tmp_path, b"again"), "part-00000.nc")  # what it saw last is gone
    assert content(other, "part-00000.nc") == b"again"


@SERVED
def test_an_upload_whose_answer_is_lost_has_succeeded(parts: folders.Folder, proxy: GcsProxy, tmp_path: Path) -> None:
    left = ["lose"]
    proxy.mischief = lambda method, path: left.pop() if method == "PUT" and left else None
    parts.put(file(tmp_path, b"data"), "part-00000.nc")
    assert not left
    assert content(parts, "part-00000.nc") == b"data"


@SERVED
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_store_that_refuses_for_a_while_is_asked_again(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path, status: int
) -> None:
    random_of = random.Random(status)
    proxy.mischief = lambda method, path: status if random_of.random() < 0.6 else None
    for size in (1000, 18 << 20):
        data = noise(size)
        parts.put(file(tmp_path, data), f"part-{size}.nc")
        assert content(parts, f"part-{size}.nc") == data
    parts.remove("part-1000.nc")
    assert parts.names() == [f"part-{18 << 20}.nc"]
    assert sum(c.status == status for c in proxy.calls) > 5


@SERVED
def test_answers_that_break_off_are_asked_for_again(parts: folders.Folder, proxy: GcsProxy, tmp_path: Path) -> None:
    data = noise(18 << 20)
    parts.put(file(tmp_path, data), "part-00000.nc")
    left = ["cut"] * 3
    proxy.mischief = lambda method, path: left.pop() if method == "GET" and "part-" in path and left else None
    assert content(parts, "part-00000.nc") == data
    assert not left


def test_an_object_that_is_replaced_is_noticed(proxy: GcsProxy, scheme: str) -> None:
    objects = objects_at(f"{scheme}://scenes/changes")
    first = objects.write("a", io.BytesIO(b"x" * 100), 100, None)
    assert objects.read("a", first, 10, 20) == b"x" * 10
    second = objects.write("a", io.BytesIO(b"y" * 50), 50, first)
    for start, stop in ((10, 20), (60, 70)):
        with pytest.raises(ObjectChanged):
            objects.read("a", first, start, stop)
    assert objects.read("a", second, 10, 20) == b"y" * 10
    objects.delete("a")
    with pytest.raises(ObjectChanged):
        objects.read("a", second, 10, 20)


@SERVED
def test_a_listing_that_breaks_off_goes_on_where_it_was(
    proxy: GcsProxy, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = objects_at(f"{scheme}://scenes/listing")
    for k in range(12):
        objects.write(f"{k % 3}-{k:02d}.nc", io.BytesIO(b"x"), 1, None)
    left = [503] * 2
    proxy.mischief = lambda method, path: left.pop() if method == "GET" and left else None
    names = [name for name, _, _ in objects.walk()]
    assert names == sorted(f"{k % 3}-{k:02d}.nc" for k in range(12))
    assert [name for name, _, _ in objects.walk(after=names[4])] == names[5:]


@pytest.mark.parametrize(("scheme", "page"), [("s3", 1000), pytest.param("az", 5000, marks=pytest.mark.slow)])
def test_names_beyond_a_page_of_a_listing(proxy: GcsProxy, scheme: str, page: int) -> None:
    """Providers give so many names an answer, and say where to go on."""
    folder = folder_named(scheme, "pages")
    objects = objects_at(f"{scheme}://scenes/some/prefix/trajectories/pages/00")
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda k: objects.write(f"part-{k:05d}.nc", io.BytesIO(b"x"), 1, None), range(page + 1)))
    proxy.calls.clear()
    assert folder.names() == [f"part-{k:05d}.nc" for k in range(page + 1)]
    assert len(proxy.calls) == 2


_UPLOAD = """
import sys
from pathlib import Path
from stilt_dagster.resources.remote import buckets
from stilt_dagster.resources.store import Store
buckets._ONE_REQUEST, buckets._PIECE, buckets._PIECES = 1 << 20, 5 << 20, 1
Store(sys.argv[1]).folder("trajectories", "killed", "00").put(Path(sys.argv[2]), "part-00000.nc")
"""


@SERVED
def test_an_upload_that_is_killed_between_its_pieces_changes_nothing(
    proxy: GcsProxy, scheme: str, tmp_path: Path
) -> None:
    folder = Store(f"{scheme}://scenes/some").folder("trajectories", "killed", "00")
    folder.put(file(tmp_path, b"before"), "part-00000.nc")
    path, pieces, killed = file(tmp_path, noise(20 << 20)), [], threading.Event()

    def kill(method: str, path: str) -> None:
        if method == "PUT":
            pieces.append(path)
            if len(pieces) == 3:
                run.kill()
                killed.set()

    proxy.mischief = kill
    run = subprocess.Popen([sys.executable, "-c", _UPLOAD, f"{scheme}://scenes/some", str(path)])
    assert run.wait(timeout=120) == -signal.SIGKILL
    assert killed.is_set()
    again = Store(f"{scheme}://scenes/some").folder("trajectories", "killed", "00")
    assert again.names() == ["part-00000.nc"]
    assert content(again, "part-00000.nc") == b"before"
    again.put(path, "part-00000.nc")
    assert content(again, "part-00000.nc") == noise(20 << 20)


@SERVED
def test_a_store_that_never_answers_is_unavailable_in_one_line(
    parts: folders.Folder, proxy: GcsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "RETRY", retries.RETRY.with_timeout(1.0))
    proxy.mischief = lambda method, path: 503
    path = file(tmp_path, b"x")
    for use_it in (parts.names, lambda: parts.put(path, "a"), lambda: parts.read("a"), lambda: parts.remove("a")):
        with pytest.raises(StoreUnavailable) as error:
            use_it()
        assert "for 1 s (503): run it again later" in str(error.value)
        assert "http" not in str(error.value)
    assert path.exists(), "what is not published is kept"


@SERVED
def test_what_another_try_does_not_mend_is_said_at_once(proxy: GcsProxy, scheme: str, tmp_path: Path) -> None:
    absent = Store(f"{scheme}://no-such-bucket/prefix")
    for use_it in (
        lambda: absent.folder("scenes").names(),
        lambda: absent.folder("scenes").read("a.json"),
        lambda: absent.folder("scenes").write("a.json", "{}"),
    ):
        with pytest.raises(StoreError, match=f"there is no bucket {scheme}://no-such-bucket") as error:
            use_it()
        assert not isinstance(error.value, StoreUnavailable)
    for status in (401, 403):
        proxy.mischief = lambda method, path, status=status: status
        with pytest.raises(StoreError, match=f"permission denied: give what runs this access to {scheme}://scenes"):
            Store(f"{scheme}://scenes").folder("scenes").names()


def test_credentials_that_are_not_there_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="no credentials"):
        Store("s3://scenes").folder("scenes").names()


@pytest.mark.parametrize("url", ["s3://", "gs://", "az://", "ftp://x/y", "s4://x"])
def test_what_cannot_be_a_store(url: str) -> None:
    with pytest.raises(StoreError, match="STILT_STORE"):
        Store(url)


@pytest.mark.parametrize("scheme", ["az"])
def test_granules_of_azure(proxy: GcsProxy, scheme: str, tmp_path: Path) -> None:
    for name in ("0/g 1+é.nc", "0/g2.nc", "1/g3.nc"):
        directory, _, base = name.rpartition("/")
        objects_at(f"az://scenes/landing/{directory}").write(base, io.BytesIO(b"x" * 5), 5, None)
    folder = GranuleFolder("az://scenes/landing")
    listed = list(folder.list("g*.nc"))
    assert [g.key for g in listed] == ["0/g 1+é.nc", "0/g2.nc", "1/g3.nc"]
    assert [g.key for g in folder.list(after="0/g 1+é.nc")] == ["0/g2.nc", "1/g3.nc"]
    assert fetch(folder.path_of("0/g 1+é.nc"), tmp_path).read_bytes() == b"x" * 5
