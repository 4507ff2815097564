"""The chart off Google: plain Kubernetes, AWS and Azure, each by its file in ``deploy/values``."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes import client

from stilt_dagster_tests.conftest import deep_merge
from stilt_dagster_tests.deploy.golden import values_file
from stilt_dagster_tests.deploy.test_chart import named, pod_specs
from stilt_dagster_tests.harness import checkov
from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.helm import CHART, helm, render, render_text

CLUSTERS = ("plain", "aws", "azure")

#: What the pages of AWS and Azure have an operator write besides. The plain file is complete.
_COMMON: dict[str, Any] = {
    "images": {name: f"registry.example.org/stilt/{name}@sha256:{'a' * 64}" for name in ("worker", "web")},
    "network": {"apiServer": ["10.10.0.0/20"]},
}
ROLE = "arn:aws:iam::000000000000:role/stilt-{}"
OWN: dict[str, dict[str, Any]] = {
    "plain": {},
    "aws": _COMMON
    | {
        "store": {"url": "s3://our-stilt/store"},
        "database": {"host": "stilt.abc.eu-west-1.rds.amazonaws.com", "cidr": "10.20.0.0/22"},
        "accounts": {
            name: {"annotations": {"eks.amazonaws.com/role-arn": ROLE.format(name)}} for name in ("web", "code", "run")
        },
    },
    "azure": _COMMON
    | {
        "store": {"url": "az://stilt/store"},
        "settings": {"AZURE_STORAGE_ACCOUNT_NAME": "ourstilt"},
        "database": {"host": "ours.postgres.database.azure.com", "cidr": "10.20.0.0/28"},
        "accounts": {
            name: {"annotations": {"azure.workload.identity/client-id": f"{name}-client-id"}}
            for name in ("web", "code", "run")
        },
    },
}

#: Fields, addresses and programs that only Google has.
_GOOGLE = re.compile(r"google|gke|gcs|gs://|\bgce\b|169\.254\.169\.|35\.191\.|130\.211\.", re.IGNORECASE)


def values(cluster: str, **changes: Any) -> tuple[Path, dict[str, Any]]:
    return values_file(cluster), deep_merge(OWN[cluster], changes)


def manifests(cluster: str, **changes: Any) -> list[dict[str, Any]]:
    return render(*values(cluster, **changes))


def instance_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    loaded = yaml.safe_load(named(objects, "ConfigMap", "stilt-dagster-instance")["data"]["dagster.yaml"])
    return dict(loaded)


@pytest.fixture(scope="module", autouse=True)
def _has_helm() -> None:
    helm("version")


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_nothing_is_of_google(cluster: str) -> None:
    objects = manifests(cluster)
    assert len(objects) > 25
    for manifest in objects:
        found = _GOOGLE.findall(yaml.safe_dump(manifest))
        assert not found, f"{manifest['kind']} {manifest['metadata']['name']}: {found}"
    assert _GOOGLE.search(render_text(values_file("dev"), _GOOGLE_VALUES)), "what is looked for is found"


_GOOGLE_VALUES = deep_merge(_COMMON, {"store": {"url": "gs://ours/store"}, "database": {"host": "10.0.0.3"}})


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_manifests_are_of_their_kinds(cluster: str) -> None:
    for manifest in manifests(cluster):
        for version in ("1.30", "1.37"):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_policy_scan(tmp_path: Path) -> None:
    """The database of the namespace's own among them; the choices are those of the other environments' scan."""
    (tmp_path / "manifests.yaml").write_text(render_text(*values("plain")))
    found, passed = checkov.findings(tmp_path, "kubernetes")
    assert passed > 100
    chosen = {"CKV_K8S_35", "CKV_K8S_11", "CKV_K8S_38", "CKV_K8S_9"}
    # An image nobody can pull has no digest, and the trial's database is the operator's to pin.
    chosen |= {"CKV_K8S_43", "CKV_K8S_14", "CKV_K8S_15"}
    # The official image of Postgres has a user of its own, below the range of the scan.
    chosen |= {"CKV_K8S_40", "CKV_K8S_8"}
    assert not [line for line in found if line.split()[0] not in chosen], "\n".join(found)


def test_the_plain_volume_is_where_it_is_needed_and_nowhere_else() -> None:
    objects = manifests("plain")
    mounted = {
        name: [m["mountPath"] for m in spec["containers"][0]["volumeMounts"] if m["name"] == "volume"]
        for name, spec in pod_specs(objects).items()
    }
    assert mounted == {"stilt-web": ["/volume"], "stilt-code": ["/volume"], "stilt-daemon": [], "stilt-migrate": []}
    runs = instance_of(objects)["run_launcher"]["config"]["run_k8s_config"]
    assert {"name": "volume", "mount_path": "/volume"} in runs["container_config"]["volume_mounts"]
    claim = {"name": "volume", "persistent_volume_claim": {"claim_name": "stilt-store"}}
    assert claim in runs["pod_spec_config"]["volumes"]
    settings = named(objects, "ConfigMap", "stilt-settings")["data"]
    assert settings["STILT_STORE"] == "/volume/store"
    assert "STILT_BUCKET" not in settings
    assert named(objects, "PersistentVolumeClaim", "stilt-store")["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }
    assert not [o for o in manifests("plain", store={"size": ""}) if o["kind"] == "PersistentVolumeClaim"]


def test_credentials_of_a_bucket_are_variables_of_those_that_need_them() -> None:
    bucket = {"url": "s3://stilt/store", "secret": "stilt-s3", "claim": ""}
    objects = manifests("plain", store=bucket, settings={"AWS_ENDPOINT_URL": "http://minio.minio.svc:9000"})
    having = {
        name
        for name, spec in pod_specs(objects).items()
        if {"secretRef": {"name": "stilt-s3"}} in spec["containers"][0]["envFrom"]
    }
    assert having == {"stilt-web", "stilt-code"}
    instance = instance_of(objects)
    assert instance["run_launcher"]["config"]["env_secrets"] == ["stilt-postgres", "stilt-s3"]
    assert instance["compute_logs"]["class"] == "S3ComputeLogManager"
    assert named(objects, "ConfigMap", "stilt-settings")["data"]["STILT_BUCKET"] == "stilt"


def test_identities_of_aws_and_azure() -> None:
    for cluster, key in (("aws", "eks.amazonaws.com/role-arn"), ("azure", "azure.workload.identity/client-id")):
        objects = manifests(cluster)
        bound = {
            o["metadata"]["name"]: o["metadata"]["annotations"][key]
            for o in objects
            if o["kind"] == "ServiceAccount" and "annotations" in o["metadata"]
        }
        assert bound.keys() == {"stilt-web", "stilt-code", "stilt-run"}
        assert len(set(bound.values())) == 3, "each has rights of its own"
    label = {"azure.workload.identity/use": "true"}
    labels = {
        o["metadata"]["name"]: o["spec"]["template"]["metadata"]["labels"] for o in objects if "Deploy" in o["kind"]
    }
    assert {name for name, given in labels.items() if label.items() <= given.items()} == {"stilt-web", "stilt-code"}
    runs = instance_of(objects)["run_launcher"]["config"]["run_k8s_config"]
    assert runs["pod_template_spec_metadata"]["labels"] == label


def test_a_database_with_a_name_is_verified_by_it() -> None:
    ca = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    objects = manifests("aws", database={"ca": ca})
    assert named(objects, "ConfigMap", "stilt-settings")["data"]["PGSSLMODE"] == "verify-full"
    rules = named(objects, "NetworkPolicy", "stilt-common")["spec"]["egress"]
    assert {"to": [{"ipBlock": {"cidr": "10.20.0.0/22"}}], "ports": [{"protocol": "TCP", "port": 5432}]} in rules


# -- on a real API server ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.mark.cluster
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_it_is_applied_and_upgraded(plane: ControlPlane, cluster: str, tmp_path: Path) -> None:
    """By Helm, each in turn; a password that was made for a database is what the upgrade finds."""
    core, namespace = client.CoreV1Api(plane.client()), f"stilt-{cluster}"
    file, own = values(cluster)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))

    def install(*options: str) -> str:
        command = ("upgrade", "stilt", CHART, "--install", "--create-namespace", "--namespace", namespace, "--no-hooks")
        arguments = (*command, "--values", file, "--values", tmp_path / "own.yaml", *options)
        return helm(*arguments, kubeconfig=plane.kubeconfig).stdout

    def password() -> str:
        return base64.b64decode(core.read_namespaced_secret("stilt-postgres", namespace).data[key]).decode()

    key = "DAGSTER_POSTGRES_PASSWORD"
    assert "STATUS: deployed" in install()
    before = password() if cluster == "plain" else ""
    assert "STATUS: deployed" in install("--set", "maxCores=6")
    assert core.read_namespaced_config_map("stilt-settings", namespace).data["STILT_MAX_CORES"] == "6"
    helm("uninstall", "stilt", "--namespace", namespace, kubeconfig=plane.kubeconfig)
    if cluster == "plain":
        assert len(before) == 32
        assert password() == before, "an upgrade keeps it, and it stays with the data"
        claims = core.list_namespaced_persistent_volume_claim(namespace).items
        assert "stilt-store" in [claim.metadata.name for claim in claims]
