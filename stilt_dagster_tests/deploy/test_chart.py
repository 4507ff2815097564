"""The chart: what it renders, what it refuses, and what a real API server makes of it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes import client

from stilt_dagster.kubernetes.run_launcher import AssetPodLauncher
from stilt_dagster_tests.conftest import deep_merge
from stilt_dagster_tests.deploy.golden import ENVIRONMENTS, GOLDEN, rendered, terraform_values, values_file
from stilt_dagster_tests.harness import checkov
from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.helm import CHART, helm, render

NAMESPACE = "stilt"

#: Kinds that come with GKE and not with Kubernetes.
GOOGLE = {"SecretProviderClass", "SecretSync", "BackendConfig", "ManagedCertificate"}


@pytest.fixture(scope="module", autouse=True)
def _has_helm() -> None:
    helm("version")


def manifests(environment: str, **changes: Any) -> list[dict[str, Any]]:
    return render(values_file(environment), deep_merge(terraform_values(environment), changes))


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def pod_specs(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "Job")}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_manifests_are_those_that_were_reviewed(environment: str) -> None:
    golden = (GOLDEN / f"{environment}.yaml").read_text()
    assert rendered(environment) == golden, "python -m stilt_dagster_tests.deploy.golden, and look at the difference"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("kubernetes", ["1.30", "1.34", "1.37"])
def test_manifests_are_of_their_kinds(environment: str, kubernetes: str) -> None:
    objects = [o for o in manifests(environment) if o["kind"] not in GOOGLE]
    assert len(objects) > 25
    for manifest in objects:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_policy_scan(environment: str, tmp_path: Path) -> None:
    (tmp_path / "manifests.yaml").write_text(rendered(environment))
    found, passed = checkov.findings(tmp_path, "kubernetes")
    assert passed > 100
    # Each is a choice: what follows the id says why it is one.
    chosen = {
        "CKV_K8S_35": "Dagster takes the password from the environment; a file would be as readable to the process",
        "CKV_K8S_11": "no CPU limits on what stays: a throttled daemon is late for everything",
        "CKV_K8S_38": "webserver and daemon speak to the API: they alone have a token",
        "CKV_K8S_9": "nothing is sent to the daemon, so there is nothing to be ready for",
    }
    assert not [line for line in found if line.split()[0] not in chosen], "\n".join(found)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_pods_may_do_nothing_they_need_not(environment: str) -> None:
    """The rules of Kubernetes' restricted profile, and more; of run pods too, whose template is the launcher's."""
    objects = manifests(environment)
    specs = pod_specs(objects)
    assert set(specs) == {"stilt-web", "stilt-daemon", "stilt-code", "stilt-migrate"}
    for name, spec in specs.items():
        assert spec["automountServiceAccountToken"] is (name != "stilt-code")
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert {next(k for k in v if k != "name") for v in spec["volumes"]} == {"configMap", "emptyDir"}
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "@sha256:" in container["image"]
        assert "PASSWORD" not in str([container.get("args"), container.get("env")])
    instance = yaml.safe_load(named(objects, "ConfigMap", "stilt-dagster-instance")["data"]["dagster.yaml"])
    config = instance["run_launcher"]["config"]
    runs = config["run_k8s_config"]
    assert runs["pod_spec_config"]["automount_service_account_token"] is False
    assert runs["pod_spec_config"]["security_context"]["run_as_non_root"] is True
    assert runs["container_config"]["security_context"]["read_only_root_filesystem"] is True
    assert config["only_allow_user_defined_k8s_config_fields"] == {"container_config": {"resources": True}}
    assert set(config) <= {*AssetPodLauncher.config_type(), "spot"}


def test_rights_are_in_one_namespace_and_few() -> None:
    objects = manifests("prod")
    assert not [o for o in objects if o["kind"].startswith("ClusterRole")]
    rules = [
        (o["metadata"]["name"], resource, verb)
        for o in objects
        if o["kind"] == "Role"
        for rule in o["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert not [r for r in rules if "*" in r[1:] or r[1] in ("secrets", "configmaps", "pods/exec")]
    assert [r for r in rules if r[2] == "create"] == [("stilt-daemon", "jobs", "create")]


def test_nothing_is_public() -> None:
    ingress = {"enabled": True, "host": "a.org", "address": "ip"}
    for objects in (manifests("prod"), manifests("prod", gke={"ingress": ingress})):
        assert {o["spec"]["type"] for o in objects if o["kind"] == "Service"} == {"ClusterIP"}
        ingresses = [o for o in objects if o["kind"] == "Ingress"]
        guards = [o for o in objects if o["kind"] == "BackendConfig" and o["spec"]["iap"]["enabled"] is True]
        assert len(ingresses) == len(guards)
        policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
        assert policies["stilt-default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        opened = [block["ipBlock"]["cidr"] for rule in policies["stilt-web"]["ingress"] for block in rule["from"]]
        assert opened == (["35.191.0.0/16", "130.211.0.0/22"] if ingresses else [])


def test_passwords_are_in_no_manifest_and_a_database_is_always_encrypted() -> None:
    for environment in ENVIRONMENTS:
        objects = manifests(environment)
        assert not [o for o in objects if o["kind"] == "Secret"], "made by Secret Manager's synchronisation, not here"
        assert named(objects, "ConfigMap", "stilt-settings")["data"]["PGSSLMODE"] == "verify-ca"
        version = named(objects, "SecretProviderClass", "stilt-postgres")["spec"]["parameters"]["secrets"]
        assert "/versions/latest" not in version, "a rotation is a deploy, not a surprise"
    [unverified] = [o for o in manifests("dev", database={"ca": ""}) if o["metadata"]["name"] == "stilt-settings"]
    assert unverified["data"]["PGSSLMODE"] == "require"


def test_a_change_of_settings_is_a_change_of_pods() -> None:
    def pod(**changes: Any) -> dict[str, Any]:
        return named(manifests("dev", **changes), "Deployment", "stilt-daemon")["spec"]["template"]["metadata"]

    assert pod() == pod()
    for changes in ({"maxCores": 40}, {"instance": {"telemetry": {"enabled": True}}}, {"database": {"ca": ""}}):
        assert pod(**changes) != pod(), changes


def test_domains_are_files_of_the_code_server() -> None:
    domain = {"cron": "0 */6 * * *", "receptors": {"points": [{"longitude": -112.0, "latitude": 40.5, "height": 5}]}}
    objects = manifests("dev", domains={"valley": domain})
    text = named(objects, "ConfigMap", "stilt-domains")["data"]["valley.yaml"]
    assert yaml.safe_load(text) == domain
    [container] = pod_specs(objects)["stilt-code"]["containers"]
    [where] = [e["value"] for e in container["env"] if e["name"] == "STILT_DOMAINS"]
    assert where in [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "domains"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": {"web": "registry/web:latest"}}, "images/web"),
        ({"images": {"web": ""}}, "images/web"),
        ({"store": {"url": "bucket/store"}}, "store/url"),
        ({"store": {"url": "s3://bucket"}}, "store/url"),
        ({"store": {"claim": "store"}}, "store: set url, a bucket and a prefix such as s3://bucket/store, or claim"),
        ({"store": {"url": ""}}, "store: set url"),
        ({"store": {"bucket": "ours"}}, "store.bucket and store.prefix are one now: store.url, here gs://ours/store"),
        ({"database": {"host": "db.example.org"}}, "set database.cidr to where its addresses are"),
        ({"database": {"host": ""}}, "database: set host, or inCluster.enabled"),
        (
            {"database": {"inCluster": {"enabled": True, "image": "postgres"}}},
            "database: set host, or inCluster.enabled",
        ),
        ({"database": {"host": "", "inCluster": {"enabled": True}}}, "database/inCluster/image"),
        ({"database": {"password": "x"}}, "password"),
        ({"database": {"secret": "projects/p/secrets/s/versions/1"}}, "database.secret is gke.databaseSecret now"),
        ({"gke": {"databaseSecret": "projects/p/secrets/s/versions/latest"}}, "gke/databaseSecret"),
        ({"settings": {"DAGSTER_POSTGRES_PASSWORD": "x"}}, "invalid propertyName 'DAGSTER_POSTGRES_PASSWORD'"),
        ({"maxCores": 0}, "maxCores"),
        ({"replicas": 3}, "replicas"),
        ({"domains": {"../up": {}}}, "invalid propertyName '../up'"),
        ({"ingress": {"enabled": True}}, "ingress is gke.ingress now"),
        ({"gke": {"ingress": {"enabled": True}}}, "gke/ingress"),
        ({"accounts": {"cluster-admin": {}}}, "accounts"),
        ({"network": {"apiServer": []}}, "network/apiServer"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(deep_merge(terraform_values("dev"), changes)))
    done = helm("template", "stilt", CHART, "--values", values, check=False)
    assert done.returncode != 0
    assert says in done.stderr


def test_lint(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "chart")
    for environment in ENVIRONMENTS:
        values = tmp_path / f"{environment}.yaml"
        values.write_text(yaml.safe_dump(terraform_values(environment)))
        helm("lint", "--strict", tmp_path / "chart", "--values", values_file(environment), "--values", values)


# -- on a real API server ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        core = client.CoreV1Api(plane.client())
        core.create_namespace({"metadata": {"name": NAMESPACE}})
        password = base64.b64encode(b"planted-password").decode()
        secret = {"metadata": {"name": "stilt-postgres"}, "data": {"DAGSTER_POSTGRES_PASSWORD": password}}
        core.create_namespaced_secret(NAMESPACE, secret)
        yield plane


@pytest.fixture
def install(plane: ControlPlane, tmp_path: Path) -> Callable[..., str]:
    """Install or upgrade, as ``deploy/deploy`` does, with a Secret made by other means."""

    def run(environment: str, *options: str, **changes: Any) -> str:
        values = tmp_path / "values.yaml"
        given = deep_merge(terraform_values(environment), {"gke": {"databaseSecret": ""}})
        values.write_text(yaml.safe_dump(deep_merge(given, changes)))
        command = ("upgrade", "stilt", CHART, "--install", "--namespace", NAMESPACE, "--values")
        done = helm(*command, values_file(environment), "--values", values, *options, kubeconfig=plane.kubeconfig)
        return done.stdout

    return run


@pytest.mark.cluster
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_server_side_dry_run(install: Callable[..., str], environment: str) -> None:
    assert "STATUS: pending-install" in install(environment, "--dry-run=server")


@pytest.mark.cluster
def test_an_upgrade_and_a_rollback_leave_runs_and_the_password_alone(
    plane: ControlPlane, install: Callable[..., str]
) -> None:
    api = plane.client()
    core, batch, apps = client.CoreV1Api(api), client.BatchV1Api(api), client.AppsV1Api(api)
    assert "STATUS: deployed" in install("dev")
    labels = {"app.kubernetes.io/component": "run_worker", "dagster/run-id": "a"}
    container = {"name": "run", "image": "run@sha256:0", "resources": {"requests": {"cpu": "4", "memory": "1Gi"}}}
    pod = {"serviceAccountName": "stilt-run", "restartPolicy": "Never", "containers": [container]}
    job = {"metadata": {"name": "run"}, "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}}}
    run = batch.create_namespaced_job(NAMESPACE, job).metadata.uid
    password = core.read_namespaced_secret("stilt-postgres", NAMESPACE).metadata.resource_version

    def cores() -> str:
        return str(core.read_namespaced_config_map("stilt-settings", NAMESPACE).data["STILT_MAX_CORES"])

    def generation() -> int:
        return int(apps.read_namespaced_deployment("stilt-daemon", NAMESPACE).metadata.generation)

    assert cores() == "50"
    before = generation()
    install("dev", "--no-hooks", maxCores=60)  # the hook, a pod, is run on a node: in test_production
    assert (cores(), generation() > before) == ("60", True)
    helm("rollback", "stilt", "--namespace", NAMESPACE, kubeconfig=plane.kubeconfig)
    assert cores() == "50"
    assert batch.read_namespaced_job("run", NAMESPACE).metadata.uid == run
    assert core.read_namespaced_secret("stilt-postgres", NAMESPACE).metadata.resource_version == password


@pytest.mark.cluster
def test_accounts_may_do_what_they_must_and_nothing_else(plane: ControlPlane, install: Callable[..., str]) -> None:
    install("dev", "--no-hooks")
    may = {
        ("daemon", "create", "batch", "jobs"),
        ("daemon", "delete", "batch", "jobs"),
        ("daemon", "get", "", "pods/log"),
        ("daemon", "list", "", "events"),
        ("web", "delete", "batch", "jobs"),
        ("web", "list", "", "pods"),
    }
    asked = {
        (account, verb, group, resource)
        for account in ("web", "daemon", "code", "run", "secrets")
        for verb in ("create", "get", "list", "delete")
        for group, resource in (("batch", "jobs"), ("", "pods"), ("", "pods/log"), ("", "events"), ("", "secrets"))
    } | {(a, "create", "", "pods/exec") for a in ("web", "daemon", "code", "run")}
    review = client.AuthorizationV1Api(plane.client())

    def allowed(account: str, verb: str, group: str, resource: str, namespace: str) -> bool:
        name, _, sub = resource.partition("/")
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": name, "subresource": sub}
        spec = {"user": f"system:serviceaccount:{NAMESPACE}:stilt-{account}", "resourceAttributes": attributes}
        return bool(review.create_subject_access_review({"spec": spec}).status.allowed)

    assert may <= asked
    granted = {question for question in asked if allowed(*question, NAMESPACE)}
    assert may <= granted
    assert not [g for g in granted if g[0] not in ("web", "daemon") or g[3] in ("secrets", "pods/exec")]
    assert not [q for q in asked if allowed(*q, "kube-system")]


@pytest.mark.cluster
def test_the_namespace_has_a_limit(plane: ControlPlane, install: Callable[..., str]) -> None:
    install("dev", "--no-hooks", maxCores=2)
    core = client.CoreV1Api(plane.client())
    container = {"name": "run", "image": "run", "resources": {"requests": {"cpu": "11", "memory": "1Gi"}}}
    pod = {"metadata": {"name": "large"}, "spec": {"serviceAccountName": "stilt-run", "containers": [container]}}
    with pytest.raises(client.ApiException, match="exceeded quota"):
        core.create_namespaced_pod(NAMESPACE, pod)
    service = {"metadata": {"name": "open"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    with pytest.raises(client.ApiException, match="exceeded quota"):
        core.create_namespaced_service(NAMESPACE, service)
