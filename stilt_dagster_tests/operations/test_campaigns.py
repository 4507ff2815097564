"""Campaigns: what belongs to one, how far it is, running again what failed, runs a person asks for, freshness."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from stilt_dagster.automation.campaign_sensor import campaigns
from stilt_dagster.automation.external_assets import campaign_asset, source_asset
from stilt_dagster.automation.run_requests import AUTOMATION_TAG
from stilt_dagster.operations.campaigns.definition import Campaign, add_campaign, load_campaign, parse_campaign
from stilt_dagster.operations.campaigns.events import campaign_key, launch_campaign
from stilt_dagster.operations.campaigns.membership import campaign_tags, scenes_of
from stilt_dagster.operations.campaigns.progress import Progress, SceneProgress, progress_of
from stilt_dagster.operations.ingest.scan import scan
from stilt_dagster.partitions import ASSETS
from stilt_dagster.science.errors import CampaignError, RetrievalError
from stilt_dagster_tests.assets.test_runs import QUIET, Bench
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.operations.test_ingest import Place

DONE, LATE = "valley-20230715t0920", "late-20230715t0920"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "names no scenes: give scenes (ids or patterns) or sources"),
        ("[slc]", "must hold a campaign"),
        ("scenes: slc", "scenes: Input should be a valid list"),
        ("scenes: [../../etc/passwd]", "scenes.0"),
        ("scenes: [x]\nscense: [y]", "scense: unknown name; did you mean scenes?"),
        ("scenes: [x]\nname: other", "a campaign has the name of its file"),
        ("scenes: [x]\nfrom: 2019-06-01", "from and to choose among the scenes of sources"),
        ("sources: [s]\nform: 2019-06-01", "form: unknown name; did you mean from?"),
        ("sources: [s]\nfrom: 20190601", "from: must be a day such as 2019-06-01 (got 20190601)"),
        ("sources: [s]\nfrom: 2019-06-31", "from: "),
        ("sources: [s]\nfrom: 2019-06-02\nto: 2019-06-01", "to 2019-06-01 lies before from 2019-06-02"),
        ("sources: ['s/../t']", "sources.0"),
        ("scenes: [x]\nfresh_within: soon", "fresh_within: must be hours, or a time such as '36 hours'"),
        ("scenes: [x]\nfresh_within: .nan", "fresh_within"),
        ("scenes: [x]\nfresh_within: -3", "fresh_within"),
        ("scenes: [x]\nbudget: {}", "budget: needs at least one of cpu_hours, cost, bytes"),
        ("scenes: &a [x]\nsources: *a", "aliases (*name) are not allowed"),
    ],
)
def test_bad_campaigns_are_told_in_one_line(text: str, says: str) -> None:
    with pytest.raises(CampaignError) as error:
        parse_campaign(text, "summer", "summer.yaml")
    assert says in str(error.value)
    assert "summer.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_time_is_hours_or_text() -> None:
    for text, hours in (("36", 36.0), ("2 days", 48.0), ("90 minutes", 1.5), ("1 week", 168.0)):
        assert parse_campaign(f"scenes: [x]\nfresh_within: {text}", "summer", "f").fresh_within == hours


def test_members_are_known_by_their_ids(tmp_path: Path) -> None:
    place = Place(tmp_path)
    names = [
        "tropomi-slc-20230531-o1",
        "tropomi-slc-20230601-o2",
        "tropomi-slc-20230831-o3",
        "tropomi-slc-20230901-o4",
        "tropomi-slc-202306011-o5",  # no day
        "tropomi-denver-20230615-o6",  # no area of the source
        "valley-20230615t09",
        "valley-20240615t09",
    ]
    for name in names:
        place.store.folder("scenes").write(f"{name}.json", "{}")

    def members(**spec: Any) -> list[int]:
        campaign, _ = add_campaign(place.store, yaml.safe_dump(spec), "summer", "summer.yaml", replace=True)
        return [names.index(scene) for scene in scenes_of(campaign, place.store)]

    assert sorted(members(sources=["tropomi"])) == [0, 1, 2, 3]
    assert members(sources=["tropomi"], **{"from": "2023-06-01", "to": "2023-08-31"}) == [1, 2]
    assert members(sources=["tropomi"], to="2023-06-01", scenes=["valley-2024*"]) == [0, 1, 7]
    assert members(scenes=["valley-20230615t09", "*-o4", "nothing"]) == [3, 6]
    assert campaign_tags(place.store)(names[3]) == {"stilt/campaign": "summer"}
    assert campaign_tags(place.store)(names[0]) == {}
    with pytest.raises(CampaignError, match="there is no source nowhere"):
        members(sources=["nowhere"])
    place.store.folder("sources").remove("tropomi.yaml")
    place.store.folder("campaigns").write("summer.yaml", "sources: [tropomi]")
    with pytest.raises(RetrievalError, match="there is no source tropomi"):
        scenes_of(load_campaign(place.store, "summer"), place.store)


def test_the_pace_is_that_of_the_scenes_that_finished_last() -> None:
    """Three scenes of an hour of CPU, one every half hour of wall time: two more take an hour."""
    done = [SceneProgress(f"s{k}", "done", 1, cpu_seconds=3600, finished=1000 + 1800 * k) for k in range(3)]
    left = [SceneProgress("a", "waiting", 1, cpu_seconds=3600), SceneProgress("b", "running", 1, cpu_seconds=3600)]
    progress = Progress("summer", [*done, *left, SceneProgress("c", "failed", 1, cpu_seconds=3600)], at=0.0)
    assert progress.hours_left == pytest.approx(1.0)
    assert progress.to_dict()["expected_end"] == "1970-01-01T01:00:00+00:00"
    assert Progress("summer", [done[0], *left]).hours_left is None
    assert Progress("summer", done).hours_left == 0.0


@pytest.fixture
def started(finished: Project, tmp_path: Path) -> Project:
    """A project of a campaign of two scenes: one is done, the other's meteorology is not there yet."""
    project = Project(tmp_path / "own", finished.meteorology)
    for folder in ("store", "home"):
        shutil.copytree(finished.path / folder, project.path / folder, dirs_exist_ok=True)
    late = project.scene_file("late.yaml", name="late", meteorology={"directory": str(project.path / "met")})
    project.cli("scene", "add", late)
    (project.path / "july.yaml").write_text('scenes: ["*-20230715t*"]\nfresh_within: 2 days\n')
    return project


