"""What an operator got wrong: one clear line on the run's page, and nothing left running."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.production import NAMESPACE, Production

pytestmark = pytest.mark.cluster

Register = Callable[..., str]


def told(production: Production, run: str, *words: str, timeout: float = 150) -> None:
    """Check that a run failed, that one line on its page holds all of some words, and that nothing runs on."""
    assert production.wait_run(run, timeout=timeout)["status"] in ("FAILURE", "CANCELED")
    lines = [line for message in production.messages(run) for line in message.splitlines()]
    assert [line for line in lines if all(word in line for word in words)], "\n".join(lines)
    assert not production.left_over()


@contextmanager
def settings(production: Production, **changes: str) -> Iterator[None]:
    """Run pods with other settings for a while."""
    production.core.patch_namespaced_config_map("stilt-settings", NAMESPACE, {"data": changes})
    try:
        yield
    finally:
        before = {name: production.settings.get(name) for name in changes}
        production.core.patch_namespaced_config_map("stilt-settings", NAMESPACE, {"data": before})


def launch(production: Production, scene: str, **tags: str) -> str:
    """Launch a run that is not tried again: that would fix nothing here."""
    return production.launch("receptors", scene=scene, **{"dagster/max_retries": "0", **tags})


def test_a_bucket_that_is_not_there(production: Production, register: Register) -> None:
    scene = register()
    with settings(production, STILT_STORE="gs://nowhere/store"):
        told(production, launch(production, scene), "no bucket nowhere", "correct STILT_STORE")


def test_an_image_that_cannot_be_pulled(production: Production, register: Register) -> None:
    scene = register()
    images = production.node.images
    production.node.images = set()
    try:
        told(production, launch(production, scene), "The pod's container cannot start", "Pull")
    finally:
        production.node.images = images


@pytest.mark.slow
def test_an_image_without_hycs_std(production: Production, register: Register, tmp_path: Path) -> None:
    scene = register()
    for asset in ("receptors", "meteorology_aggregate"):
        production.wait_run(production.launch(asset, scene=scene), "SUCCESS")
    # Another platform is what has no hycs_std: its wheel brings none.
    (tmp_path / "sitecustomize.py").write_text("import platform\nplatform.machine = lambda: 'aarch64'\n")
    with settings(production, PYTHONPATH=f"{tmp_path}:{ROOT}"):
        run = production.launch("trajectories", scene=scene, **{"dagster/max_retries": "0"})
        told(production, run, "hycs_std", "x86-64")


@pytest.mark.slow
def test_a_pod_no_node_has_room_for(production: Production, register: Register) -> None:
    run = launch(production, register(), **{"stilt/cpu": "7000m", "stilt/memory": "900Gi"})
    told(production, run, "No node has room for the pod", "Insufficient memory", "stilt/memory")
    assert production.job_of(run) is None, "or a node would be made for it, for a run that is over"


@pytest.mark.slow
def test_a_quota_that_is_used_up(production: Production, register: Register) -> None:
    scene = register()
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    production.core.create_namespaced_resource_quota(NAMESPACE, quota)
    try:
        told(production, launch(production, scene), "Kubernetes made no pod", "exceeded quota")
    finally:
        production.core.delete_namespaced_resource_quota("none", NAMESPACE)


def test_a_daemon_without_rights(production: Production, register: Register) -> None:
    scene = register()
    rules = production.rbac.read_namespaced_role("stilt-daemon", NAMESPACE).rules
    production.rbac.patch_namespaced_role("stilt-daemon", NAMESPACE, {"rules": rules[1:]})
    try:
        told(production, launch(production, scene), "may not create Jobs in namespace", "bind its service account")
    finally:
        production.rbac.patch_namespaced_role("stilt-daemon", NAMESPACE, {"rules": rules})


@pytest.mark.slow
def test_a_secret_that_is_missing(production: Production, register: Register) -> None:
    scene = register()
    secret = production.core.read_namespaced_secret("stilt-postgres", NAMESPACE)
    production.core.delete_namespaced_secret("stilt-postgres", NAMESPACE)
    try:
        told(production, launch(production, scene), "The pod's container cannot start", "stilt-postgres")
    finally:
        body: dict[str, Any] = {"metadata": {"name": "stilt-postgres"}, "data": secret.data}
        production.core.create_namespaced_secret(NAMESPACE, body)


def test_a_database_that_does_not_answer(production: Production, tmp_path: Path) -> None:
    """What asks it says so, in one line, with its host and without its password."""
    env = {**production.env, "DAGSTER_POSTGRES_PORT": "1"}
    command = [sys.executable, "-m", "stilt_dagster.cli", "scene", "run", "none"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    *retries, line = done.stderr.strip().splitlines()
    assert not [text for text in retries if "Traceback" in text]
    assert line.startswith("error: ")
    assert "port 1 failed" in line or "Connection refused" in line
    assert env["DAGSTER_POSTGRES_PASSWORD"] not in done.stderr


def test_nothing_is_left(production: Production) -> None:
    """After all of these: no pod that runs, no Job that could start one."""

    def active() -> bool:
        jobs = production.batch.list_namespaced_job(NAMESPACE).items
        return not [j for j in jobs if j.status.active]

    wait_for("all Jobs to be over", active, 60)
    assert not production.left_over()
