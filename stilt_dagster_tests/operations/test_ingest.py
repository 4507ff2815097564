"""Where granules land: late, cut, renamed, reprocessed and useless ones; scans that are killed; sensors."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml
from netCDF4 import Dataset

from stilt_dagster.automation.domain_schedule import due_domains
from stilt_dagster.automation.retrieval_sensors import build_retrieval_sensor
from stilt_dagster.operations.ingest import ledger
from stilt_dagster.operations.ingest import scan as scanning
from stilt_dagster.operations.ingest.arrivals import Scan
from stilt_dagster.operations.ingest.scan import scan
from stilt_dagster.operations.ingest.sources import Source, load_sources
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.store import Store
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster_tests.conftest import SCENE, Project
from stilt_dagster_tests.retrievals.granules import tropomi_name, write_tropomi

AREA = {"xmin": -112.2, "xmax": -111.8, "ymin": 40.3, "ymax": 40.7}
ID = "tropomi-slc-20230715-o29801"


class Place:
    """A directory granules land in, and a store that watches it."""

    def __init__(self, path: Path, **changes: object) -> None:
        self.granules, self.store = path / "granules", Store(str(path / "store"))
        self.granules.mkdir()
        scene = {k: SCENE[k] for k in ("transport", "footprint")}
        spec = {
            "uri": str(self.granules),
            "product": "tropomi_ch4",
            "areas": {"slc": AREA},
            "settle": 0,
            "scene": {**scene, "meteorology": {"source": "hrrr"}},
            **changes,
        }
        self.store.folder("sources").write("tropomi.yaml", yaml.safe_dump(spec))
        self.instance = dg.DagsterInstance.ephemeral()

    @property
    def source(self) -> Source:
        [source] = load_sources(self.store)
        assert isinstance(source, Source), source
        return source

    def land(self, name: str = "", **granule: object) -> Path:
        path = self.granules / (name or tropomi_name(**{k: v for k, v in granule.items() if k in NAMED}))
        write_tropomi(path, scanlines=2, pixels=2, **granule)
        return path

    def scan(self, **options: object) -> Scan:
        return scan(self.instance, self.store, self.source, **options)

    @property
    def scenes(self) -> list[str]:
        assert sorted(self.instance.get_dynamic_partitions("scenes")) == self.store.scenes()
        return self.store.scenes()

    def scene(self) -> Scene:
        return self.store.scene(ID)


NAMED = ("stream", "orbit", "processor", "made")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_granule_becomes_a_scene_once(place: Place) -> None:
    path = place.land()
    assert place.scan().new == [ID]
    assert place.scan().lines() == []
    os.utime(path)  # loaded up again as it was
    again = place.scan()
    assert (again.new, again.replaced, again.unchanged) == ([], [], 1)
    shutil.copy(path, place.granules / "renamed.nc")
    assert place.scan().unchanged == 1
    assert place.scene().receptors.retrieval.uri == str(path)
    assert place.scenes == [ID]


def test_late_files_are_found(place: Place) -> None:
    place.land()
    place.scan()
    late = place.land(orbit=29800)
    os.utime(late, (1e9, 1e9))
    assert place.scan().new == ["tropomi-slc-20230715-o29800"]


def test_a_reprocessed_granule_is_a_new_version_and_an_older_one_is_not(place: Place) -> None:
    place.land()
    place.scan()
    before = place.scene().receptors.retrieval.retrieved
    place.land(stream="RPRO", made="20240101T000000", value_ppb=1910.0)
    found = place.scan()
    assert (found.new, found.replaced) == ([], [ID])
    after = place.scene().receptors.retrieval.retrieved
    assert after.version > before.version
    assert (after.positions, after.kernels) == (before.positions, before.kernels)
    assert after.observations != before.observations
    place.land(processor="020500", made="20240301T000000")  # late, and of the lesser stream
    assert place.scan().unchanged == 1
    assert place.scene().receptors.retrieval.retrieved == after
    assert place.scenes == [ID]
    soundings = [n for n in place.store.folder("scenes").names() if n.endswith(".parquet")]
    assert len(soundings) == 1


def test_a_cut_file_waits_and_holds_up_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = place.land(orbit=29802)
    data = whole.read_bytes()
    cut = place.granules / "S5P_0_first.nc"
    cut.write_bytes(data[: len(data) // 2])
    found = place.scan()
    assert found.new == ["tropomi-slc-20230715-o29802"]
    assert found.waiting[0][0] == cut.name
    monkeypatch.setattr(scanning, "_WAITS", (0.0,))
    for _ in range(3):
        assert place.scan().waiting
    assert "5 tries" in place.scan().failed[0][1]
    assert place.scan().lines() == []  # told once
    cut.write_bytes(data)
    assert place.scan().unchanged == 1


def test_what_is_no_use_is_skipped_with_its_reason_once(place: Place) -> None:
    place.land(qa=0.1)
    place.land(orbit=29810, lon=10.0)
    place.land(orbit=29811, units="furlong")
    found = place.scan()
    assert not place.scenes
    reasons = dict(found.skipped)
    assert any("has the quality asked for" in r for r in reasons.values())
    assert any("none of 4 soundings lies in the area" in r for r in reasons.values())
    assert "has units 'furlong'" in found.failed[0][1]
    assert place.scan().lines() == []


def test_a_granule_waits_for_its_meteorology(tmp_path: Path, meteorology: Path) -> None:
    met = {"directory": str(meteorology), "pattern": "%Y%m%d_%H-*_hrrr"}
    place = Place(tmp_path, scene={**{k: SCENE[k] for k in ("transport", "footprint")}, "meteorology": met})
    place.land(time=dt.datetime(2023, 7, 14, 9, 20), orbit=29700)
    place.land()
    found = place.scan()
    assert found.new == [ID]
    assert "for 2023-07-14 07:00 to 2023-07-14 10:00 UTC" in found.waiting[0][1]


def test_a_scan_out_of_time_goes_on_where_it_was(place: Place) -> None:
    for orbit in range(6):
        place.land(orbit=orbit)
    made: list[str] = []
    for _ in range(40):
        found = place.scan(seconds=0.03)
        made += found.new
        if len(made) == 6 and found.finished:
            break
    assert sorted(made) == place.scenes
    assert len(made) == 6
    assert place.scan().lines() == []


def test_a_damaged_ledger_costs_work_only(place: Place) -> None:
    place.land()
    place.scan()
    for text in ("{", "[]", '{"entries": {"x": 1}}'):
        place.store.folder("sources").write("tropomi.ledger.json", text)
        assert place.scan().unchanged == 1
    assert place.scenes == [ID]


class Killed(BaseException):
    """Stands for a kill."""


def test_scans_killed_anywhere_lose_and_double_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, left = random.Random(7), {"kills": 0}

    def fatal(real):
        def call(*args, **kwargs):
            if left["kills"] and chance.random() < 0.2:
                left["kills"] = 0
                if chance.random() < 0.5:
                    real(*args, **kwargs)
                raise Killed
            return real(*args, **kwargs)

        return call

    for owner, name in (
        (Store, "write_scene"),
        (dg.DagsterInstance, "add_dynamic_partitions"),
        (dg.DagsterInstance, "report_runless_asset_event"),
        (scanning, "read_granule"),
        (ledger.Ledger, "record"),
        (ledger.Ledger, "write"),
    ):
        monkeypatch.setattr(owner, name, fatal(getattr(owner, name)))
    first = place.land(orbit=0)
    made: list[str] = []
    kills = granules = 0
    while kills < 200:
        granules += 1
        name = tropomi_name(orbit=granules)
        shutil.copyfile(first, place.granules / name)
        with Dataset(place.granules / name, "a") as file:
            file.id = name.removesuffix(".nc")
        left["kills"] = 1
        try:
            made += place.scan(max_scenes=3).new
        except Killed:
            kills += 1
    left["kills"] = 0
    made += place.scan().new
    assert len(place.scenes) == granules + 1
    assert len(made) == len(set(made))
    assert place.scan().lines() == []
    for name in place.scenes:
        assert len(place.store.scene(name).receptor_list) == 4
        query = dg.AssetRecordsFilter(asset_key=dg.AssetKey("receptors"), asset_partitions=[name])
        assert place.instance.fetch_observations(query, limit=9).records, "its registration is noted"


def test_sensor_asks_for_each_first_run_until_it_is_made(place: Place) -> None:
    place.land()
    place.land(orbit=29803)
    scan(place.instance, place.store, place.source, by_sensor=True)  # which died before it asked
    sensor = build_retrieval_sensor(place.source)
    resources = {"store": StoreResource(url=str(place.store.root)), "transport_engine": TransportEngine()}

    def tick() -> list[dg.RunRequest]:
        with dg.build_sensor_context(instance=place.instance, resources=resources) as context:
            result = sensor(context)
        return [] if isinstance(result, dg.SkipReason) else list(result.run_requests)

    first = tick()
    assert [r.tags["stilt/scene"] for r in first] == [ID, "tropomi-slc-20230715-o29803"]
    assert [r.run_key for r in tick()] == [r.run_key for r in first]  # which Dagster starts once
    for name in place.scenes:
        place.instance.report_runless_asset_event(dg.AssetMaterialization("receptors", partition=name))
    tick()
    assert tick() == []


def test_no_daemon_is_needed(project: Project) -> None:
    place = Place(project.path)
    place.land()
    done = project.cli("retrievals", "scan")
    assert f"{ID}: registered" in done.stdout
    again = json.loads(project.cli("retrievals", "scan", "--json").stdout)
    assert again["tropomi"]["new"] == []
    assert project.cli("scene", "list").stdout.split() == [ID]
    place.land(orbit=29900)
    campaign = ("retrievals", "campaign", "tropomi", "--from")
    assert ": 2 files: 0 new" in project.cli(*campaign, "2023-07-16", "--to", "2023-07-20").stdout
    assert "o29900: registered" in project.cli(*campaign, "2023-07-15", "--to", "2023-07-15").stdout
    # What was registered is backfilled by Dagster's own command: a run a scene, in the queue for a daemon.
    scenes = project.cli("scene", "list").stdout.split()
    assert len(scenes) == 2
    backfill = ("job", "backfill", "--workspace", "workspace.yaml", "--job", "prepare", "--noprompt", "--partitions")
    done = project.dagster(*backfill, ",".join(scenes))
    assert done.returncode == 0, done.stderr
    with dg.DagsterInstance.from_config(str(project.path / "home")) as instance:
        runs = instance.get_runs()
    assert sorted(run.tags["dagster/partition"] for run in runs) == scenes
    assert {run.status for run in runs} == {dg.DagsterRunStatus.QUEUED}
    assert "there is no source nowhere" in project.error("retrievals", "scan", "nowhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"product": "landsat"}, "unknown product 'landsat'"),
        ({"areas": {"../up": AREA}}, "must be of a-z"),
        ({"areas": {}}, "areas"),
        ({"scene": {"footprint": {}}}, "is missing"),
        ({"uris": "x"}, "did you mean uri?"),
        ({"uri": "s3://user:pw@bucket/granules"}, "uri: must not hold credentials"),
        ({"uri": "http://169.254.169.254/granules"}, "uri: must be a path, or begin with"),
        ({"scene": {"id": "x"}}, "scene.id comes from the granule"),
    ],
)
def test_bad_sources_are_told(tmp_path: Path, change: dict, says: str) -> None:
    place = Place(tmp_path, **change)
    [error] = load_sources(place.store)
    assert says in str(error)


def test_domains_are_run_for_the_newest_hour_there_is(place: Place) -> None:
    domain = {k: SCENE[k] for k in ("receptors", "transport", "footprint")} | {"meteorology": {"source": "hrrr"}}
    folder = place.store.folder("domains")
    folder.write("valley.yaml", yaml.safe_dump({**domain, "name": "valley", "lag_hours": 6}))
    folder.write("daily.yaml", yaml.safe_dump({**domain, "name": "daily", "cron": "0 3 * * *"}))
    folder.write("bad.yaml", yaml.safe_dump({**domain, "name": "bad", "cron": "soon"}))
    now = dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC)
    found = list(due_domains(place.store, now))
    assert [s.id for s in found if isinstance(s, Scene)] == ["valley-20230715t03"]
    assert [str(e) for e in found if not isinstance(e, Scene)] == [
        "domains/bad.yaml: cron 'soon' is no cron line, such as '0 */6 * * *'"
    ]
    at_three = [s.id for s in due_domains(place.store, now.replace(hour=3)) if isinstance(s, Scene)]
    assert "daily-20230713t21" in at_three


@pytest.mark.parametrize(
    ("source", "time"), [("hrrr", "14t03"), (["hrrr", "gfs0p25"], "13t21"), ("auto", "13t09"), ("narr", "13t09")]
)
def test_a_domain_waits_for_all_of_its_sources(place: Place, source: str | list[str], time: str) -> None:
    domain = {k: SCENE[k] for k in ("receptors", "transport", "footprint")} | {"meteorology": {"source": source}}
    place.store.folder("domains").write("valley.yaml", yaml.safe_dump({**domain, "name": "valley"}))
    [scene] = due_domains(place.store, dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC))
    assert getattr(scene, "id", scene) == f"valley-202307{time}"


def test_domains_of_a_deployment_go_before_those_of_the_store(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = {k: SCENE[k] for k in ("receptors", "transport", "footprint")} | {"meteorology": {"source": "hrrr"}}
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    for folder, lag in ((place.store.folder("domains"), 6), (Folder.of(deployed), 9)):
        folder.write("valley.yaml", yaml.safe_dump({**domain, "name": "valley", "lag_hours": lag}))
    monkeypatch.setenv("STILT_DOMAINS", str(deployed))
    [scene] = due_domains(place.store, dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC))
    assert getattr(scene, "id", scene) == "valley-20230715t00"
