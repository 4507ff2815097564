"""``deploy/compose.yaml``: what the specification and least rights ask of it, and a scene under it, as processes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stilt_dagster_tests.conftest import ROOT, SCENE, deep_merge
from stilt_dagster_tests.harness.compose import Compose, interpolated
from stilt_dagster_tests.harness.environments import python_with
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.webserver import Webserver

FILE = ROOT / "deploy" / "compose.yaml"
VALLEY = "valley-20230715t0920"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return interpolated(yaml.safe_load(FILE.read_text()), {"DAGSTER_POSTGRES_PASSWORD": "planted"})["services"]


def test_it_is_a_compose_file() -> None:
    checker = python_with("check-jsonschema==0.39.0").with_name("check-jsonschema")
    command = [checker, "--builtin-schema", "vendor.compose-spec", FILE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_services_have_no_right_they_do_not_need(services: dict[str, Any]) -> None:
    assert services.keys() == {"postgres", "code", "daemon", "web"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit", "healthcheck", "restart", "stop_grace_period"} <= service.keys(), name
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys(), name
        assert "docker.sock" not in str(service), name
        assert all(re.match(r"127\.0\.0\.1:\d+:\d+$", port) for port in service.get("ports", [])), name
    assert [name for name, service in services.items() if service.get("ports")] == ["web"]
    # The one that runs what people give it is the one that is given keys; where the password lies nobody gets out.
    assert [name for name, service in services.items() if "env_file" in service] == ["code"]
    assert [name for name, service in services.items() if "outside" not in service["networks"]] == [
        "postgres",
        "daemon",
    ]
    logs = "logs:/opt/dagster/dagster_home/storage"
    assert logs in services["code"]["volumes"]
    assert f"{logs}:ro" in services["web"]["volumes"], "what runs print is where the UI reads it"
    assert yaml.safe_load(FILE.read_text())["networks"]["database"] == {"internal": True}


def test_no_password_is_one_it_does_not_start_with() -> None:
    with pytest.raises(ValueError, match=r"set it in deploy/\.env"):
        interpolated(yaml.safe_load(FILE.read_text()), {})
    ignored = subprocess.run(["git", "check-ignore", "deploy/.env", "deploy/runs.env"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0, "what holds secrets is never committed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, meteorology: Path) -> Iterator[Compose]:
    with (
        Postgres() as postgres,
        Compose(FILE, tmp_path_factory.mktemp("compose"), postgres, {"PYTHONWARNINGS": "ignore"}) as compose,
    ):
        yield compose


def add(server: Compose, meteorology: Path, **changes: Any) -> str:
    """Register a scene, and return its id."""
    scene = deep_merge(deep_merge(SCENE, {"meteorology": {"directory": str(meteorology)}}), changes)
    file = server.directory / "scene.yaml"
    file.write_text(yaml.safe_dump(scene))
    server.cli("scene", "add", file)
    return f"{scene['name']}-20230715t0920"


def status(server: Compose, scene: str) -> dict[str, Any]:
    return json.loads(server.cli("scene", "status", scene, "--json"))


def ready(server: Compose, scene: str) -> bool:
    return status(server, scene)["assets"]["jacobian"] == {"state": "ready"}


@pytest.mark.slow
def test_a_scene_is_materialized_from_the_ui(server: Compose, meteorology: Path) -> None:
    web = Webserver(server.port)
    web.backfill([add(server, meteorology)])
    wait_for("the scene", lambda: ready(server, VALLEY), 240, every=2)
    found = status(server, VALLEY)
    assert found["ok"] == found["receptors"] == 9
    assert (server.volume("store") / "jacobian" / f"{VALLEY}.nc").exists()
    assert {run["status"] for run in web.runs()} <= {"SUCCESS", "STARTED"}
    assert list(server.volume("logs").rglob("*.err"))


@pytest.mark.slow
def test_what_is_killed_is_started_again_and_the_scene_goes_on(server: Compose, meteorology: Path) -> None:
    web = Webserver(server.port)
    scene = add(server, meteorology, name="killed", transport={"n_hours": -3, "numpar": 300})
    web.backfill([scene])

    def simulating() -> str | None:
        runs = web.runs(statuses=["STARTED"])
        return next((r["runId"] for r in runs if "trajectories" in r["assets"]), None)

    lost = wait_for("trajectories to be simulated", simulating, 180, every=0.5)
    server.kill("code")
    wait_for("the code server to be started again", lambda: server.restarts.get("code"), 60)
    server.kill("daemon")
    failed = web.wait_run(lost, timeout=120)
    assert failed["status"] == "FAILURE", web.messages(lost)
    assert any("ended with the code server" in line for line in web.messages(lost))
    wait_for("the scene", lambda: ready(server, scene), 300, every=2)
    found = status(server, scene)
    assert (found["ok"], found["failed"], found["pending"]) == (9, 0, 0)
    again = [r for r in web.runs() if r["tags"].get("dagster/parent_run_id") == lost]
    assert [r["status"] for r in again] == ["SUCCESS"]
    assert server.restarts["daemon"] == 1
