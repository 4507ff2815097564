"""Compute logs on AWS and Azure, by the settings the chart renders, with a pod's identity and no key."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.storage.compute_log_manager import ComputeLogManager
from dagster._serdes import ConfigurableClassData

from stilt_dagster_tests.deploy.test_clusters import instance_of, manifests
from stilt_dagster_tests.harness.azure import AzureServer
from stilt_dagster_tests.harness.identities import CLIENT_ID, ROLE_ARN, TENANT_ID, Identities
from stilt_dagster_tests.harness.s3 import S3Server

KEY = ["run", "compute_logs", "step"]
BUCKET = "our-stilt"
ACCOUNT = "devstoreaccount1"

Open = Callable[[str, Identities, dict[str, str], dict[str, Any]], ComputeLogManager]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file a cloud's webhook mounts, in an environment that has nothing else of a cloud."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]:
        monkeypatch.delenv(name)
    path = tmp_path / "token"
    path.write_text("token-of-the-pod")
    return path


@pytest.fixture
def open_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: Path) -> Iterator[Open]:
    """Make the manager of a cluster's values as Dagster makes it; each is a pod of its own."""
    opened: list[ComputeLogManager] = []

    def make(
        cluster: str, identities: Identities, variables: dict[str, str], changes: dict[str, Any]
    ) -> ComputeLogManager:
        ca = str(identities.directory / "ca.crt")
        for name, value in {"AWS_CA_BUNDLE": ca, "REQUESTS_CA_BUNDLE": ca, "STILT_BUCKET": BUCKET, **variables}.items():
            monkeypatch.setenv(name, value)
        told = instance_of(manifests(cluster))["compute_logs"]
        config = told["config"] | {"local_dir": str(tmp_path / f"pod-{len(opened)}"), **changes}
        data = ConfigurableClassData(told["module"], told["class"], yaml.safe_dump(config))
        manager = data.rehydrate(as_type=ComputeLogManager)
        opened.append(manager)
        return manager

    yield make
    for manager in opened:
        manager.dispose()


def write_and_read(opened: Callable[[], ComputeLogManager]) -> str | None:
    """Write a log as a run does, and return it as a webserver elsewhere finds it."""
    with opened().capture_logs(KEY):
        print("a line of the run")
    found = opened().get_log_data(KEY).stdout
    return None if found is None else found.decode()


def test_logs_on_s3_by_the_role_of_the_pod(open_logs: Open, token: Path, tmp_path: Path) -> None:
    allowed = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        "Resource": f"arn:aws:s3:::{BUCKET}/compute-logs/*",
    }
    listed = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}"}
    with S3Server() as s3, Identities(tmp_path / "pki", s3) as identities:
        s3.put(BUCKET)
        identities.allow({"Version": "2012-10-17", "Statement": [allowed, listed]})
        variables = {
            "AWS_ROLE_ARN": ROLE_ARN,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ENDPOINT_URL_STS": identities.url,
        }
        assert write_and_read(lambda: open_logs("aws", identities, variables, {})) == "a line of the run\n"
        assert {asked["WebIdentityToken"] for asked in identities.asked} == {"token-of-the-pod"}


def test_logs_on_azure_by_the_identity_of_the_pod(
    open_logs: Open, token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, known = f"{ACCOUNT}.blob.localhost", socket.getaddrinfo

    def find(name: Any, *arguments: Any, **options: Any) -> Any:
        return known("127.0.0.1" if name == host else name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", find)  # Azure's client has an account's name in its host's
    with Identities(tmp_path / "pki") as identities, AzureServer(identities.authority) as azure:
        azure.make_container(BUCKET)
        variables = {
            "AZURE_CLIENT_ID": CLIENT_ID,
            "AZURE_TENANT_ID": TENANT_ID,
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
            "AZURE_AUTHORITY_HOST": identities.url,
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        }
        here = {"endpoint_suffix": azure.url.replace("https://127.0.0.1", "localhost")}
        assert write_and_read(lambda: open_logs("azure", identities, variables, here)) == "a line of the run\n"
        assert {asked["client_assertion"] for asked in identities.asked} == {"token-of-the-pod"}
