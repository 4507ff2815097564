"""Particles that leave the meteorology: how many is said, which margin would have held them, and a grid around does."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.operations.status import scene_status
from stilt_dagster.resources.configurable import TransportEngine
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.meteorology.aggregate import build_aggregate, sha256_of
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.meteorology.extent.margin import margin_that_holds
from stilt_dagster.science.outcomes import Escapes, Outcome, PartSummary
from stilt_dagster.science.part_index import INDEX
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.escapes import escaped_reach
from stilt_dagster.science.transport.particle_files import ParticleFile
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster_tests.assets.test_runs import Bench, failure

#: A scene whose particles go 1.7 degrees to the west, of which the crop has 0.8.
WINDY = {
    "time": "2023-07-15T08:00:00Z",
    "receptors": {
        "grid": {"xmin": -112.0, "xmax": -111.9, "xres": 0.1, "ymin": 40.5, "ymax": 40.6, "yres": 0.1, "height": 20}
    },
    "transport": {"n_hours": -5, "numpar": 25},
    "footprint": {"xmin": -112.4, "xmax": -111.4, "xres": 0.1, "ymin": 40.1, "ymax": 41.0, "yres": 0.1},
    "meteorology": {"margin": 0.4},
}
CHECK = dg.AssetCheckKey(dg.AssetKey("trajectories"), "particles_stay_in_meteorology")


@pytest.fixture(scope="module")
def west_wind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("west_wind")
    wind = Weather(speed=8.0, direction=270.0)
    make_meteorology(directory, "2023-07-15T03:00", 6, (-115.0, 39.2, -110.4, 41.8), wind, spacing_km=3.0)
    return directory


@pytest.fixture
def bench(tmp_path: Path, west_wind: Path) -> Iterator[Bench]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield Bench(tmp_path, west_wind, instance)


def asset_module(name: str) -> ModuleType:
    """Return an asset's module, which its package has the asset itself under the name of."""
    return importlib.import_module(f"stilt_dagster.assets.{name}")


def verdict(bench: Bench) -> Any:
    history = bench.instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=1)
    return history[0].event.dagster_event.event_specific_data


def simulate(bench: Bench, scene: Scene, **options: Any) -> Any:
    """Run a scene's simulations; return the check's verdict."""
    assert bench.run("prepare", scene).success
    done = bench.run("simulate", scene, **options)
    assert done.success, failure(done)
    return verdict(bench)


def escaped(bench: Bench, scene: Scene) -> float:
    """Return the share of a scene's particles that left, counted in the part files."""
    parts = (Path(bench.store.root) / "trajectories" / scene.id).rglob("*.parquet")
    return float(np.mean([o.escaped_fraction for part in parts for o in ParticleFile(part).outcomes]))


def test_a_margin_that_is_too_small_is_said_and_the_one_that_is_named_holds(bench: Bench) -> None:
    found = simulate(bench, scene := bench.scene(**WINDY))
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    share, margin = (found.metadata[name].value for name in ("escaped fraction", "margin, degrees"))
    assert share == pytest.approx(escaped(bench, scene), abs=1e-4)
    assert share > 0.9
    assert 1.0 < margin < 2.5
    assert f"raise meteorology.margin to {margin:g}, or name a larger source" in found.description
    assert found.metadata["scene"].value == scene.id
    assert found.metadata["worst receptors"].value.splitlines()[0] == f"- `{min(scene.receptor_list.ids)}` 100.0%"
    status = scene_status(StoredScene.load(bench.store, scene.id, TransportEngine().open().version))
    assert status.warnings == [found.description], "the command line says the same"
    assert status.to_dict()["escaped_fraction"] == share

    held = simulate(bench, bench.scene(replace=True, **{**WINDY, "meteorology": {"margin": margin}}))
    assert held.passed
    assert held.metadata["escaped fraction"].value < 0.05
    assert "margin, degrees" not in held.metadata
    narrower = simulate(bench, bench.scene(replace=True, **{**WINDY, "meteorology": {"margin": margin / 2}}))
    assert not narrower.passed, "and it is no wider than it has to be"


