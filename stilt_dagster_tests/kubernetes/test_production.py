"""Production, as its users see it: a pod for each asset however it was started, results as on a laptop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stilt_dagster.kubernetes.pod_sizes import resources
from stilt_dagster.partitions import ASSETS, runs_of
from stilt_dagster.science.costs.sizes import Load, size_of
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.production import NAMESPACE, Production
from stilt_dagster_tests.harness.webserver import Refused
from stilt_dagster_tests.kubernetes.conftest import LONG, arrays, equal

pytestmark = pytest.mark.cluster

Register = Callable[..., str]
Local = Callable[..., dict[str, np.ndarray]]

#: What is made of a scene that names no background.
MADE = tuple(asset for asset in ASSETS if asset != "background")

#: In how many runs: a report is made in its jacobian's.
RUNS = len(runs_of(MADE))


def finished(production: Production, scene: str, n: int) -> list[dict[str, Any]]:
    """Return a scene's runs when there are *n* and all are over.

    Scenes that other tests left unfinished run as well once the chain is on, before this one: so it may take long, but
    not without any run having moved.
    """

    def over() -> list[dict[str, Any]] | None:
        runs = production.runs(tags=[{"key": "stilt/scene", "value": scene}])
        assert not [r for r in runs if r["status"] == "FAILURE"], production.messages(runs[0]["runId"])
        return runs if len(runs) >= n and all(r["status"] == "SUCCESS" for r in runs) else None

    def states() -> set[tuple[str, str]]:
        return {(run["runId"], run["status"]) for run in production.runs()}

    return wait_for(f"{n} runs of {scene}", over, 240, every=1, progress=states)


def test_assets_selected_together_get_a_pod_each(
    production: Production, register: Register, local: Local, tmp_path: Path
) -> None:
    """The UI's "Materialize" of several assets: a run and a pod of its own size for each, one after the other."""
    scene = register()
    production.launch("receptors", "meteorology_aggregate", scene=scene)
    finished(production, scene, 2)
    production.launch("trajectories", "footprints", scene=scene)
    finished(production, scene, 4)
    production.launch("jacobian", "report", scene=scene)
    runs = {asset: run for run in finished(production, scene, RUNS) for asset in run["assets"]}
    assert set(runs) == set(MADE)
    starts = [runs[asset]["startTime"] for asset in MADE]
    assert starts == sorted(starts)
    load = Load(9, 20, 2, 2.07, 0)
    limits = set()
    for asset, run in runs.items():
        (together,) = (assets for assets in runs_of(MADE) if asset in assets)
        assert set(run["assets"]) == set(together)
        job = production.job_of(run["runId"])
        pod = job.spec.template.spec
        (container,) = pod.containers
        expected = resources(size_of(asset, load))["requests"]
        assert container.resources.requests["cpu"] in (expected["cpu"], "1")
        limits.add(container.resources.limits["memory"])
        spot = pod.node_selector.get("cloud.google.com/gke-spot") == "true"
        assert spot == (asset in ("trajectories", "footprints"))
        assert pod.node_selector["kubernetes.io/arch"] == "amd64"
        assert (pod.restart_policy, job.spec.backoff_limit) == ("Never", 0)
        assert pod.automount_service_account_token is False
        assert container.security_context.read_only_root_filesystem
        assert job.metadata.labels["stilt/asset"] == "-".join(together)
    assert len(limits) > 2, "each is sized for what it is"
    found = arrays(production.fetch(f"jacobian/{scene}.nc", tmp_path / "jacobian.nc"))
    assert equal(found, local())
    assert not production.left_over()


