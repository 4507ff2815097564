"""The cache of remote ranges: what it gives, what it takes, and that nothing that goes wrong with it is an error."""

from __future__ import annotations

import logging
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stilt_dagster.resources import range_cache
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.range_cache import RangeCache
from stilt_dagster.resources.remote import files
from stilt_dagster.science.errors import StoreError
from stilt_dagster.settings import range_cache as range_cache_settings
from stilt_dagster_tests.harness.web import WebServer

PLACE = ("https://host/file", "tag")
DATA = random.Random(2).randbytes(1_000_000)


def size_of(directory: Path) -> int:
    return sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())


def test_a_range_lies_in_a_longer_one(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "cache", 10_000_000)
    assert cache.get(*PLACE, 0, 10) is None
    cache.put(*PLACE, 1000, DATA[1000:5000])
    for one in (cache, RangeCache(tmp_path / "cache", 10_000_000)):
        assert one.get(*PLACE, 1000, 5000) == DATA[1000:5000]
        assert one.get(*PLACE, 2000, 2010) == DATA[2000:2010]
        assert one.get(*PLACE, 999, 1010) is None
        assert one.get(*PLACE, 4999, 5001) is None
        assert one.get(PLACE[0], "another state", 2000, 2010) is None
        assert one.get("https://host/other", "tag", 2000, 2010) is None


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    cache = RangeCache(tmp_path / "cache", 10_000_000)
    cache.put(*PLACE, 0, b"x" * 100)
    for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_was_not_read_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_cache, "_NOTE", 0.0)
    cache = RangeCache(tmp_path / "cache", 1_000_000)
    for k in range(9):
        cache.put(*PLACE, k * 100_000, DATA[k * 100_000 : (k + 1) * 100_000])
        time.sleep(0.02)
    assert cache.get(*PLACE, 0, 10) == DATA[:10]
    for k in range(20):
        cache.put("https://host/other", "tag", k * 100_000, b"z" * 100_000)
        assert size_of(tmp_path / "cache") <= 1_000_000
        time.sleep(0.02)
        assert cache.get(*PLACE, 0, 10) == DATA[:10], "what is read stays"
    assert cache.get(*PLACE, 100_000, 100_010) is None
    cache.put(*PLACE, 0, b"x" * 2_000_000)
    assert size_of(tmp_path / "cache") <= 1_000_000, "what is larger than the cache is not kept"


def test_an_entry_that_is_gone_or_cut_is_none(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "cache", 10_000_000)
    cache.put(*PLACE, 0, DATA[:1000])
    [entry] = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    os.truncate(entry, 500)
    assert cache.get(*PLACE, 0, 10) is None
    entry.unlink()
    assert cache.get(*PLACE, 0, 10) is None
    cache.put(*PLACE, 0, DATA[:1000])
    assert cache.get(*PLACE, 0, 10) == DATA[:10]


def test_a_cache_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        cache = RangeCache(tmp_path / "file" / "cache", 10_000_000)
        for _ in range(3):
            cache.put(*PLACE, 0, b"x")
            assert cache.get(*PLACE, 0, 1) is None
    [record] = caplog.records
    assert "is not used" in record.message
    assert "STILT_CACHE" in record.message


def test_a_disk_that_is_full_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RangeCache(tmp_path / "cache", 10_000_000)

    def full(self: Path, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.put(*PLACE, 0, b"x")
            assert cache.get(*PLACE, 0, 1) is None
    [record] = caplog.records
    assert "No space left on device" in record.message
    assert size_of(tmp_path / "cache") == 0


WORKER = """
import random, sys
from pathlib import Path
from stilt_dagster.resources.range_cache import RangeCache
cache, data = RangeCache(Path(sys.argv[1]), 300_000), random.Random(2).randbytes(1_000_000)
chance = random.Random(int(sys.argv[2]))
hits = 0
for _ in range(1500):
    a = chance.randrange(100) * 10_000
    found = cache.get("place", "tag", a + 5, a + 9_000)
    if found is None:
        cache.put("place", "tag", a, data[a:a + 10_000])
    else:
        hits += 1
        assert found == data[a + 5:a + 9_000]
print(hits)
"""


def test_several_processes_share_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "cache")]
    running = [
        subprocess.Popen([*command, str(k)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for k in range(4)
    ]
    for process in running:
        hits, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert int(hits) > 100
        assert said == ""
    assert size_of(tmp_path / "cache") <= 300_000 * 1.2


def test_the_environment_says_where_it_is_and_how_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILT_CACHE", raising=False)
    monkeypatch.delenv("STILT_CACHE_GB", raising=False)
    directory, size = range_cache_settings()
    assert (str(os.getuid()) in directory.name, size) == (True, 10_000_000_000)
    monkeypatch.setenv("STILT_CACHE", "/some/where")
    monkeypatch.setenv("STILT_CACHE_GB", "0.5")
    assert range_cache_settings() == (Path("/some/where"), 500_000_000)
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("STILT_CACHE_GB", wrong)
        with pytest.raises(StoreError, match="STILT_CACHE_GB must be a number of gigabytes"):
            range_cache_settings()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    with WebServer({"/met.arl": DATA}) as server:
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", server.host)
        monkeypatch.setenv("STILT_CACHE", str(tmp_path / "cache"))
        files.shared_cache.cache_clear()
        yield server
    files.shared_cache.cache_clear()


def test_what_one_scene_read_another_need_not_ask_for(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*ranges: tuple[int, int]) -> list[bytes]:
        found = FileArchive(web.url).open(["met.arl"])
        assert found is not None
        return list(found.read(ranges))

    first = [(0, 100_000), (300_000, 400_000)]
    assert read(*first) == [DATA[a:b] for a, b in first]
    web.requests.clear()
    assert read((500, 1000), (300_000, 400_000)) == [DATA[500:1000], DATA[300_000:400_000]]
    assert web.sent == 1, "what tells its state is asked, and nothing else"
    web.version += 1
    web.files["/met.arl"] = DATA[::-1]
    assert read((500, 1000)) == [DATA[::-1][500:1000]]
    monkeypatch.setenv("STILT_CACHE_GB", "0")
    files.shared_cache.cache_clear()
    web.requests.clear()
    read((500, 1000))
    assert web.sent == 501
