"""Meteorology by ranges: of this machine, of web servers and of buckets, and what may go wrong on the way."""

from __future__ import annotations

import gc
import io
import os
import random
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from stilt_dagster.resources.granules import fetch
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.remote import buckets, files
from stilt_dagster.science.errors import MeteorologyError, UnreadableError
from stilt_dagster.science.meteorology.archive import MeteorologyFile
from stilt_dagster_tests.harness import azure, s3
from stilt_dagster_tests.harness.azure import AzureServer
from stilt_dagster_tests.harness.gcs import GcsProxy, GcsServer
from stilt_dagster_tests.harness.gcs import use as use_gcs
from stilt_dagster_tests.harness.pki import Authority
from stilt_dagster_tests.harness.s3 import S3Server
from stilt_dagster_tests.harness.web import WebServer, ask_quickly

DATA = random.Random(1).randbytes(3_000_000)
RANGES = [(0, 50), (100, 1100), (5000, 5000), (2_900_000, 3_000_000), (10, 20), (1_000_000, 2_500_000)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ask_quickly(monkeypatch)
    yield
    files.shared_cache.cache_clear()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with WebServer({"/hrrr/2023/met.arl": DATA, "/hrrr/2023/a b+é.arl": b"x", "/hrrr/2023/06/b.arl": b"y"}) as server:
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", f"elsewhere,{server.host}")
        yield server


def archive(root: str) -> FileArchive:
    return FileArchive(root)


def opened(root: str, name: str = "hrrr/2023/met.arl") -> MeteorologyFile:
    found = archive(root).open([f"hrrr/none-{name[-3:]}", name])
    assert found is not None
    return found


def refusal(file: MeteorologyFile) -> str:
    with pytest.raises(MeteorologyError) as error:
        list(file.read(RANGES))
    [line] = str(error.value).splitlines()
    assert line.startswith("meteorology file")
    assert file.location in line
    return line


# -- of this machine -----------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "hrrr/2023/met.arl"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    return path


def test_a_file_of_this_machine(local: Path, tmp_path: Path) -> None:
    for root in (str(tmp_path), f"file://{tmp_path}"):
        file = opened(root)
        assert (file.is_local, file.name, file.size) == (True, "met.arl", len(DATA))
        assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    assert archive(str(tmp_path)).open(["hrrr/2023/none"]) is None
    assert archive(str(tmp_path)).names(str(local.parent)) == ["met.arl"]


def test_a_file_of_this_machine_that_changes_is_noticed(local: Path, tmp_path: Path) -> None:
    file = opened(str(tmp_path))
    reading = file.read(RANGES)
    next(reading)
    with local.open("r+b") as other:
        other.write(b"new")
    with pytest.raises(MeteorologyError, match="changed while it was read"):
        next(reading)
    file = opened(str(tmp_path))
    os.truncate(local, 1000)
    assert "changed while it was read" in refusal(file)
    assert "changed while it was read" in refusal(opened(str(tmp_path)))


def test_a_file_whose_name_another_takes_stays_what_it_is(local: Path, tmp_path: Path) -> None:
    file = opened(str(tmp_path))
    other = local.with_name("other")
    other.write_bytes(b"y" * len(DATA))
    other.replace(local)
    assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    assert file.state != opened(str(tmp_path)).state


def test_files_are_closed_with_what_holds_them(local: Path, tmp_path: Path) -> None:
    def descriptors() -> int:
        found = [p for p in Path("/proc/self/fd").iterdir() if os.path.lexists(p)]
        return sum(os.path.realpath(p) == str(local) for p in found)

    held = [opened(str(tmp_path)) for _ in range(50)]
    assert descriptors() == 50
    del held
    gc.collect()
    assert descriptors() == 0


# -- of web servers ------------------------------------------------------------------------------------------------


def test_ranges_of_a_web_server(web: WebServer) -> None:
    file = opened(web.url)
    assert (file.is_local, file.name, file.size) == (False, "met.arl", len(DATA))
    web.requests.clear()
    assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    wanted = sum(b - a for a, b in RANGES)
    assert web.sent <= wanted + (64 << 10), "near ranges are one request, and nothing between far ones is read"
    assert len(web.requests) == 4
    assert archive(web.url).open(["hrrr/2023/none"]) is None


def test_memory_does_not_grow_with_what_is_read(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/hrrr/2023/met.arl"] = b"z" * 60_000_000
    monkeypatch.setattr(files, "SPAN", 1 << 20)
    file = opened(web.url)
    tracemalloc.start()
    try:
        for data in file.read([(a, a + 500_000) for a in range(0, 60_000_000, 500_000)]):
            assert len(data) == 500_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000, "eight requests of 1 MB, as the client and as the server have them"


def test_a_whole_copy_of_it(web: WebServer, tmp_path: Path) -> None:
    for ranges in (True, False):
        web.wrong.ignores_ranges, web.wrong.cut = not ranges, 2
        (tmp_path / f"copies {ranges}").mkdir()
        found = archive(web.url).fetch(["hrrr/none", "hrrr/2023/met.arl"], tmp_path / f"copies {ranges}")
        assert found is not None
        assert (found.name, found.read_bytes()) == ("met.arl", DATA)
    assert fetch(f"{web.url}/hrrr/2023/met.arl", tmp_path).read_bytes() == DATA
    assert archive(web.url).fetch(["hrrr/none"], tmp_path) is None
    with pytest.raises(UnreadableError, match="does not exist"):
        fetch(f"{web.url}/hrrr/none", tmp_path)
    with pytest.raises(UnreadableError, match="an address of a private network"):
        fetch("https://169.254.169.254/token", tmp_path)


def test_a_full_disk_is_not_tried_again(web: WebServer) -> None:
    start = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        files.copy_remote(f"{web.url}/hrrr/2023/met.arl", Path("/dev/full"))
    assert time.monotonic() - start < 1


def test_names_of_an_index_page(web: WebServer) -> None:
    assert archive("").names(f"{web.url}/hrrr/2023") == ["a b+é.arl", "met.arl"]
    with pytest.raises(MeteorologyError, match="shows no index page of it"):
        archive("").names(f"{web.url}/nothing/")


def test_refusals_for_a_while_are_waited_for(web: WebServer) -> None:
    file = opened(web.url)
    web.wrong.refuse = [503, 500, 429, 502, 503, 504, 503]
    assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    web.wrong.refuse, web.wrong.retry_after = [429], "1"
    start = time.monotonic()
    assert list(file.read([(0, 5)])) == [DATA[:5]]
    assert time.monotonic() - start >= 1


def test_answers_that_break_off_are_asked_for_again(web: WebServer) -> None:
    file = opened(web.url)
    web.wrong.cut = 5
    assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    assert web.wrong.cut == 0


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (503, "no answer as it should be for 2 s (503): run it again later"),
        (429, "no answer as it should be for 2 s (429)"),
        (403, "permission denied (403): use a place that anyone may read"),
        (404, "was replaced while it was read"),
        (416, "was replaced while it was read"),
        (418, "the request is refused (418): correct the URL"),
    ],
)
def test_refusals_are_one_line(web: WebServer, status: int, says: str) -> None:
    file = opened(web.url)
    web.wrong.refuse = [status] * 10_000
    assert says in refusal(file)


