"""Who a store is opened as where no key is kept: tokens that are exchanged, expire, rotate, and are refused."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from stilt_dagster import open_jacobian
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.remote import buckets, retries
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import StoreError, StoreUnavailable
from stilt_dagster_tests.assets.test_runs import Bench, arrays
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.docs.pages import DOCS
from stilt_dagster_tests.harness import s3 as s3_harness
from stilt_dagster_tests.harness.azure import AzureServer
from stilt_dagster_tests.harness.gcs import GcsProxy
from stilt_dagster_tests.harness.identities import CLIENT_ID, ROLE_ARN, TENANT_ID, Identities
from stilt_dagster_tests.harness.s3 import S3Server

NOTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Identities, S3Server, AzureServer]]:
    directory = tmp_path_factory.mktemp("clouds")
    with S3Server() as s3, Identities(directory / "pki", s3) as identities:
        s3.put("scenes")
        with AzureServer(identities.authority) as azure:
            azure.make_container("scenes")
            identities.allow(policy())
            yield identities, s3, azure


@pytest.fixture
def identities(clouds: tuple[Identities, S3Server, AzureServer]) -> Iterator[Identities]:
    found = clouds[0]
    found.asked.clear()
    yield found
    found.lasts, found.refuse = 3600, None
    found.allow(policy())


def policy() -> dict:
    """Return what the documentation says a role must be allowed."""
    page = (DOCS / "how-to/object-stores.md").read_text()
    found: dict = json.loads(page.partition("```json\n")[2].partition("```")[0].replace("BUCKET", "scenes"))
    return found


#: Each kind of identity: the scheme of its store, and what it is shown with.
KINDS = {
    "irsa": ("s3", "WebIdentityToken"),
    "pod identity": ("s3", "authorization"),
    "instance": ("s3", "x-aws-ec2-metadata-token"),
    "workload identity": ("az", "client_assertion"),
    "managed identity": ("az", "metadata"),
}

Take = Callable[..., Store]


@pytest.fixture
def take(
    clouds: tuple[Identities, S3Server, AzureServer],
    identities: Identities,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Take:
    """Have this process be of a kind of identity, and return a store it opens."""
    _, s3, azure = clouds
    token = tmp_path / "token"
    token.write_text("first")
    variables = {
        "irsa": {
            "AWS_ROLE_ARN": ROLE_ARN,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ENDPOINT_URL_STS": identities.url,
        },
        "pod identity": {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{identities.metadata}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        },
        "instance": {"AWS_METADATA_ENDPOINT": identities.metadata},
        "workload identity": {
            "AZURE_CLIENT_ID": CLIENT_ID,
            "AZURE_TENANT_ID": TENANT_ID,
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
            "AZURE_AUTHORITY_HOST": identities.url,
        },
        "managed identity": {
            "AZURE_CLIENT_ID": CLIENT_ID,
            "AZURE_MSI_ENDPOINT": f"{identities.metadata}/metadata/identity/oauth2/token",
        },
    }

    def be(kind: str, **more: str) -> Store:
        scheme = KINDS[kind][0]
        for name in [n for n in os.environ if n.startswith(("AWS_", "AZURE_", "AZURITE_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("SSL_CERT_FILE", str(identities.directory / "ca.crt"))
        account = {"AWS_ENDPOINT_URL_S3": s3.url, "AWS_REGION": "us-east-1"} if scheme == "s3" else azure.account
        for name, value in {**account, **variables[kind], **more}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(retries, "RETRY", retries.RETRY.with_delay(initial=0.02, maximum=0.1).with_timeout(1.0))
        buckets._client.cache_clear()
        buckets._KNOWN.clear()
        return Store(f"{scheme}://scenes/{kind.replace(' ', '-')}")

    return be


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_opens_the_store(kind: str, take: Take, identities: Identities) -> None:
    """Credentials are asked for once, with what shows who asks."""
    folder = take(kind).folder("scenes")
    folder.write("a.json", "{}")
    assert folder.read("a.json") == "{}"
    assert folder.names() == ["a.json"]
    folder.remove("a.json")
    shown = [asked[KINDS[kind][1]] for asked in identities.asked if KINDS[kind][1] in asked]
    assert set(shown) <= {"first", "true", "session-of-the-instance"}
    assert len(shown) == (2 if kind == "instance" else 1)
    if kind == "workload identity":
        assert identities.asked[0]["client_id"] == CLIENT_ID
        assert identities.asked[0]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert identities.asked[0]["scope"] == "https://storage.azure.com/.default"


@pytest.mark.parametrize("kind", ["irsa", "pod identity", "workload identity"])
def test_what_expires_is_asked_for_anew_with_the_token_that_took_its_place(
    kind: str, take: Take, identities: Identities, tmp_path: Path
) -> None:
    identities.lasts = 299  # less than clients want to be left of it
    folder = take(kind).folder("scenes")
    folder.write("a.json", "1")
    (tmp_path / "token").write_text("second")
    time.sleep(0.2)  # clients ask a tenth of a second apart at most
    assert folder.read("a.json") == "1"
    shown = [asked[KINDS[kind][1]] for asked in identities.asked]
    assert (shown[0], shown[-1]) == ("first", "second")


@pytest.mark.parametrize(
    ("kind", "refuse", "says"),
    [
        ("irsa", 403, "this machine's identity is refused (403): check which role or client it is given"),
        ("irsa", 400, "this machine's identity is refused (400)"),
        ("workload identity", 401, "this machine's identity is refused (401)"),
        ("pod identity", 403, "no credentials"),
        ("instance", 404, "no credentials"),
        ("managed identity", 400, "no credentials"),
    ],
)
def test_an_identity_that_is_refused_is_one_line(
    kind: str, refuse: int, says: str, take: Take, identities: Identities
) -> None:
    identities.refuse = (refuse, '{"error": "secret-of-the-answer"}')
    with pytest.raises(StoreError) as error:
        take(kind).scenes()
    assert says in str(error.value)
    assert not isinstance(error.value, StoreUnavailable)
    assert "secret" not in str(error.value)
    assert "first" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_who_hands_out_identities_may_be_busy(kind: str, take: Take, identities: Identities) -> None:
    identities.refuse = (503, "busy")
    store = take(kind)
    with pytest.raises(StoreUnavailable, match=r"no answer as it should be for 1 s \(503\)"):
        store.scenes()
    identities.refuse = None
    assert not store.has_scene("b")


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("irsa", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("pod identity", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        ("workload identity", "AZURE_FEDERATED_TOKEN_FILE"),
    ],
)
def test_a_token_that_is_not_mounted(kind: str, variable: str, take: Take) -> None:
    with pytest.raises(StoreError, match=f"the file {variable} names cannot be read: mount it there"):
        take(kind, **{variable: "/no/such/token"}).scenes()


def test_a_role_that_loses_its_rights(take: Take, identities: Identities) -> None:
    folder = take("irsa").folder("scenes")
    folder.write("a.json", "{}")
    identities.allow(NOTHING)
    for use_it in (folder.names, lambda: folder.read("a.json"), lambda: folder.remove("a.json")):
        with pytest.raises(StoreError, match="permission denied: give what runs this access to s3://scenes"):
            use_it()
    identities.allow(policy())
    assert folder.read("a.json") == "{}"


@pytest.mark.parametrize(
    ("without", "use_it"),
    [
        ("s3:ListBucket", lambda store: store.scenes()),
        ("s3:GetObject", lambda store: store.folder("scenes").read("a.json")),
        ("s3:PutObject", lambda store: store.folder("scenes").write("b.json", "{}")),
        ("s3:DeleteObject", lambda store: store.folder("scenes").remove("a.json")),
    ],
)
def test_the_documented_rights_are_enough_and_none_too_many(
    without: str, use_it: Callable[[Store], object], take: Take, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_ONE_REQUEST", 1 << 20)
    store = take("irsa")
    store.folder("scenes").write("a.json", "{}")
    objects = buckets.objects_at("s3://scenes/irsa/large")
    objects.write("x", io.BytesIO(bytes(6 << 20)), 6 << 20, None)
    assert objects.delete_all() == 1
    less = policy()
    for statement in less["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        statement["Action"] = [action for action in actions if action != without] or ["s3:GetBucketLocation"]
    identities.allow(less)
    with pytest.raises(StoreError, match="permission denied"):
        use_it(store)


# -- a scene -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["irsa", "workload identity"])
def test_a_scene_whose_credentials_keep_expiring_is_the_scene_of_a_directory(
    kind: str,
    take: Take,
    identities: Identities,
    tmp_path: Path,
    meteorology: Path,
    finished: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Store and meteorology in a bucket: every array of the jacobian is the one of a directory."""
    identities.lasts = 299
    store = take(kind)
    monkeypatch.setattr(retries, "RETRY", retries.RETRY.with_timeout(60.0))
    place = f"{store.root}/met"
    for path in meteorology.iterdir():
        with path.open("rb") as file:
            buckets.objects_at(place).write(path.name, file, path.stat().st_size, None)
    with dg.instance_for_test() as instance:
        bench = Bench(tmp_path, meteorology, instance, f"{store.root}/store")
        scene = bench.scene(meteorology={"directory": place})
        bench.run_all(scene)
        assert bench.run("simulate", scene).success
        assert bench.metadata("trajectories", f"{scene.id}|00")["stilt/receptors_kept"] == 9
    assert len(identities.asked) > 10, "credentials were made anew all the while"
    path = bench.store.folder("jacobian").get(f"{scene.id}.nc")
    assert path is not None
    found, expected = arrays(path), arrays(finished.store / "jacobian" / f"{scene.id}.nc")
    assert found.keys() == expected.keys()
    assert all((found[name] == value).all() for name, value in expected.items())
    fluxes = np.ones(open_jacobian(path).shape[1])
    remote = open_jacobian(f"{store.root}/store/jacobian/{scene.id}.nc")
    assert np.array_equal(remote.matvec(fluxes), open_jacobian(path).matvec(fluxes))
    assert bench.store.folder("trajectories", scene.id).remove_all() > 0