def test_tags_of_a_run_and_of_a_scene_override_its_size(production: Production, register: Register) -> None:
    scene = register(tags={"stilt/memory": "777Mi"})
    run = production.launch("receptors", scene=scene, **{"stilt/cpu": "250m"})
    production.wait_run(run, "SUCCESS")
    resources = production.job_of(run).spec.template.spec.containers[0].resources
    assert (resources.limits["cpu"], resources.requests["cpu"]) == ("250m", "225m")
    assert resources.limits["memory"] == resources.requests["memory"] == "777Mi"
    refused = production.launch("receptors", scene=scene, **{"stilt/cpu": "plenty"})
    assert production.wait_run(refused, timeout=20)["status"] == "FAILURE"
    assert any("stilt/cpu: 'plenty' is not an amount" in m for m in production.messages(refused))


def test_a_run_may_not_ask_for_more_than_a_size(production: Production, register: Register) -> None:
    """Whoever may launch runs may not thereby have privileged pods."""
    config = '{"container_config": {"security_context": {"privileged": true}}}'
    run = production.launch("receptors", scene=register(), **{"dagster-k8s/config": config})
    assert production.wait_run(run)["status"] == "FAILURE"
    assert production.job_of(run) is None


def test_what_is_mounted_is_only_read(production: Production) -> None:
    """As root here, who may write anywhere: what a pod has of the chart is as the chart gave it."""
    expected = {"instance": {"dagster.yaml"}, "workspace": {"workspace.yaml"}, "domains": set(), "postgres-ca": set()}
    seen = 0
    for volumes in (production.node.directory / "pods").glob("*/volumes"):
        for name in expected.keys() & {v.name for v in volumes.iterdir()}:
            # Dagster's webserver makes places for telemetry, which is off; where it cannot, it does without.
            assert {p.name for p in (volumes / name).iterdir()} - {"logs", ".logs_queue"} == expected[name]
            seen += 1
    assert seen >= 3


def test_an_upgrade_brings_the_database_along(production: Production) -> None:
    """The chart's hook, in a pod as Helm makes it."""
    [hook] = production.hooks
    name = hook["metadata"]["name"]
    production.batch.create_namespaced_job(NAMESPACE, hook)

    def over() -> Any:
        status = production.batch.read_namespaced_job_status(name, NAMESPACE).status
        return status if status.succeeded or status.failed else None

    assert wait_for("the migration", over, 120).succeeded == 1
    production.batch.delete_namespaced_job(name, NAMESPACE, propagation_policy="Background")