@pytest.mark.parametrize("ignores_matches", [False, True])
def test_a_remote_file_that_changes_is_noticed(web: WebServer, ignores_matches: bool) -> None:
    file = opened(web.url)
    web.wrong.ignores_matches = ignores_matches
    web.wrong.change_after = 2
    assert "was replaced while it was read: run it again" in refusal(file)


def test_a_whole_file_is_not_taken_for_a_range(web: WebServer) -> None:
    file = opened(web.url)
    web.wrong.ignores_ranges = True
    assert "the server gives no ranges of it" in refusal(file)
    with pytest.raises(MeteorologyError, match="the server gives no ranges of it"):
        opened(web.url)


def test_a_server_that_is_gone(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer({"/x.arl": DATA}) as other:
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", "127.0.0.1")
        file = opened(other.url, "x.arl")
    assert "no answer as it should be for 2 s (ConnectionError)" in refusal(file)
    with pytest.raises(MeteorologyError, match=r"there is no host no\.such\.host\.invalid"):
        archive("https://no.such.host.invalid").open(["hrrr/x"])


# -- which servers are asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:9/x",
        "https://169.254.169.254/computeMetadata/v1",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://localhost/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://0/x",
    ],
)
def test_private_addresses_are_refused_before_they_are_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILT_TRUSTED_HOSTS", raising=False)
    with pytest.raises(MeteorologyError, match="an address of a private network; have the operator name it"):
        archive("").open([url])


