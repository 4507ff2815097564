"""Terraform's files against the provider's real schema: what would be made, and what must never be.

``../shared/servers/terraform-schema`` serves the schema without the cloud behind it; where it is not, or terraform is
not, tests that need it are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.deploy.golden import ENVIRONMENTS, terraform_values
from stilt_dagster_tests.harness import checkov
from stilt_dagster_tests.harness.processes import Unavailable

TERRAFORM = ROOT / "terraform"
SETUP = ROOT.parent / "shared" / "servers" / "terraform-schema" / "setup"
CACHE = Path("~/.cache/stilt-dagster-terraform").expanduser()

PASSWORD = "planted-password-0123456789"
GIVEN = {
    "project": "some-project",
    "database_password": PASSWORD,
    "github_repository": "someone/stilt",
    "operators": '["group:stilt@example.org"]',
    "alert_emails": '["someone@example.org"]',
    "billing_account": "000000-000000-000000",
    "retrieval_buckets": '["landing"]',
    "run_buckets": '["archive"]',
}

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="there is no terraform here")


@cache
def schema() -> dict[str, str]:
    """Return what makes terraform take the provider's schema from this machine."""
    if not SETUP.exists():
        pytest.skip("the provider's schema is not at hand (../shared/servers/terraform-schema)")
    done = subprocess.run([SETUP, CACHE], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"the provider's schema cannot be had: {done.stderr[-200:]}")
    words = done.stdout.strip().splitlines()[-1].removeprefix("export ").split()
    return dict(word.split("=", 1) for word in words)


