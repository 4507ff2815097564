"""Stores and instances of earlier versions open with this one, and nothing of them is simulated again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from stilt_dagster import open_footprints, open_jacobian, read_particles
from stilt_dagster.automation.campaign_sensor import campaigns
from stilt_dagster.automation.scene_sensor import advance_scenes
from stilt_dagster.operations.calibrations import read_calibration
from stilt_dagster.operations.ingest.ledger import Ledger
from stilt_dagster.operations.ingest.sources import Source, load_sources
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.resources.store import Store
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.test_ui import Ui, ui  # noqa: F401 - a fixture
from stilt_dagster_tests.upgrades.eras import GRANULE, SCENES, VALLEY, content, unpack
from stilt_dagster_tests.upgrades.make_fixtures import ERAS

SIMULATED = ("trajectories", "meteorology_aggregate", "footprints", "scenes")

MATERIALIZED = """
query Latest($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(limit: 50) { partition tags { key value } metadataEntries { label } }
  } }
}"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """What the last 0.1 left."""
    return unpack("last", tmp_path)


def instance_of(project: Project) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(project.path / "home"))


def tick(sensor: Any, project: Project, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    resources = {"store": StoreResource(url=str(project.store)), "transport_engine": TransportEngine()}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = sensor(context)
    return [] if isinstance(result, dg.SkipReason) else list(result.run_requests or [])


@pytest.mark.parametrize("era", ERAS)
def test_a_store_opens_and_nothing_is_simulated_again(era: str, tmp_path: Path) -> None:
    project = unpack(era, tmp_path)
    before = content(project.store)
    if era == "first":  # it recorded nothing of what its files were made of
        project.cli("migrate", "--yes")
    listed = json.loads(project.cli("scene", "list", "--json").stdout)
    assert listed == sorted(SCENES[era])
    done = project.cli("scene", "run", VALLEY).stderr
    assert "simulate: nothing to do" in done
    status = project.status(VALLEY)
    assert (status["receptors"], status["ok"], status["pending"]) == (2, 2, 0)
    assert {a["state"] for a in status["assets"].values()} == {"ready"}
    after = content(project.store)
    assert {k for k, v in before.items() if k.startswith(SIMULATED) and after.get(k) != v} == set()
    if era in ("before-matrix", "last"):
        assert after == before
        assert done.count("nothing to do") == 3


@pytest.mark.parametrize("era", ERAS)
def test_products_are_read(era: str, tmp_path: Path) -> None:
    store = unpack(era, tmp_path).store
    for scene in SCENES[era]:
        matrix = open_jacobian(store / "jacobian" / f"{scene}.nc")
        rows = matrix.obs["row_sum"].to_numpy()
        assert np.all(rows > 0)
        np.testing.assert_allclose(matrix @ np.ones(matrix.shape[1]), rows, rtol=1e-5)
        with open_footprints(store / "footprints" / scene) as footprints:
            assert footprints["foot"].sizes["receptor"] == len(rows)
            assert float(footprints["foot"].sum()) > 0
        parts = sorted((store / "trajectories" / scene).rglob("*.parquet"))
        assert len(parts) > 1
        for part in parts:
            assert {"receptor", "particle", "age", "lon", "lat", "zagl", "foot"} <= set(read_particles(part))
    if era == "last":
        assert not read_particles(parts[0], error=True).empty


@pytest.mark.parametrize("era", ERAS)
def test_sensors_ask_for_nothing_but_what_is_new(era: str, tmp_path: Path) -> None:
    """A report is new where there were none; an instance without versions has them once it is migrated."""
    project = unpack(era, tmp_path)
    if era == "first":
        project.cli("migrate", "--yes")
    with instance_of(project) as instance:
        asked = [request.tags["stilt/asset"] for request in tick(advance_scenes, project, instance)]
        assert asked == {"first": ["jacobian,report"], "before-reports": ["report"]}.get(era, [])
        assert tick(campaigns, project, instance) == []


@pytest.mark.parametrize("era", ["before-matrix", "last"])
def test_campaigns_sources_ledgers_calibrations_and_prices(era: str, tmp_path: Path) -> None:
    project = unpack(era, tmp_path)
    status = json.loads(project.cli("campaign", "status", "june", "--json").stdout)
    assert (status["scenes"]["all"], status["scenes"]["done"]) == (2, 2)
    store = Store(str(project.store))
    [source] = load_sources(store)
    assert isinstance(source, Source)
    [entry] = Ledger(store, source.name).entries.values()
    assert entry.scenes == [GRANULE]
    calibration = read_calibration(store)
    assert calibration is not None
    assert calibration.cpu == 1.1
    plan = json.loads(project.cli("scene", "plan", VALLEY, "--json").stdout)
    assert plan["cost"]["currency"] == "USD"


def test_the_ui_shows_what_was_recorded(ui: Ui, project: Project) -> None:  # noqa: F811
    """Without a migration; nor does the daemon beside it start anything."""
    keys = {
        asset: ui.query(MATERIALIZED, {"key": {"path": [asset]}})["assetNodeOrError"]["assetMaterializations"]
        for asset in ("receptors", "trajectories", "jacobian", "report")
    }
    assert {m["partition"] for m in keys["jacobian"]} == set(SCENES["last"])
    assert len(keys["trajectories"]) == 48
    assert all("stilt/location" in {e["label"] for e in m["metadataEntries"]} for m in keys["jacobian"])
    with instance_of(project) as instance:
        assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])) == 0
        assert instance.get_runs_count() == 9
