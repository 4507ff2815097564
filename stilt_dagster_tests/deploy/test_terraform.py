"""Terraform's files against the provider's real schema: what would be made, and what must never be.

``../shared/servers/terraform-schema`` serves the schema without the cloud behind it; where it is not, or terraform is
not, tests that need it are skipped.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stilt_dagster.science.costs.sizes import Load, size_of
from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.deploy.golden import ENVIRONMENTS, terraform_values
from stilt_dagster_tests.harness import checkov

TERRAFORM = ROOT / "terraform"
SETUP = ROOT.parent / "shared" / "servers" / "terraform-schema" / "setup"
CACHE = Path("~/.cache/stilt-dagster-terraform").expanduser()

PASSWORD = "planted-password-0123456789"

#: The stand-in, taught what the schema it was made from leaves out: arguments that are written and never told.
#: Terraform then refuses an ephemeral value anywhere else, and an answer that holds one.
WRITE_ONLY = """
import os, runpy
import tf.provider, tf.runner
from tf.gen import tfplugin_pb2

def taught(provider, arguments):
    its = tf.provider.ProviderServicer.__init__.__globals__
    block, encoded = its["block"], its["enc"]

    def marked(fields, top=False):
        made = block(fields, top)
        for attribute in made.attributes:
            if attribute.name.endswith("_wo"):
                attribute.MergeFromString(b"\\x58\\x01")  # write_only, newer than the library
        return made

    def forgotten(value):
        if isinstance(value, dict):
            return {k: None if k.endswith("_wo") else forgotten(v) for k, v in value.items()}
        return [forgotten(v) for v in value] if isinstance(value, list) else value

    its["block"], its["enc"] = marked, lambda value: encoded(forgotten(value))
    serve(provider, arguments)

