"""The chain: which runs a scene is given as it is registered, moves on, changes, or fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stilt_dagster.automation.due import next_steps
from stilt_dagster.automation.run_requests import AUTOMATION_TAG
from stilt_dagster.automation.scene_sensor import BREAKER, advance_scenes
from stilt_dagster.operations.record import Materialized, read_record
from stilt_dagster.partitions import ASSETS
from stilt_dagster.science.costs.sizes import Load
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster_tests.assets.test_runs import QUIET, Bench

#: What a scene without a background goes through.
PLAIN = [asset for asset in ASSETS if asset != "background"]


@pytest.fixture
def bench(tmp_path: Path, meteorology: Path) -> Iterator[Bench]:
    with dg.instance_for_test() as instance:
        yield Bench(tmp_path, meteorology, instance)


class Chain:
    """The sensor, and a launcher that runs at once what it asks for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cursor: str | None = None
        self.ran: list[str] = []
        self._keys: set[str] = set()

    def tick(self, *, run: bool = True) -> list[dg.RunRequest]:
        """Look once; return what is new of what the sensor asks for, and run it."""
        context = dg.build_sensor_context(
            instance=self.bench.instance,
            cursor=self.cursor,
            definitions=self.bench.defs,
            resources={k: self.bench.defs.resources[k] for k in ("store", "transport_engine")},
        )
        result = advance_scenes(context)
        if isinstance(result, dg.SkipReason):
            return []
        self.cursor = result.cursor
        new = [r for r in result.run_requests if r.run_key not in self._keys]
        self._keys |= {r.run_key for r in new}
        for request in new if run else ():
            self.ran += [key.to_user_string() for key in request.asset_selection]
            job = self.bench.defs.resolve_job_def(request.job_name)
            job.execute_in_process(
                instance=self.bench.instance, run_config=QUIET, raise_on_error=False, tags=request.tags,
                asset_selection=request.asset_selection, partition_key=request.tags.get("dagster/partition"),
            )  # fmt: skip
        return new

    def settle(self) -> list[str]:
        """Look until nothing is asked for any more; return the assets that ran, in order."""
        self.ran = []
        for _ in range(12):
            if not self.tick():
                return self.ran
        raise AssertionError(f"the chain does not settle: {self.ran}")


def test_a_new_scene_goes_from_asset_to_asset_one_run_each(bench: Bench) -> None:
    scene = bench.scene()
    chain = Chain(bench)
    assert chain.settle() == PLAIN
    assert chain.settle() == []
    assert bench.store.folder("jacobian").get(f"{scene.id}.nc")


def test_a_changed_spec_makes_again_what_depends_on_it_and_nothing_else(bench: Bench) -> None:
    bench.scene()
    other = bench.scene(name="other")
    chain = Chain(bench)
    chain.settle()
    bench.scene(replace=True, footprint={"smooth_factor": 2.0})
    assert chain.settle() == ["footprints", "jacobian", "report"]
    bench.scene(replace=True, footprint={"smooth_factor": 2.0}, transport={"numpar": 30})
    assert chain.settle() == ["trajectories", "footprints", "jacobian", "report"]
    bench.scene(replace=True, footprint={"smooth_factor": 2.0}, transport={"numpar": 30}, tags={"stilt/cpu": "3"})
    assert chain.settle() == []
    bench.scene(replace=True)  # what it was at first: nothing of it is there any more
    assert chain.settle() == ["trajectories", "footprints", "jacobian", "report"]
    of_other = bench.instance.get_runs(dg.RunsFilter(tags={"stilt/scene": other.id}))
    assert len(of_other) == len(PLAIN) - 1, "the report is made in the jacobian's run"


def test_new_meteorology_makes_again_what_reads_it(bench: Bench, meteorology: Path) -> None:
    scene = bench.scene()
    chain = Chain(bench)
    chain.settle()
    assert bench.run("prepare", scene, asset_selection=[dg.AssetKey("meteorology_aggregate")]).success
    assert chain.settle() == [], "the same meteorology again changes nothing"
    bench.scene(replace=True, meteorology={"n_levels": 12})
    assert chain.settle() == ["meteorology_aggregate", "trajectories", "footprints", "jacobian", "report"]