def test_no_secret_is_in_arguments_events_or_logs(production: Production, register: Register) -> None:
    """Of all runs so far, among them those of a whole scene: manifests, messages, logs, every table, every object."""
    scene = register()
    run = production.launch("receptors", scene=scene)
    production.wait_run(run, "SUCCESS")
    secret = production.postgres.env["DAGSTER_POSTGRES_PASSWORD"]
    jobs = production.batch.list_namespaced_job(NAMESPACE).items
    pods = production.core.list_namespaced_pod(NAMESPACE).items
    assert len(jobs) > 0
    assert secret not in str([manifest.to_dict() for manifest in (*jobs, *pods)])
    assert not [m for m in production.messages(run) if secret in m]
    logs = [f for f in (production.node.directory / "logs").rglob("*") if f.is_file()]
    assert {"stilt_stilt-web", "stilt_stilt-daemon", "stilt_stilt-code"} <= {f.name.rsplit("-", 2)[0] for f in logs}
    for file in logs:
        assert secret not in file.read_text(errors="replace"), file
    tables = production.postgres.execute("select tablename from pg_tables where schemaname = 'public'")

    def holding(text: str) -> set[object]:
        query = "select 1 from {} t where t::text like '%{}%' limit 1"
        return {table for [table] in tables if production.postgres.execute(query.format(table, text))}

    assert {"runs", "event_logs", "dynamic_partitions"} <= holding(scene), "what is looked for is found"
    assert not holding(secret)
    files = production.gcs.files()
    assert [path for path in files if scene.encode() in path.read_bytes()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_a_canceled_run_leaves_nothing_running(production: Production, register: Register) -> None:
    scene = register(**LONG)
    production.launch("receptors", "meteorology_aggregate", scene=scene)
    finished(production, scene, 2)
    run = production.launch("trajectories", scene=scene)
    pod = production.pod_of(run)
    wait_for("a first part", lambda: production.objects(f"trajectories/{scene}"), 60)
    production.cancel(run)
    assert production.wait_run(run, timeout=60)["status"] == "CANCELED"
    wait_for("the pod's end", lambda: pod not in production.node.running(), 40)
    assert not production.left_over()
    assert not [
        p for p in production.objects(f"trajectories/{scene}") if not p.endswith((".parquet", "/outcomes.json"))
    ]


def test_what_graphql_refuses_is_an_error(production: Production) -> None:
    """Its answer has status 200 all the same: taken for a yes, a sensor that was never turned on is waited for."""
    with pytest.raises(Refused, match="SensorNotFoundError"):
        production.switch("nothing", on=True)
    with pytest.raises(Refused, match="SensorNotFoundError"):
        production.switch("nothing", on=False)
    with pytest.raises(Refused, match="RunNotFoundError"):
        production.cancel("00000000-0000-0000-0000-000000000000")
    with pytest.raises(Refused, match="RunNotFoundError"):
        production.messages("00000000-0000-0000-0000-000000000000")
    with pytest.raises(OSError, match="nowhere"):  # an exception in the webserver, with status 500 and a reason
        production.backfill(["nowhere"])


def test_the_chain_carries_a_new_scene_to_its_jacobian(
    production: Production, register: Register, local: Local, tmp_path: Path
) -> None:
    production.switch("advance_scenes", on=True)
    try:
        scene = register()
        runs = finished(production, scene, RUNS)
        assert sorted(asset for run in runs for asset in run["assets"]) == sorted(MADE)
        time.sleep(35)  # two more looks
        assert len(production.runs(tags=[{"key": "stilt/scene", "value": scene}])) == RUNS
        log = production.node.log(production.pod_of_component("daemon"), NAMESPACE)
        assert "Launched" in log
        assert "Maximum is" not in log, "no cap on runs was reached"
    finally:
        production.switch("advance_scenes", on=False)
    assert equal(arrays(production.fetch(f"jacobian/{scene}.nc", tmp_path / "jacobian.nc")), local())
    assert f"report/{scene}.html" in production.objects("report/")


@pytest.mark.slow
def test_a_backfill_of_twenty_scenes(production: Production, register: Register, local: Local, tmp_path: Path) -> None:
    """All artifacts are there, equal to a local run's; the cap on cores held; one pod an asset; nothing is left."""
    scenes = [register() for _ in range(20)]
    most = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(1):
            runs = production.runs(statuses=["STARTING", "STARTED"])
            most = max(most, sum(int(run["tags"]["stilt/cores"]) for run in runs))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    production.backfill(scenes, MADE[:2])
    aggregates = {f"meteorology_aggregate/{scene}.json" for scene in scenes}
    wait_for("all meteorology", lambda: aggregates <= production.objects("meteorology_aggregate/").keys(), 900, every=2)
    # Now more scenes are ready at once than there are shards: Dagster asks for a run of one shard of all of them.
    production.backfill(scenes, MADE[2:])
    wanted = {f"jacobian/{scene}.nc" for scene in scenes}
    wait_for("all jacobians", lambda: wanted <= production.objects("jacobian/").keys(), 1500, every=3)
    stop.set()
    watcher.join()
    assert 0 < most <= 8, "the cap on cores"
    for scene in scenes:
        runs = finished(production, scene, RUNS)
        assert sorted(asset for run in runs for asset in run["assets"]) == sorted(MADE)
        made = [
            [p for p in production.objects(f"{a}/{scene}/") if "/part-" in p] for a in ("trajectories", "footprints")
        ]
        assert [len(parts) for parts in made] == [6, 6]
        assert equal(arrays(production.fetch(f"jacobian/{scene}.nc", tmp_path / "jacobian.nc")), local())
    assert not production.left_over()