def test_http_is_for_trusted_hosts(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for trusted in ("", "127.0.0.1:1", "example.org", "localhost"):
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", trusted)
        for use in (lambda: archive(web.url).open(["x"]), lambda: archive("").names(web.url)):
            with pytest.raises(MeteorologyError, match="http:// is read from trusted hosts only"):
                use()
    assert not web.requests
    monkeypatch.setenv("STILT_TRUSTED_HOSTS", " 127.0.0.1 ")
    assert archive(web.url).open(["hrrr/2023/met.arl"]) is not None


def test_redirects_lead_to_trusted_hosts_only(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer({"/hrrr/2023/met.arl": DATA}) as other:
        web.wrong.redirect = other.url
        with pytest.raises(MeteorologyError, match="redirects to a place that is refused"):
            opened(web.url)
        web.wrong.redirect = "https://169.254.169.254"
        with pytest.raises(MeteorologyError, match=r"https://169\.254\.169\.254 is refused"):
            opened(web.url)
        assert not other.requests
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", f"{web.host},{other.host}")
        web.wrong.redirect = other.url
        assert list(opened(web.url).read([(0, 5)])) == [DATA[:5]]
        web.wrong.redirect = web.url
        with pytest.raises(MeteorologyError, match="redirects more than 5 times"):
            opened(web.url)


def test_a_name_that_turns_private_between_look_up_and_connection(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stilt_dagster.resources.remote import hosts

    monkeypatch.delenv("STILT_TRUSTED_HOSTS")
    monkeypatch.setattr(hosts.socket, "getaddrinfo", _public_once(hosts.socket.getaddrinfo))
    with pytest.raises(MeteorologyError, match="an address of a private network"):
        archive("").open([f"https://{web.host}/hrrr/2023/met.arl"])
    assert not web.requests


def test_https_of_a_trusted_host(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is private may be trusted, but not without a certificate; and leads to no other private place."""
    authority = Authority(tmp_path / "pki")
    with WebServer({"/x.arl": DATA}, authority.issue("server", "server")) as secure:
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", f"localhost:{secure.host.partition(':')[2]}")
        url = secure.url.replace("127.0.0.1", "localhost")
        with pytest.raises(MeteorologyError, match="its certificate is not accepted"):
            opened(url, "x.arl")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.directory / "ca.crt"))
        assert list(opened(url, "x.arl").read([(5, 10)])) == [DATA[5:10]]
        with pytest.raises(MeteorologyError, match="an address of a private network"):
            opened(secure.url, "x.arl")
        secure.wrong.redirect = secure.url
        with pytest.raises(MeteorologyError, match="an address of a private network"):
            opened(url, "x.arl")
        secure.wrong.redirect = web.url
        with pytest.raises(MeteorologyError, match="redirects to a place that is refused"):
            opened(url, "x.arl")
    assert not web.requests


def test_a_proxy_is_not_asked_for_private_addresses(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", web.url)
    monkeypatch.setenv("no_proxy", "")
    for host in ("169.254.169.254", "localhost"):
        with pytest.raises(MeteorologyError, match="an address of a private network"):
            archive("").open([f"https://{host}/x"])
    assert not web.requests


def _public_once(real):  # type: ignore[no-untyped-def]
    answers = [[(2, 1, 6, "", ("93.184.216.34", 443))]]
    return lambda *args, **more: answers.pop() if answers else real(*args, **more)


# -- of buckets ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["gs", "s3", "az"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, GcsProxy]]:
    """A bucket with a file, and the proxy before its server."""
    kind = {"gs": lambda: GcsServer("landing"), "s3": S3Server, "az": AzureServer}[request.param]
    with kind() as server, GcsProxy(int(server.url.rpartition(":")[2])) as proxy:
        use_gcs(monkeypatch, proxy)
        s3.use(monkeypatch, proxy.url)
        azure.use(monkeypatch, proxy.url)
        if request.param == "s3":
            server.put("landing")
        if request.param == "az":
            server.make_container("landing")
        buckets.objects_at(f"{request.param}://landing/hrrr/2023").write("met.arl", io.BytesIO(DATA), len(DATA), None)
        proxy.calls.clear()
        yield f"{request.param}://landing", proxy


def test_ranges_of_a_bucket(bucket: tuple[str, GcsProxy], tmp_path: Path) -> None:
    root, proxy = bucket
    file = opened(root)
    assert (file.is_local, file.name, file.size) == (False, "met.arl", len(DATA))
    proxy.calls.clear()
    assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    assert len(proxy.calls) == 4
    assert proxy.received <= sum(b - a for a, b in RANGES) + (64 << 10)
    assert archive(root).names(f"{root}/hrrr/2023") == ["met.arl"]
    with pytest.raises(MeteorologyError, match="does not exist, or is empty"):
        archive(root).names(f"{root}/nothing")
    left = ["cut", 503, 429, "lose"]
    proxy.mischief = lambda method, path: left.pop() if left else None
    assert list(file.read(RANGES)) == [DATA[a:b] for a, b in RANGES]
    proxy.mischief = lambda method, path: 403
    assert "permission denied" in refusal(file)
    proxy.mischief = lambda method, path: 503
    assert "503" in refusal(file)
    proxy.mischief = lambda method, path: None
    objects = buckets.objects_at(f"{root}/hrrr/2023")
    new = tmp_path / "new"
    new.write_bytes(DATA[::-1])
    with new.open("rb") as source:
        objects.write("met.arl", source, len(DATA), objects.stat("met.arl"))
    assert "was replaced while it was read" in refusal(file)