# -- keys, and what answers say ---------------------------------------------------------------------------------------


@pytest.fixture
def proxy(clouds: tuple[Identities, S3Server, AzureServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsProxy]:
    with GcsProxy(int(clouds[1].url.rpartition(":")[2])) as proxy:
        s3_harness.use(monkeypatch, proxy.url)
        yield proxy


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "ExpiredToken", "the credentials are refused (ExpiredToken): they have expired: renew them"),
        (403, "InvalidAccessKeyId", "the credentials are refused (InvalidAccessKeyId): they are not accepted"),
        (403, "SignatureDoesNotMatch", "the credentials are refused (SignatureDoesNotMatch)"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong: set it"),
        (403, "AccessDenied", "permission denied: give what runs this access to s3://scenes"),
        (400, "AuthorizationHeaderMalformed", "s3://scenes is in another region: set AWS_REGION to it"),
        (301, "PermanentRedirect", "s3://scenes is in another region"),
        (400, "SomethingElse", "the request is refused (400): check its name, region and endpoint"),
    ],
)
def test_a_refusal_says_what_to_do_and_nothing_that_was_answered(
    proxy: GcsProxy, status: int, code: str, says: str
) -> None:
    """AWS's answer to a signature that does not match holds the request as it was signed, session token included."""
    body = f"<Error><Code>{code}</Code><CanonicalRequest>x-amz-security-token:planted</CanonicalRequest></Error>"
    proxy.mischief = lambda method, path: (status, body.encode())
    with pytest.raises(dg.Failure) as failure, user_errors_as_failures():
        Store("s3://scenes/x").scenes()
    assert says in str(failure.value.description)
    shown = serializable_error_info_from_exc_info((failure.type, failure.value, failure.tb))
    assert "planted" not in str(shown), "neither the error nor its causes are kept with it"


@pytest.mark.parametrize("value", ["key\n", "a b\r\n"])
def test_a_key_with_a_line_end_is_one_line(proxy: GcsProxy, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", value)
    with pytest.raises(StoreError, match="no AWS_\\* or AZURE_\\* variable holds blanks or line ends"):
        Store("s3://scenes/x").scenes()


@pytest.mark.parametrize("url", ["minio:9000", "http://user:word@minio:9000", "ftp://x", "http://a b"])
def test_an_endpoint_that_is_none(proxy: GcsProxy, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL must be a URL of http:// or https://") as error:
        Store("s3://scenes/x").scenes()
    assert "word" not in str(error.value)