serve, tf.runner.run_provider = tf.runner.run_provider, taught
os.environ["STUB_SCHEMA"] = os.path.join(os.path.dirname(STANDIN), "schema.json")
runpy.run_path(STANDIN, run_name="__main__")
"""

Made = dict[str, list[dict[str, Any]]]
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
    assert not done.returncode, f"the provider's schema cannot be had: {done.stderr[-200:]}"
    [original] = (CACHE / "mirror").rglob("terraform-provider-google_v*")
    provider = CACHE / "taught" / original.relative_to(CACHE / "mirror")
    provider.parent.mkdir(parents=True, exist_ok=True)
    interpreter = original.read_text().split("\n", 1)[0]
    provider.write_text(f"{interpreter}\nSTANDIN = {str(original)!r}{WRITE_ONLY}")
    provider.chmod(0o755)
    settings = CACHE / "taught.tfrc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{CACHE / "taught"}" }}\n}}\n')
    return {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1"}


def resources(shown: str) -> Made:
    """Return the resources of a plan or state that was shown as JSON, by type."""
    tree = json.loads(shown)
    modules, by_type = [tree.get("planned_values", tree.get("values"))["root_module"]], {}
    while modules:
        module = modules.pop()
        modules += module.get("child_modules", [])
        for resource in module.get("resources", []):
            if resource["mode"] == "managed":
                by_type.setdefault(resource["type"], []).append(resource["values"])
    return by_type


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
def planned(places: dict[str, Path]) -> dict[str, Made]:
    """What an empty project gets, by environment and type: made by the stand-in, as a first plan knows no names yet."""
    made = {}
    for environment, place in places.items():
        terraform(place, "apply", "-input=false", "-auto-approve")
        made[environment] = resources(terraform(place, "show", "-json").stdout)
    return made


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
    found, passed = checkov.findings(TERRAFORM, "terraform")
    assert passed > 60
    assert not found, "\n".join(found)
    skips = re.findall(r"#checkov:skip=\w+:(.*)", "".join(p.read_text() for p in TERRAFORM.rglob("*.tf")))
    assert all(len(reason) > 20 for reason in skips), "each says why"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_has_a_public_way_in(planned: dict[str, Made], environment: str) -> None:
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
def test_nodes_are_of_pools_somebody_chose_and_fit_the_cap(planned: dict[str, Made], environment: str) -> None:
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
        "spot_family": "n2d-highcpu",
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
def test_rights_are_least(planned: dict[str, Made], environment: str) -> None:
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
            "store/background/", "store/jacobian/", "store/report/", "store/costs/", "compute-logs/",
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
def test_results_stay_and_what_can_be_made_again_goes(planned: dict[str, Made], environment: str) -> None:
    [bucket] = planned[environment]["google_storage_bucket"]
    rules = [(r["action"][0]["type"], r["condition"][0]["matches_prefix"]) for r in bucket["lifecycle_rule"]]
    deleted = {prefix for kind, prefixes in rules if kind == "Delete" for prefix in prefixes or []}
    assert deleted == {"store/trajectories/", "store/meteorology_aggregate/", "store/footprints/", "compute-logs/"}
    assert not [kind for kind, prefixes in rules if kind == "Delete" and not prefixes]
    assert bucket["force_destroy"] is False
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] >= 7 * 86400


def test_prod_cannot_be_lost_by_mistake(planned: dict[str, Made]) -> None:
    plan = planned["prod"]
    [database], [cluster] = plan["google_sql_database_instance"], plan["google_container_cluster"]
    [settings] = database["settings"]
    assert database["deletion_protection"] is settings["deletion_protection_enabled"] is True
    assert settings["backup_configuration"][0]["point_in_time_recovery_enabled"] is True
    assert cluster["deletion_protection"] is True
    assert cluster["location"].count("-") == 1, "a region, not a zone"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_password_is_kept_and_no_apply_rotates_it(
    places: dict[str, Path], planned: dict[str, Made], environment: str
) -> None:
    place = places[environment]
    state = terraform(place, "state", "pull").stdout
    assert "password_wo_version" in state
    left = [path for path in place.rglob("*") if path.is_file() and ".terraform" not in path.parts]
    assert not [path for path in left if PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD not in state

    another = "another-password-0123456789"
    for given in ({"database_password": another}, {"database_password": ""}):
        done = terraform(place, "plan", "-input=false", "-detailed-exitcode", check=False, **given)
        assert done.returncode == (0 if given["database_password"] else 1), "nothing to do; too short"
    rotated = terraform(
        place, "plan", "-input=false", "-no-color", database_password=another, database_password_version="2"
    ).stdout
    touched = set(re.findall(r"# module\.platform\.(\S+) (?:will|must) be", rotated))
    assert touched == {
        "module.database.google_sql_user.dagster",
        "module.database.google_secret_manager_secret_version.password",
    }


def test_the_password_goes_to_write_only_arguments_and_nowhere_else(tmp_path: Path) -> None:
    """Terraform says so of an ephemeral variable. It is none in the files: a schema may not know what is write-only."""
    shutil.copytree(TERRAFORM, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform"))
    names = {"environments/dev": "database_password", "modules/platform": "database_password"}
    for folder, name in {**names, "modules/database": "password"}.items():
        override = f'variable "{name}" {{\n  ephemeral = true\n}}\n'
        (tmp_path / "terraform" / folder / "here_override.tf").write_text(override)
    place = tmp_path / "terraform" / "environments" / "dev"
    terraform(place, "init", "-input=false", "-backend=false")
    assert json.loads(terraform(place, "validate", "-json").stdout)["diagnostics"] == []


def test_the_script_names_no_password() -> None:
    script = (TERRAFORM / "apply").read_text()
    assert "-var" not in script
    assert "-out" not in script, "a plan that is saved holds the password"
    assert "google_service_account_key" not in "".join(p.read_text() for p in TERRAFORM.rglob("*.tf"))


def test_a_first_apply_has_an_order(places: dict[str, Path]) -> None:
    """Services before what needs them; the cluster before rights of its accounts, whose pool is made with it."""
    graph = terraform(places["prod"], "graph").stdout
    edges: dict[str, set[str]] = {}
    for a, b in re.findall(r'"([^"]+)" -> "([^"]+)";', graph):
        edges.setdefault(a, set()).add(b)

    def below(name: str) -> set[str]:
        found, todo = set(), [name]
        while todo:
            for other in edges.get(todo.pop(), set()) - found:
                found.add(other)
                todo.append(other)
        return found

    names = set(re.findall(r'"(module\.[^"]+)" \[label', graph))
    services = "module.platform.google_project_service"
    first = {f"{services}.first", f"{services}.this", "module.platform.data.google_project.this"}
    assert first <= names
    assert not [n for n in names - first if f"{services}.this" not in below(n)]
    assert all(f"{services}.first" in below(n) for n in first - {f"{services}.first"})
    cluster = "module.platform.module.cluster.google_container_cluster.this"
    rights = {n for n in names if re.search(r"iam_member\.(reads|writes|foreign|reader)$", n)}
    assert len(rights) == 4
    assert not [n for n in rights if cluster not in below(n)]


def test_dev_and_prod_differ_in_what_their_main_files_say() -> None:
    folders = [TERRAFORM / "environments" / environment for environment in ENVIRONMENTS]
    dev, prod = (set((folder / "main.tf").read_text().splitlines()) for folder in folders)
    keys = {line.split("=")[0].strip() for line in dev ^ prod if not line.startswith("#")}
    sizes = {"location", "core", "max_cores", "database", "protected", "flow_logs", "monthly_budget"}
    assert keys == {"environment", *sizes}
    for folder in folders:
        own = {file.name for file in folder.glob("*.tf") if not file.is_symlink()}
        assert own == {"main.tf"}, "all else they have in common"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_github_is_let_in_from_main_and_to_look_from_pull_requests(planned: dict[str, Made], environment: str) -> None:
    [provider] = planned[environment]["google_iam_workload_identity_pool_provider"]
    subject = f"repo:someone/stilt:environment:{environment}"
    assert provider["attribute_condition"] == (
        f'(assertion.sub == "{subject}" && assertion.ref == "refs/heads/main")'
        f' || (assertion.sub == "{subject}-plan" && assertion.event_name == "pull_request")'
    )
    whom = {r["account_id"]: r for r in planned[environment]["google_service_account"]}
    assert whom.keys() == {f"stilt-{environment}-{who}" for who in ("nodes", "deploy", "plan")}


def allocatable(machine: str, disk_gb: int) -> tuple[int, float, float]:
    """Return cores, memory and disk (GiB) GKE leaves of a node to pods: docs.cloud.google.com, "Plan node sizes"."""
    cores = int(machine.rsplit("-", 1)[1])
    memory = float(cores * {"highcpu": 1, "standard": 4}[machine.split("-")[1]])
    kept, left = 0.1, memory
    for part, share in ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (math.inf, 0.02)):
        kept += min(left, part) * share
        left -= min(left, part)
    disk = disk_gb * 1e9 / 2**30
    return cores, memory - kept, disk * 0.9 - min(disk * 0.5, 6 + disk * 0.35, 100)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_largest_pods_have_room(planned: dict[str, Made], environment: str) -> None:
    pools = {pool["name"]: pool["node_config"][0] for pool in planned[environment]["google_container_node_pool"]}
    loads = {
        "spot-small": ("trajectories", Load(10_000, 1000, 24, cpu_seconds=8 * 1800.0)),
        "spot-large": ("trajectories", Load(10_000, 1000, 72, cpu_seconds=32 * 1800.0)),
        "core": ("meteorology_aggregate", Load(hours=24)),
    }
    for name, (asset, load) in loads.items():
        cores, memory, disk = allocatable(pools[name]["machine_type"], pools[name]["disk_size_gb"])
        size = size_of(asset, load)
        # What the cloud's own pods of each node ask for: some 0.4 cores, 1 GiB; ours of the core pool, 5 GiB of disk.
        assert size.cpu <= cores
        assert 0.9 * size.cpu <= cores * 0.995 - 0.5
        assert size.memory <= (memory - 1) * 2**30, name
        assert size.disk <= (disk - 5) * 2**30, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_outputs_are_the_charts_values(places: dict[str, Path], planned: dict[str, Made], environment: str) -> None:
    place = places[environment]
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