def test_one_shard_and_a_second_run_have_a_verdict_without_opening_a_part(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = bench.scene(**WINDY)
    shard = scene.receptor_list[0].shard
    alone = simulate(bench, scene, partition_key=dg.MultiPartitionKey({"scene": scene.id, "shard": shard}))
    assert not alone.passed
    whole = simulate(bench, scene)
    assert len(whole.metadata["worst receptors"].value.splitlines()) == 4
    monkeypatch.setattr("stilt_dagster.science.transport.trajectories.ParticleFile", None)
    monkeypatch.setattr(asset_module("trajectories"), "first_particles", lambda *args: None)  # opens one for a picture
    asset_selection = [dg.AssetKey("trajectories")]
    assert bench.run("simulate", scene, asset_selection=asset_selection).success
    assert verdict(bench).metadata == whole.metadata


def test_parts_of_the_version_before_are_current_and_read(bench: Bench) -> None:
    """Neither ``escaped_reach`` in a part nor ``escapes`` in an index: all is kept, and the share is still known."""
    scene = bench.scene(**WINDY)
    simulate(bench, scene)
    folder = Path(bench.store.root) / "trajectories" / scene.id
    for part in folder.rglob("*.parquet"):
        file = pq.ParquetFile(part)
        table, extra = file.read(), dict(file.metadata.metadata)
        outcomes = json.loads(extra[b"stilt:outcomes"])
        assert all(o.pop("escaped_reach") > 0 for o in outcomes)
        metadata = {"stilt:key": extra[b"stilt:key"], "stilt:outcomes": json.dumps(outcomes)}
        pq.write_table(table.replace_schema_metadata(metadata), part)
        state = part.stat()
        index = json.loads((part.parent / INDEX).read_text())
        entry = index["parts"][part.name]
        entry[0] = f"{state.st_mtime_ns}-{state.st_size}-{state.st_ino}"
        del entry[1]["escapes"]
        (part.parent / INDEX).write_text(json.dumps(index))
    before = bench.mtimes("trajectories", scene)
    found = simulate(bench, scene)
    assert bench.mtimes("trajectories", scene) == before
    assert not found.passed
    assert found.metadata["escaped fraction"].value == pytest.approx(escaped(bench, scene), abs=1e-4)
    assert "raise meteorology.margin, or name a larger source" in found.description


def test_a_grid_around_the_first_holds_what_leaves_it(
    bench: Bench, west_wind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole chain on an aggregate of two grids: built, stored, handed to hycs_std, and told of."""
    around = tmp_path / "around.arl"
    around.write_bytes(b"".join(p.read_bytes() for p in sorted(west_wind.iterdir())))

    def nested(scene: Scene, archive: Any, destination: Path, **options: Any) -> Description:
        made = build_aggregate(scene, archive, destination, **options)
        second = destination.with_name("aggregate.2.arl")
        second.write_bytes(around.read_bytes())
        (first,) = made.grids
        outer = replace(first, sha256=sha256_of(second), extent=[-115.0, 39.2, -110.4, 41.8])
        return Description.of(made.key, [first, outer], made.outside)

    monkeypatch.setattr(
        importlib.import_module("stilt_dagster.assets.meteorology_aggregate"), "build_aggregate", nested
    )
    scene = bench.scene(**WINDY)
    found = simulate(bench, scene)
    assert (found.passed, found.metadata["escaped fraction"].value) == (True, 0.0)
    store = Path(bench.store.root) / "meteorology_aggregate"
    assert {p.name for p in store.glob("*.arl")} == {f"{scene.id}.arl", f"{scene.id}~2.arl"}
    assert bench.metadata("meteorology_aggregate", scene.id)["stilt/model"] == "HRRR, HRRR"
    stored = StoredScene.load(bench.store, scene.id, TransportEngine().open().version)
    assert stored.aggregate is not None
    assert stored.meteorology == stored.aggregate.sha256
    assert len(stored.aggregate.nested) == 1


# -- the numbers ---------------------------------------------------------------------------------------------------


def particles(*paths: tuple[list[int], list[float], list[float]]) -> Particles:
    columns = {
        "particle": np.concatenate([np.full(len(p[0]), k + 1) for k, p in enumerate(paths)]),
        "age": np.concatenate([p[0] for p in paths]),
        "lon": np.concatenate([p[1] for p in paths]),
        "lat": np.concatenate([p[2] for p in paths]),
    }
    return Particles(columns)


def test_reach_is_speed_times_the_hours_left() -> None:
    stays = ([-1, -600], [0.0, 9.0], [40.0, 40.0])
    west = ([-60, -120, -300], [0.0, -5.0, -6.5], [40.0, 40.1, 40.2])  # 1.5 degrees in its last 3 h, 5 h left
    north = ([-1, -61], [179.9, -179.9], [40.0, 41.0])  # over the antimeridian; 1 degree in its one hour, 539 min left
    assert escaped_reach(particles(stays), -10) == 0
    assert escaped_reach(particles(stays, west), -10) == pytest.approx(2.5)
    assert escaped_reach(particles(north), -10) == pytest.approx(539 / 60)
    assert escaped_reach(particles(west, north), -10) == pytest.approx(np.percentile([2.5, 539 / 60], 95))
    assert escaped_reach(particles(([-1], [0.0], [40.0])), -10) == 0, "gone before it had a speed"
    assert escaped_reach(particles(([-1, -2], [0.0, -1.0], [40.0, 40.0])), -10) == 180


def test_escapes_add_up() -> None:
    some = [Outcome(f"r{k}", n_particles=100, escaped_fraction=k / 10, escaped_reach=k) for k in range(8)]
    apart = Escapes.sum([Escapes.of(some[:3]), Escapes.of(some[3:]), Escapes.of([Outcome("f", "failed")])])
    assert apart == Escapes.of(some)
    assert (apart.particles, apart.escaped, apart.reach, apart.fraction) == (800, 280.0, 7, 0.35)
    assert [w["receptor"] for w in apart.worst] == ["r7", "r6", "r5", "r4", "r3"]
    assert Escapes.of([]).fraction == 0
    summary = PartSummary.of("k", some, 1)
    assert PartSummary.from_dict(json.loads(json.dumps(asdict(summary)))) == summary


def test_the_margin_starts_at_the_widest_side(bench: Bench) -> None:
    scene = bench.scene(**WINDY)
    (first,) = with_extent([-113.0, 39.6, -110.8, 41.5])
    assert margin_that_holds(scene, first, 1.02) == 1.7  # 0.6 to the west and east
    (first,) = with_extent([-180.0, 39.8, 180.0, 41.1])
    assert margin_that_holds(scene, first, 0.0) == 0.4  # what was asked for
    assert margin_that_holds(scene, first, 180.0) == 180.0


def with_extent(extent: list[float]) -> list[Any]:
    return Description("k", "0", [], extent, 2, 2, [], [], "HRRR", []).grids