def terraform(place: Path, *arguments: str, check: bool = True, **given: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **schema(), **{f"TF_VAR_{k}": v for k, v in {**GIVEN, **given}.items()}}
    command = ["terraform", *arguments]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Environments in a copy, initialized, with their state on this machine."""
    copy = tmp_path_factory.mktemp("terraform") / "terraform"
    shutil.copytree(TERRAFORM, copy)
    found = {}
    for environment in ENVIRONMENTS:
        place = copy / "environments" / environment
        (place / "here_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        terraform(place, "init", "-input=false")
        found[environment] = place
    return found


@pytest.fixture(scope="module")
def planned(places: dict[str, Path]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """What would be made, by environment and type."""
    plans: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for environment, place in places.items():
        terraform(place, "plan", "-input=false", "-out=plan")
        plan = json.loads(terraform(place, "show", "-json", "plan").stdout)
        by_type: dict[str, list[dict[str, Any]]] = {}
        modules = [plan["planned_values"]["root_module"]]
        while modules:
            module = modules.pop()
            modules += module.get("child_modules", [])
            for resource in module.get("resources", []):
                by_type.setdefault(resource["type"], []).append(resource["values"])
        plans[environment] = by_type
    return plans


def test_files_are_formatted() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", TERRAFORM], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_one_version_of_the_provider() -> None:
    for environment in ENVIRONMENTS:
        lock = (TERRAFORM / "environments" / environment / ".terraform.lock.hcl").read_text()
        asked = (TERRAFORM / "environments" / environment / "versions.tf").read_text()
        [version] = set(re.findall(r'version\s+= "([\d.]+)"', lock) + re.findall(r'version = "([\d.]+)"', asked))
        assert version.count(".") == 2


def test_the_schema_holds(places: dict[str, Path]) -> None:
    for place in places.values():
        assert json.loads(terraform(place, "validate", "-json").stdout)["diagnostics"] == []


def test_policy_scan() -> None:
    try:
        found, passed = checkov.findings(TERRAFORM, "terraform")
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert passed > 60
    assert not found, "\n".join(found)
    skips = re.findall(r"#checkov:skip=\w+:(.*)", "".join(p.read_text() for p in TERRAFORM.rglob("*.tf")))
    assert all(len(reason) > 20 for reason in skips), "each says why"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_has_a_public_way_in(planned: dict[str, dict[str, list[dict[str, Any]]]], environment: str) -> None:
    plan = planned[environment]
    [database], [cluster] = plan["google_sql_database_instance"], plan["google_container_cluster"]
    [ip] = database["settings"][0]["ip_configuration"]
    assert (ip["ipv4_enabled"], ip["ssl_mode"], ip["authorized_networks"]) == (False, "ENCRYPTED_ONLY", [])
    [private] = cluster["private_cluster_config"]
    assert private["enable_private_nodes"] is private["enable_private_endpoint"] is True
    assert [rule["deny"] for rule in plan["google_compute_firewall"] if rule["allow"]] == []
    for bucket in plan["google_storage_bucket"]:
        assert (bucket["uniform_bucket_level_access"], bucket["public_access_prevention"]) == (True, "enforced")
    members = [r["member"] for kind, made in plan.items() if kind.endswith("iam_member") for r in made if "member" in r]
    assert not [m for m in members if m in ("allUsers", "allAuthenticatedUsers")]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nodes_are_of_pools_somebody_chose_and_fit_the_cap(
    planned: dict[str, dict[str, list[dict[str, Any]]]], environment: str
) -> None:
    [cluster] = planned[environment]["google_container_cluster"]
    assert cluster["cluster_autoscaling"][0]["enabled"] is False
    pools = {pool["name"]: pool for pool in planned[environment]["google_container_node_pool"]}
    assert pools.keys() == {"core", "spot-small", "spot-large"}
    cores = 0
    for name in ("spot-small", "spot-large"):
        [config], [scaling] = pools[name]["node_config"], pools[name]["autoscaling"]
        assert config["spot"] is True
        assert config["taint"] == [{"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NO_SCHEDULE"}]
        assert scaling["total_min_node_count"] == 0
        cores += scaling["total_max_node_count"] * int(config["machine_type"].rsplit("-", 1)[1])
    assert 0.9 * terraform_values(environment)["maxCores"] <= cores <= terraform_values(environment)["maxCores"]


@pytest.mark.parametrize("cores", ["8", "16", "31", "50", "499", "500"])
def test_any_cap_is_held(places: dict[str, Path], cores: str) -> None:
    expression = "jsonencode([for pool in values(local.spot_pools) : [pool.machine_type, pool.nodes]])"
    module = places["dev"].parent.parent / "modules" / "cluster"
    env = {**os.environ, **schema()}
    if not (module / ".terraform").exists():
        subprocess.run(["terraform", "init", "-input=false"], cwd=module, env=env, capture_output=True, check=True)
    values = {
        "project": "p", "name": "n", "location": "l", "network": "n", "subnetwork": "s", "max_cores": int(cores),
        "core": {"machine_type": "e2-standard-2", "disk_gb": 1, "min": 1, "max": 1}, "ingress": False,
        "protected": False, "labels": {},
    }  # fmt: skip
    (module / "test.auto.tfvars.json").write_text(json.dumps(values))
    done = subprocess.run(
        ["terraform", "console"], cwd=module, env=env, input=expression, capture_output=True, text=True, check=False
    )
    pools = json.loads(json.loads(done.stdout.strip().splitlines()[-1]))
    made = sum(int(machine.rsplit("-", 1)[1]) * nodes for machine, nodes in pools)
    assert int(cores) - 32 < made <= int(cores)


def test_a_cap_nobody_meant_is_refused(places: dict[str, Path]) -> None:
    for cores in ("0", "5000", "12.5"):
        done = terraform(places["dev"], "plan", "-input=false", "-no-color", check=False, max_cores=cores)
        assert done.returncode != 0
        assert "max_cores: a whole number from 8" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rights_are_least(planned: dict[str, dict[str, list[dict[str, Any]]]], environment: str) -> None:
    plan = planned[environment]
    granted = [(r["role"], r) for kind, made in plan.items() if kind.endswith("iam_member") for r in made]
    assert not [role for role, _ in granted if role in ("roles/owner", "roles/editor") or "admin" in role.lower()]
    accounts = {"web", "daemon", "code", "run", "secrets"}
    wrote: dict[str, set[str]] = {}
    for role, right in granted:
        member = right.get("member") or ""
        if not member.startswith("principal://") or "/sa/" not in member:
            continue
        match = re.search(r"/subject/ns/stilt/sa/stilt-(\w+)$", member)
        assert match
        assert match[1] in accounts
        if role == "roles/storage.objectUser":
            expression = right["condition"][0]["expression"]
            assert "resource.type" not in expression
            prefixes = re.findall(r"objects/([\w/-]+/)\"", expression)
            assert len(prefixes) == expression.count("startsWith")
            wrote[match[1]] = set(prefixes)
    assert wrote == {
        "run": {
            *(f"store/{a}/" for a in ("receptors", "meteorology_aggregate", "trajectories", "footprints")),
            "store/background/", "store/jacobian/", "compute-logs/",
        },
        "code": {"store/scenes/", "store/sources/", "compute-logs/"},
    }  # fmt: skip
    buckets = [r for r in plan["google_storage_bucket_iam_member"] if "/sa/stilt-daemon" in (r.get("member") or "")]
    assert not buckets, "the daemon reads its database and nothing else"
    landing = [
        r["member"].rsplit("/", 1)[1] for r in plan["google_storage_bucket_iam_member"] if r["bucket"] == "landing"
    ]
    assert landing == ["stilt-code"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_results_stay_and_what_can_be_made_again_goes(
    planned: dict[str, dict[str, list[dict[str, Any]]]], environment: str
) -> None:
    [bucket] = planned[environment]["google_storage_bucket"]
    rules = [(r["action"][0]["type"], r["condition"][0]["matches_prefix"]) for r in bucket["lifecycle_rule"]]
    deleted = {prefix for kind, prefixes in rules if kind == "Delete" for prefix in prefixes or []}
    assert deleted == {"store/trajectories/", "store/meteorology_aggregate/", "store/footprints/", "compute-logs/"}
    assert not [kind for kind, prefixes in rules if kind == "Delete" and not prefixes]
    assert bucket["force_destroy"] is False
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] >= 7 * 86400


def test_prod_cannot_be_lost_by_mistake(planned: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    plan = planned["prod"]
    [database], [cluster] = plan["google_sql_database_instance"], plan["google_container_cluster"]
    [settings] = database["settings"]
    assert database["deletion_protection"] is settings["deletion_protection_enabled"] is True
    assert settings["backup_configuration"][0]["point_in_time_recovery_enabled"] is True
    assert cluster["deletion_protection"] is True
    assert cluster["location"].count("-") == 1, "a region, not a zone"


def test_passwords_are_given_where_nothing_keeps_them() -> None:
    """The stand-in knows no write-only arguments, so what is checked is that no other kind is used."""
    text = "".join(p.read_text() for p in TERRAFORM.rglob("*.tf"))
    assert re.findall(r"(\w+)\s+= var\.(?:database_)?password\n", text).count("password_wo") == 1
    assert re.findall(r"(\w+)\s+= var\.password\n", text) == ["password_wo", "secret_data_wo"]
    assert "google_service_account_key" not in text
    script = (TERRAFORM / "apply").read_text()
    assert "-var" not in script
    assert "-out" not in script


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_outputs_are_the_charts_values(places: dict[str, Path], environment: str) -> None:
    place = places[environment]
    terraform(place, "apply", "-input=false", "-auto-approve")
    values = json.loads(terraform(place, "output", "-json", "helm_values").stdout)

    def shape(tree: Any) -> Any:
        return {k: shape(v) for k, v in tree.items()} if isinstance(tree, dict) else None

    expected = {k: v for k, v in terraform_values(environment).items() if k != "images"}
    assert shape(values) == shape(expected)
    assert values["maxCores"] == expected["maxCores"]
    assert values["store"] == expected["store"]


@pytest.mark.parametrize(
    ("arguments", "says"), [([], "which environment"), (["dev", "destroy"], "what to do with dev")]
)
def test_an_apply_that_cannot_be(arguments: list[str], says: str) -> None:
    done = subprocess.run([TERRAFORM / "apply", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line
