"""What brings a commit to a cluster: workflows and scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from stilt_dagster_tests.conftest import ROOT, deep_merge
from stilt_dagster_tests.deploy.golden import terraform_values
from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.helm import helm_binary
from stilt_dagster_tests.harness.process_node import ProcessNode

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROGRAMS = Path(sys.executable).parent


def scripts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [f for f in files if f.stat().st_mode & 0o100 and f.read_bytes()[:20].startswith(b"#!")]


def test_workflows_pass_zizmor() -> None:
    done = subprocess.run([PROGRAMS / "zizmor", "--offline", ".github"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_run_what_is_pinned_with_no_right_they_do_not_name() -> None:
    assert len(WORKFLOWS) == 4
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}, path
        used = re.findall(r"uses: (\S+)", path.read_text())
        assert used
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used), used
        assert "secrets." not in path.read_text(), "there is no key to store"


def test_scripts_pass_shellcheck() -> None:
    shell = [s for s in scripts() if b"bash" in s.read_bytes().split(b"\n", 1)[0]]
    assert {"deploy", "build-image", "build_kubernetes.sh", "run"} <= {s.name for s in shell}
    done = subprocess.run([PROGRAMS / "shellcheck", *shell], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which environment"),
        (["staging"], "which environment"),
        (["../values/dev"], "which environment"),
        (["dev"], "is not installed"),
    ],
)
def test_a_deploy_that_cannot_be(arguments: list[str], says: str, tmp_path: Path) -> None:
    """One line, before anything is touched; here with a PATH that has nothing of a cloud."""
    for tool in ("bash", "dirname", "env", "mktemp", "rm"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        [ROOT / "deploy" / "deploy", *arguments], capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line


# -- a deploy, but for the cloud -----------------------------------------------------------------------------------

#: What terraform and gcloud would say. Everything else is real: helm, kubectl, the API server, pods that start.
TERRAFORM = """#!/bin/bash
case ${!#} in
  helm_values) cat "$FAKES/helm_values.json" ;;
  registry) echo '"registry.test/project/stilt"' ;;
  cluster) echo '{"name": "stilt-dev", "location": "here", "project": "project"}' ;;
esac
"""
GCLOUD = """#!/bin/bash
echo "$*" >>"$FAKES/gcloud.log"
case $* in
  *get-credentials*) cp "$FAKES/kubeconfig" "$KUBECONFIG" ;;
  *"images describe"*) [[ $* == *":$(cat "$FAKES/commit") "* ]] && echo "sha256:$(cat "$FAKES/digest")" ;;
esac
"""
#: The image's programs: what stays stays, a migration ends.
PROGRAMS_OF_IMAGE = ("dagster", "dagster-daemon", "dagster-webserver", "stilt-dagster")
PROGRAM = '#!/bin/bash\n[[ $* == "migrate --instance --yes" ]] && exit 0\nexec sleep 3600\n'
#: The webserver's start-up probe.
PROBE = '#!/bin/bash\n[[ $* == "-m stilt_dagster.kubernetes.ready --port 3000" ]]\n'


@pytest.mark.cluster
def test_a_commit_is_deployed_and_taken_back(tmp_path: Path) -> None:
    tools = helm_binary().parent
    plane = ControlPlane(tmp_path / "plane")
    fakes, programs = tmp_path / "fakes", tmp_path / "programs"
    for folder, files in (
        (fakes, {"terraform": TERRAFORM, "gcloud": GCLOUD}),
        (programs, {**dict.fromkeys(PROGRAMS_OF_IMAGE, PROGRAM), "python": PROBE}),
    ):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
    values = {k: v for k, v in terraform_values("dev").items() if k != "images"}
    (fakes / "helm_values.json").write_text(json.dumps(deep_merge(values, {"gke": {"databaseSecret": ""}})))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    (fakes / "commit").write_text(commit)
    path = os.pathsep.join([str(fakes), str(tools), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "FAKES": str(fakes), "HELM_DATA_HOME": str(tools)}

    def deploy(*arguments: str, digest: str = "a") -> subprocess.CompletedProcess[str]:
        (fakes / "digest").write_text(digest * 64)
        command = [ROOT / "deploy" / "deploy", "dev", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)

    node = {"cpu": "4", "env": {"PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}}
    with plane, ProcessNode(plane.kubeconfig, directory=tmp_path / "node", **node):
        shutil.copyfile(plane.kubeconfig, fakes / "kubeconfig")
        core, apps = client.CoreV1Api(plane.client()), client.AppsV1Api(plane.client())
        core.create_namespace({"metadata": {"name": "stilt"}})
        secret = {"metadata": {"name": "stilt-postgres"}, "stringData": {"DAGSTER_POSTGRES_PASSWORD": "planted"}}
        core.create_namespaced_secret("stilt", secret)

        def running() -> str:
            [container] = apps.read_namespaced_deployment("stilt-web", "stilt").spec.template.spec.containers
            return container.image.rpartition(":")[2][0]

        done = deploy()
        assert done.returncode == 0, done.stderr
        assert running() == "a"
        labels = core.read_namespace("stilt").metadata.labels
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert apps.read_namespaced_deployment("stilt-web", "stilt").status.ready_replicas == 1
        done = deploy(commit, digest="b")  # an upgrade: the migration runs first
        assert done.returncode == 0, done.stderr
        assert running() == "b"
        done = deploy("--rollback")
        assert done.returncode == 0, done.stderr
        assert running() == "a"
        refused = deploy("no-such-commit")
        assert (refused.returncode, refused.stderr.strip()) == (2, "error: no-such-commit is no commit")
    assert "planted" not in (fakes / "gcloud.log").read_text()