def test_what_failed_is_run_again_with_one_command(started: Project) -> None:
    added = json.loads(started.cli("campaign", "add", "july.yaml", "--json").stdout)
    assert added == {"campaign": "july", "scenes": 2, "new": True}
    assert started.cli("campaign", "run", "july", "--dry-run").stdout.split() == [LATE]
    assert f"{LATE}: failed: meteorology directory" in started.cli("campaign", "run", "july", code=1).stderr

    status = json.loads(started.cli("campaign", "status", "july", "--json").stdout)
    assert status["scenes"] == {"all": 2, "done": 1, "failed": 1, "running": 0, "waiting": 0}
    assert status["receptors"] == {"all": 18, "done": 9, "failed": 0}
    [failure] = status["failures"]
    assert failure["scene"] == LATE
    assert "does not exist" in failure["reason"]
    assert f"failed: {LATE}: meteorology directory" in started.cli("campaign", "status", "july").stdout

    shutil.copytree(started.meteorology, started.path / "met")
    again = json.loads(started.cli("campaign", "run", "july", "--failed", "--json").stdout)
    assert again == {"campaign": "july", "done": [LATE], "failures": []}
    status = json.loads(started.cli("campaign", "status", "july", "--json").stdout)
    assert status["scenes"] == {"all": 2, "done": 2, "failed": 0, "running": 0, "waiting": 0}
    assert status["hours_left"] == 0
    assert status["cost"]["planned"] > 0
    with dg.DagsterInstance.from_config(str(started.path / "home")) as instance:
        tags = [run.tags for run in instance.get_runs(dg.RunsFilter(tags={"stilt/campaign": "july"}))]
        recorded = instance.fetch_materializations(campaign_key("july"), limit=9).records
    assert {t["stilt/scene"] for t in tags} == {LATE}
    assert {t["stilt/asset"] for t in tags} >= {"receptors,meteorology_aggregate", "jacobian,report"}
    assert all(t["stilt/cost"].endswith(" USD") for t in tags)
    assert [_metadata(r)["stilt/scenes_done"] for r in recorded] == [2, 1]


def test_campaigns_are_kept_planned_and_deleted(started: Project) -> None:
    started.cli("campaign", "add", "july.yaml")
    assert "already there" in started.cli("campaign", "add", "july.yaml").stdout
    (started.path / "july.yaml").write_text(f"scenes: [{DONE}, {LATE}]\nbudget: {{cost: 0.0001}}\n")
    assert "is there already, with other content: use --replace" in started.error("campaign", "add", "july.yaml")
    started.cli("campaign", "add", "july.yaml", "--replace")
    assert started.cli("campaign", "list").stdout.split() == ["july", "2", "scenes"]
    done = started.cli("campaign", "plan", "july", "--json", code=2)
    plan = json.loads(done.stdout)
    assert (plan["campaign"], plan["scenes"], plan["receptors"]) == ("july", 2, 18)
    assert "campaign july exceeds its budget" in done.stderr
    assert "campaign july exceeds its budget" in started.error("campaign", "run", "july")
    with dg.DagsterInstance.from_config(str(started.path / "home")) as instance:
        assert not instance.get_runs(dg.RunsFilter(tags={"stilt/scene": LATE})), "nothing runs before it is refused"
    (started.path / "Bad name.yaml").write_text("scenes: [x]\n")
    assert "cannot be a campaign's name" in started.error("campaign", "add", "Bad name.yaml")
    assert "cannot be read" in started.error("campaign", "add", "nowhere.yaml")
    started.cli("campaign", "delete", "july")
    assert "there is no campaign 'july'" in started.error("campaign", "status", "july")
    assert set(started.cli("scene", "list").stdout.split()) == {DONE, LATE}