def test_a_report_that_is_not_there_is_made_alone(bench: Bench) -> None:
    """A scene of a version that made none, or one whose report's run failed."""
    scene = bench.scene()
    Chain(bench).settle()
    made = _everything(scene, bench)
    matrix = made["jacobian"][scene.id]
    for page in ({}, {scene.id: Materialized(matrix.version, matrix.number + 1)}):
        (step,) = next_steps(scene, {**made, "report": page}, _engine(bench), Load())
        assert (step.asset, step.assets) == ("report", ("report",))
    newer = {scene.id: Materialized(matrix.version, made["report"][scene.id].number + 1)}
    (step,) = next_steps(scene, {**made, "jacobian": newer}, _engine(bench), Load())
    assert step.asset == "report", "another try of failed receptors has the same version"


def test_a_failed_run_is_not_asked_for_again(bench: Bench) -> None:
    bench.scene(meteorology={"pattern": "%Y%m%d_none"})
    chain = Chain(bench)
    assert chain.settle() == ["receptors", "meteorology_aggregate"]
    assert chain.settle() == []


def test_the_chain_stops_when_all_runs_fail(bench: Bench) -> None:
    for k in range(BREAKER + 5):
        bench.scene(name=f"scene{k:02d}", meteorology={"pattern": "%Y%m%d_none"})
    chain = Chain(bench)
    chain.settle()
    failed = Counter(
        run.status for run in bench.instance.get_runs(dg.RunsFilter(tags={AUTOMATION_TAG: "advance_scenes"}))
    )
    assert failed[dg.DagsterRunStatus.FAILURE] >= BREAKER
    bench.scene(name="later")
    context = dg.build_sensor_context(
        instance=bench.instance,
        resources={k: bench.defs.resources[k] for k in ("store", "transport_engine")},
    )
    skipped = advance_scenes(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "ALERT" in str(skipped.skip_message)


def test_a_partition_without_a_spec_is_left_alone(bench: Bench) -> None:
    bench.instance.add_dynamic_partitions("scenes", ["by-hand"])
    assert Chain(bench).settle() == []


def test_a_registration_that_was_cut_short_is_found_in_turn(bench: Bench) -> None:
    """Killed after the partition was added, before it was noted."""
    from stilt_dagster.science.scenes.loading import make_scene
    from stilt_dagster_tests.conftest import SCENE, deep_merge

    data = deep_merge(SCENE, {"meteorology": {"directory": str(bench.meteorology)}})
    scene = make_scene(data, "test")
    bench.store.write_scene(scene)
    bench.instance.add_dynamic_partitions("scenes", [scene.id])
    assert Chain(bench).settle() == PLAIN


def test_large_scenes_spread_and_shards_go_on_by_themselves(bench: Bench) -> None:
    scene = bench.scene()
    met = Chain(bench)
    met.settle()
    made = _everything(scene, bench)
    large = Load(receptors=10_000, numpar=1000, hours=24, cpu_seconds=480_000.0)
    del made["jacobian"]
    made["trajectories"] = {k: m for k, m in made["trajectories"].items() if k[-2:] < "04"}
    made["footprints"] = {}
    steps = next_steps(scene, made, _engine(bench), large)
    asked = [(s.asset, s.shards) for s in steps]
    assert ("footprints", ("00", "00")) in asked
    assert ("trajectories", ("04", "04")) in asked
    assert len(asked) == 16
    small = next_steps(scene, made, _engine(bench), Load(receptors=100, cpu_seconds=1000.0))
    assert [(s.asset, s.shards) for s in small] == [("trajectories", ("04", "15"))]


def test_a_background_is_sampled_when_all_particles_are_there(bench: Bench) -> None:
    field = {"uri": "/nowhere/field.nc", "variable": "ch4"}
    varsiwant = [*TransportSettings().varsiwant, "pres"]
    scene = bench.scene(background=field, transport={"varsiwant": varsiwant})
    assert sorted(Chain(bench).settle()) == sorted([*PLAIN[:4], "background"])
    record: Any = read_record(bench.instance, [scene.id])
    assert set(record["footprints"])
    assert not record["jacobian"], "its field is not there"
    made = {**record, "background": {}}
    assert [s.asset for s in next_steps(scene, made, _engine(bench), Load())] == ["background"]


def _engine(bench: Bench) -> str:
    return str(bench.defs.resources["transport_engine"].open().version)


def _everything(scene: Scene, bench: Bench) -> dict[str, dict[str, Materialized]]:
    record: Any = read_record(bench.instance, [scene.id])
    assert next_steps(scene, record, _engine(bench), Load()) == []
    return {asset: dict(made) for asset, made in record.items()}
