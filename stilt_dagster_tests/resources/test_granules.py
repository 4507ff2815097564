"""Granules in a bucket: listed by pages at any depth, copied whole, and a scan of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stilt_dagster.resources import gcs, granules
from stilt_dagster.resources.granules import GranuleFolder, fetch
from stilt_dagster.science.errors import RetrievalError, UnreadableError
from stilt_dagster_tests.conftest import SCENE, Project
from stilt_dagster_tests.harness.gcs import GcsServer
from stilt_dagster_tests.harness.s3 import S3Server
from stilt_dagster_tests.retrievals.granules import tropomi_name, write_tropomi


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with GcsServer("landing") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        gcs.client.cache_clear()
        yield server.url
        gcs.client.cache_clear()


def test_a_bucket_is_listed_by_pages_at_any_depth(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granules, "_PAGE", 7)
    for k in range(30):
        gcs.client().bucket("landing").blob(f"ch4/{k % 3}/g{k:02d}.nc").upload_from_string(b"x" * (k + 1))
    gcs.client().bucket("landing").blob("ch4/readme.txt").upload_from_string(b"no granule")
    listed = list(GranuleFolder("gs://landing/ch4/").list("g*.nc"))
    assert [g.key for g in listed] == sorted(f"{k % 3}/g{k:02d}.nc" for k in range(30))
    assert len({g.state for g in listed}) == 30
    copy = fetch("gs://landing/ch4/2/g05.nc", tmp_path)
    assert copy.read_bytes() == b"x" * 6
    with pytest.raises(UnreadableError, match="does not exist"):
        fetch("gs://landing/ch4/none.nc", tmp_path)


def test_a_bucket_of_s3_is_read_by_anyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granules, "_PAGE", 7)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    server = S3Server()
    with server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        server.put("landing")
        for k in range(30):
            server.put(f"landing/ch4/{k % 3}/g{k:02d}.nc", b"x" * (k + 1))
        server.put("landing/ch4/readme.txt", b"no granule")
        folder = GranuleFolder("s3://landing/ch4/")
        keys = sorted(f"{k % 3}/g{k:02d}.nc" for k in range(30))
        listed = list(folder.list("g*.nc"))
        assert [g.key for g in listed] == keys
        assert len({g.state for g in listed}) == 30
        assert [g.key for g in folder.list("g*.nc", after=keys[11])] == keys[12:]
        assert fetch("s3://landing/ch4/2/g05.nc", tmp_path).read_bytes() == b"x" * 6
        server.put("landing/ch4/2/g05.nc", b"y" * 6)
        [again] = folder.list("g05.nc")
        assert again.state != next(g.state for g in listed if g.key == again.key)
        with pytest.raises(UnreadableError, match="does not exist"):
            fetch("s3://landing/ch4/none.nc", tmp_path)
        with pytest.raises(UnreadableError, match="s3://nowhere"):
            list(GranuleFolder("s3://nowhere/x").list())


def test_places_that_cannot_be_listed_are_told() -> None:
    with pytest.raises(RetrievalError, match="directory, gs://, s3:// or az://"):
        GranuleFolder("ftp://somewhere/x")
    with pytest.raises(RetrievalError, match="is not a directory"):
        list(GranuleFolder("/nowhere/at/all").list())


def test_a_scan_of_a_bucket(bucket: str, project: Project) -> None:
    write_tropomi(project.path / "g.nc", scanlines=2, pixels=2)
    for orbit in (1, 1, 2):
        name = tropomi_name(orbit=orbit)
        write_tropomi(project.path / "g.nc", scanlines=2, pixels=2, orbit=orbit)
        gcs.client().bucket("landing").blob(f"2023/{name}").upload_from_filename(str(project.path / "g.nc"))
    area = {"xmin": -112.2, "xmax": -111.8, "ymin": 40.3, "ymax": 40.7}
    met = {"directory": str(project.meteorology), "pattern": "%Y%m%d_%H-*_hrrr"}
    scene = {k: SCENE[k] for k in ("transport", "footprint")} | {"meteorology": met}
    spec = {"uri": "gs://landing", "product": "tropomi_ch4", "areas": {"slc": area}, "settle": 0, "scene": scene}
    (project.store / "sources").mkdir(parents=True)
    (project.store / "sources" / "s5p.yaml").write_text(yaml.safe_dump(spec))
    done = project.cli("retrievals", "scan", STORAGE_EMULATOR_HOST=bucket)
    assert "2 files: 2 new scenes" in done.stdout
    assert project.cli("scene", "list").stdout.split() == [f"s5p-slc-20230715-o0000{k}" for k in (1, 2)]
