"""URLs made to harm, in specs, sources and settings: what they hold is not repeated, where they lead is not asked."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster import settings
from stilt_dagster.operations.ingest.sources import parse_source
from stilt_dagster.resources.granules import GranuleFolder
from stilt_dagster.resources.remote import buckets
from stilt_dagster.resources.remote.files import open_remote
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import RetrievalError, SceneError, StoreError, UserError
from stilt_dagster.science.scenes.loading import parse_scene, scene_from_json
from stilt_dagster.science.validation import check_url
from stilt_dagster_tests.conftest import SCENE, deep_merge
from stilt_dagster_tests.harness import s3
from stilt_dagster_tests.harness.identities import Identities
from stilt_dagster_tests.harness.web import WebServer, ask_quickly

#: Credentials in URLs, as providers and people write them.
HELD = [
    "s3://key:planted@bucket/met",
    "az://planted@container/met",
    "https://user:planted@host/met",
    "az://container/met?sv=2021&sig=planted",
    "s3://bucket/met?X-Amz-Credential=a&X-Amz-Signature=planted",
    "s3://bucket/met?x-amz-security-token=planted",
    "https://account.blob.core.windows.net/c/x.nc?sp=r&SIG=planted",
    "https://bucket.s3.amazonaws.com/x.nc?AWSAccessKeyId=a&Signature=planted",
    "https://storage.googleapis.com/b/x.nc?X-Goog-Signature=planted",
    "https://host/x.nc#access_token=planted",
    "https://host/x.nc?token=planted",
]

#: Names that no bucket has, and of which clients make other hosts, other buckets, or a crash.
NO_BUCKETS = [
    "s3://evil.example#/k",
    "s3://evil.example?/k",
    "s3://a b/k",
    "s3://%2e%2e/k",
    "s3://169.254.169.254/latest/meta-data",
    "s3://2852039166/k",
    "s3://[fd00:ec2::254]/k",
    "s3://bucket:80/k",
    "s3://..bucket/k",
    "s3://Bucket/k",
    "s3://x/k",
    "gs://..%2fother/k",
    "gs://10.0.0.1/k",
    "az://account.blob.core.windows.net/container/k",
    "az://169.254.169.254/metadata/identity",
    "az://../k",
    "az://a--b/k",
    "az://$logs/k",
    "az:///k",
    "s3://bucket/a/../../other/k",
    "s3://bucket/a//b",
    "az://container/./b",
    "gs://bucket/a\nb",
    "s3://bucket/a\x00b",
    "s3://bucket/" + "é" * 600,
]


def spec(place: str) -> dict:
    return deep_merge(SCENE, {"meteorology": {"directory": place}})


@pytest.mark.parametrize("url", HELD)
def test_credentials_are_refused_and_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILT_STORE", url)
    monkeypatch.setenv("STILT_MET", url)
    source = f"uri: {url!r}\nproduct: tropomi_ch4\nareas: {{a: {{xmin: 0, xmax: 1, ymin: 0, ymax: 1}}}}\nscene: {{}}"
    for use_it, kind in (
        (lambda: parse_scene(spec(url), "scene.yaml", None), SceneError),
        (lambda: parse_source(source, "landing", "sources/landing.yaml"), RetrievalError),
        (settings.store_url, StoreError),
        (settings.meteorology_root, StoreError),
        (lambda: Store(url), StoreError),
        (lambda: buckets.objects_at(url), StoreError),
    ):
        with pytest.raises(kind) as error:
            use_it()
        assert "planted" not in str(error.value)
        assert "credentials" in str(error.value) or "is not a directory, or a URL of" in str(error.value)


def test_a_spec_of_before_that_holds_a_signed_url_still_opens() -> None:
    """They were let in once, and a store must open with every version after."""
    scene = parse_scene(spec("https://host/met"), "scene.yaml", None)
    text = scene.to_json().replace("https://host/met", "https://host/met?sig=old")
    assert str(scene_from_json(text).meteorology.directory) == "https://host/met?sig=old"


@pytest.mark.parametrize("url", NO_BUCKETS)
def test_names_that_no_provider_has_are_refused_before_a_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_quickly(monkeypatch)
    with WebServer() as web:
        s3.use(monkeypatch, web.url)
        for use_it in (
            lambda: parse_scene(spec(url), "scene.yaml", None),
            lambda: Store(url).scenes(),
            lambda: open_remote(url),
            lambda: list(GranuleFolder(url).list()) if not url.startswith("gs://") else Store(url),
        ):
            with pytest.raises(UserError) as error:
                use_it()
            assert len(str(error.value).splitlines()) == 1
        assert not web.requests


@given(st.text(st.characters(max_codepoint=0x2FF), min_size=1, max_size=70))
def test_a_bucket_that_is_let_pass_changes_no_host(name: str) -> None:
    """Whether a client writes it in front of the host or behind it."""
    for scheme in ("gs", "s3", "az"):
        try:
            check_url(f"{scheme}://{name}")
        except ValueError:
            continue
        host, _, path = name.rstrip("/").partition("/")
        assert re.fullmatch(r"[a-z0-9._-]{3,222}", host)
        assert urlsplit(f"https://{host}.s3.amazonaws.com/k").hostname == f"{host}.s3.amazonaws.com"
        assert urlsplit(f"https://host/{host}/k").path == f"/{host}/k"
        assert not {"..", ".", ""} & set(path.split("/")) or not path


@given(st.text(st.characters(max_codepoint=0x2FF), min_size=1, max_size=40))
def test_an_object_is_found_or_refused_in_one_line(name: str) -> None:
    with suppress(UserError):  # anything else is a traceback
        objects, last = buckets.object_at(f"memory://bucket/{name}")
        assert objects.stat(last) is None


@pytest.mark.parametrize("name", ["endpoint", "AWS_ENDPOINT_URL", "endpoint_url", "region", "account"])
def test_a_spec_names_no_endpoint(name: str) -> None:
    for changes in ({"meteorology": {name: "http://169.254.169.254"}}, {name: "x"}, {"tags": {name: "x"}}):
        with pytest.raises(SceneError, match="unknown"):
            parse_scene(deep_merge(spec("s3://bucket/met"), changes), "scene.yaml", None)


def test_a_redirect_of_an_object_store_leads_nowhere_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore follows redirects: to no http:// where the endpoint is https://, and never with the signature."""
    ask_quickly(monkeypatch)
    with Identities(tmp_path / "pki") as other, WebServer({}, other.certificate) as store:
        s3.use(monkeypatch, store.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(other.directory / "ca.crt"))
        store.wrong.redirect = other.metadata
        with pytest.raises(StoreError, match="redirects to where it must not lead") as error:
            Store("s3://scenes/x").scenes()
        assert other.metadata not in str(error.value)
        assert not other.asked
        store.wrong.redirect = other.url
        with pytest.raises(StoreError):
            Store("s3://scenes/x").scenes()
        assert not any("authorization" in asked for asked in other.asked)
