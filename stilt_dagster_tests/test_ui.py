"""The UI's own interface: a backfill of whole scenes, as its buttons launch it, on a running `dagster dev`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stilt_dagster_tests.conftest import ROOT, Project

SCENES = ("one-20230715t0920", "two-20230715t0920")

BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""

RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId status assetSelection { path } } } } }"

METADATA = """
query Latest($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(limit: 1) { partition metadataEntries { label ... on MarkdownMetadataEntry { mdStr } } }
  } }
}"""


class Ui:
    """A running webserver and daemon."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def query(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def wait(self, condition: Any, seconds: float) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := condition():
                    return found
            except OSError:
                pass
            time.sleep(0.5)
        raise AssertionError("waited in vain")


@contextmanager
def running_ui(project: Project) -> Iterator[Ui]:
    """Run `dagster dev` on a project."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "-w",
        "workspace.yaml",
    ]
    log = (project.path / "dev.log").open("w")
    process = subprocess.Popen(command, cwd=ROOT, env=project.env, stdout=log, stderr=log, start_new_session=True)
    try:
        server = Ui(port)
        server.wait(lambda: server.query("{ version }"), 180)  # on a busy machine
        yield server
    finally:
        os.killpg(process.pid, signal.SIGINT)  # SIGTERM it does not end on
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


@pytest.fixture
def ui(project: Project) -> Iterator[Ui]:
    with running_ui(project) as server:
        yield server


@pytest.mark.slow
def test_a_backfill_takes_scenes_from_their_specs_to_their_jacobians(project: Project, ui: Ui) -> None:
    for scene in SCENES:
        project.cli("scene", "add", project.scene_file(f"{scene}.yaml", name=scene.split("-")[0]))
    by_scene = {"ranges": [{"start": s, "end": s} for s in SCENES]}
    by_shard = {"ranges": [{"start": f"{s}|00", "end": f"{s}|15"} for s in SCENES]}
    partitions = [
        {"assetKey": {"path": [asset]}, "partitions": by_shard if asset in ("trajectories", "footprints") else by_scene}
        for asset in ("receptors", "meteorology_aggregate", "trajectories", "footprints", "jacobian", "report")
    ]
    launched = ui.query(BACKFILL, {"params": {"partitionsByAssets": partitions}})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def done() -> bool:
        runs = ui.query(RUNS)["runsOrError"]["results"]
        assert not [r for r in runs if r["status"] in ("FAILURE", "CANCELED")], runs
        return all((project.store / "report" / f"{s}.html").exists() for s in SCENES) and all(
            r["status"] == "SUCCESS" for r in runs
        )

    ui.wait(done, 400)
    for scene in SCENES:
        status = project.status(scene)
        assert (status["ok"], status["pending"]) == (9, 0)
        assert {a["state"] for a in status["assets"].values()} == {"ready"}
    latest = ui.query(METADATA, {"key": {"path": ["jacobian"]}})["assetNodeOrError"]["assetMaterializations"][0]
    pictures = [e["mdStr"] for e in latest["metadataEntries"] if e["label"] == "stilt/picture"]
    assert pictures
    assert "data:image/png;base64," in pictures[0]
