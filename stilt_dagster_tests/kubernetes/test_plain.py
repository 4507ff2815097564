"""A cluster without a cloud, by ``deploy/values/plain.yaml``: the results of a laptop, from a volume and from S3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from stilt_dagster_tests.conftest import SCENE, deep_merge
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.production import Plain, Production
from stilt_dagster_tests.kubernetes.conftest import arrays, equal

pytestmark = pytest.mark.cluster

#: Dagster's compute log of a run's step, as the UI shows it.
LOGS = """
query Logs($runId: ID!) {
  answer: logsForRun(runId: $runId) { __typename ... on EventConnection { events {
    __typename ... on LogsCapturedEvent { fileKey }
  } } }
}"""
LOG = "query Log($key: [String!]!) { answer: capturedLogs(logKey: $key) { __typename stdout stderr } }"


def log_of(production: Production, run: str) -> str:
    """Return what a run wrote, as the webserver finds it."""
    events = production.query("EventConnection", LOGS, {"runId": run})["events"]
    [file] = [event["fileKey"] for event in events if event["__typename"] == "LogsCapturedEvent"]
    found = production.query("CapturedLogs", LOG, {"key": [run, "compute_logs", file]})
    return f"{found['stdout']}{found['stderr']}"


def materialize(production: Production, scene: str, *assets: str) -> list[str]:
    """Materialize assets of a scene as the UI does, and return their runs once all are over."""
    before = {run["runId"] for run in production.runs()}
    production.launch(*assets, scene=scene)

    def over() -> list[str] | None:
        runs = [run for run in production.runs() if run["runId"] not in before]
        assert not [r for r in runs if r["status"] == "FAILURE"], production.messages(runs[0]["runId"])
        done = [r["runId"] for r in reversed(runs) if r["status"] == "SUCCESS"]
        return done if len(done) == len(assets) else None

    return wait_for(f"runs of {assets}", over, 240, every=0.5)


@pytest.mark.parametrize("bucket", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["volume", "s3"])
def test_a_scene_is_what_it_is_on_a_laptop(
    bucket: bool, tmp_path: Path, meteorology: Path, local: Callable[..., dict[str, np.ndarray]]
) -> None:
    file = tmp_path / "scene.yaml"
    file.write_text(yaml.safe_dump(deep_merge(SCENE, {"meteorology": {"directory": str(meteorology)}})))
    scene = "valley-20230715t0920"
    with Production(tmp_path / "production", surroundings=Plain(bucket)) as production:
        production.cli("scene", "add", file)
        materialize(production, scene, "receptors", "meteorology_aggregate")
        run, _ = materialize(production, scene, "trajectories", "footprints")
        materialize(production, scene, "jacobian")
        assert equal(arrays(production.fetch(f"jacobian/{scene}.nc", tmp_path / "jacobian.nc")), local())
        assert log_of(production, run)
        template = production.job_of(run).spec.template
        assert template.metadata.labels["example.org/identity"] == "use", "a cloud's label for identities, of run pods"
        assert template.metadata.labels["stilt/scene"] == scene
        spec = template.spec
        assert spec.node_selector == {"kubernetes.io/arch": "amd64"}
        assert not spec.tolerations
        assert not production.left_over()