@pytest.fixture
def bench(tmp_path: Path, meteorology: Path) -> Iterator[Bench]:
    with dg.instance_for_test() as instance:
        yield Bench(tmp_path, meteorology, instance)


class Watch:
    """The sensor on campaigns, and a launcher that runs at once what it asks for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cursor: str | None = None
        self.asked: list[dg.RunRequest] = []

    def tick(self) -> list[str]:
        """Look once, run what is asked for, and return the assets of it."""
        with dg.build_sensor_context(
            instance=self.bench.instance,
            cursor=self.cursor,
            definitions=self.bench.defs,
            resources={k: self.bench.defs.resources[k] for k in ("store", "transport_engine")},
        ) as context:
            result = campaigns(context)
        if isinstance(result, dg.SkipReason):
            return []
        self.cursor = result.cursor
        keys = {request.run_key for request in self.asked}
        new = [request for request in result.run_requests if request.run_key not in keys]
        self.asked += new
        for request in new:
            self.bench.defs.resolve_job_def(request.job_name).execute_in_process(
                instance=self.bench.instance, run_config=QUIET, raise_on_error=False, tags=request.tags,
                asset_selection=request.asset_selection, partition_key=request.tags.get("dagster/partition"),
            )  # fmt: skip
        return [asset.to_user_string() for request in new for asset in request.asset_selection]

    def settle(self) -> list[str]:
        """Look until nothing is asked for any more; return the assets that ran, in order."""
        ran: list[str] = []
        while new := self.tick():
            ran += new
        return ran

    def recorded(self) -> list[dict[str, Any]]:
        records = self.bench.instance.fetch_materializations(campaign_key("july"), limit=50).records
        return [_metadata(record) for record in records]


def test_a_launched_campaign_is_run_asset_by_asset_and_what_failed_once_more(bench: Bench, tmp_path: Path) -> None:
    good = bench.scene()
    late = bench.scene(name="late", meteorology={"directory": str(tmp_path / "met")})
    campaign, _ = add_campaign(bench.store, 'scenes: ["*"]', "july", "july.yaml")
    watch = Watch(bench)
    assert watch.settle() == [], "it starts nothing nobody asked for"

    job = bench.defs.resolve_job_def("run_campaign")
    config = {**QUIET, "ops": {"launch": {"config": {"campaign": "july"}}}}
    assert job.execute_in_process(instance=bench.instance, run_config=config).output_for_node("launch") == 2
    plain = [asset for asset in ASSETS if asset != "background"]
    assert sorted(watch.settle()) == sorted([*plain, "receptors", "meteorology_aggregate"])
    assert {request.tags["stilt/campaign"] for request in watch.asked} == {"july"}
    assert {request.tags[AUTOMATION_TAG] for request in watch.asked} == {"campaigns"}
    assert watch.settle() == []
    assert (watch.recorded()[0]["stilt/scenes_done"], watch.recorded()[0]["stilt/scenes_failed"]) == (1, 1)

    shutil.copytree(bench.meteorology, tmp_path / "met")
    assert watch.settle() == [], "what failed waits for a person"
    launch_campaign(bench.instance, campaign, [late.id], failed=True)
    assert watch.settle() == plain[1:]
    assert watch.recorded()[0]["stilt/scenes_done"] == 2
    engine = bench.defs.resources["transport_engine"].open().version
    bench.scene(max_failed_fraction=0.5, replace=True)
    counts = progress_of(bench.instance, bench.store, "july", [good.id, late.id], engine).counts
    assert counts["done"] == 2, "another tolerance makes nothing anew"
    bench.scene(max_failed_fraction=0.5, transport={"numpar": 30}, replace=True)
    assert progress_of(bench.instance, bench.store, "july", [good.id, late.id], engine).counts["waiting"] == 1


def test_sources_and_campaigns_tell_how_fresh_they_are(tmp_path: Path) -> None:
    place = Place(tmp_path, fresh_within="2 days")
    policy = source_asset(place.source).freshness_policy
    assert policy is not None
    assert policy.fail_window.to_timedelta() == timedelta(days=2)
    campaign = Campaign.model_validate({"name": "july", "sources": ["tropomi"], "from": "2023-07-01"})
    assert campaign_asset(campaign).freshness_policy is None
    for orbit in range(3):
        place.land(orbit=orbit)
    scan(place.instance, place.store, place.source)
    scan(place.instance, place.store, place.source)  # which finds nothing new
    [record] = place.instance.fetch_materializations(source_asset(place.source).key, limit=9).records
    assert _metadata(record)["stilt/scenes_new"] == 3


def _metadata(record: dg.EventLogRecord) -> dict[str, Any]:
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}
