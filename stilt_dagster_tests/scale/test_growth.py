"""What must not grow with a scene: event rows, and the memory of building its jacobian."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from stilt_dagster.science.batches import Batch, plan_batches
from stilt_dagster_tests.assets.test_runs import Bench
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.science.scenes.test_spec import scene


@pytest.mark.slow
def test_event_rows_do_not_grow_with_receptors(tmp_path: Path, meteorology: Path) -> None:
    rows = []
    for n in (2, 12):
        (tmp_path / str(n)).mkdir()
        with dg.instance_for_test(temp_dir=str(tmp_path / str(n))) as instance:
            bench = Bench(tmp_path / str(n), meteorology, instance)
            grid = {
                "xmin": -112.1,
                "xmax": -112.1 + 0.01 * (n - 1),
                "xres": 0.01,
                "ymin": 40.4,
                "ymax": 40.4 + 0.01 * (n - 1),
                "yres": 0.01,
            }
            made = bench.scene(receptors={"grid": grid}, transport={"numpar": 4, "n_hours": -1})
            assert len(made.receptor_list) == n * n
            results = [bench.run(job, made) for job in ("prepare", "simulate", "assemble")]
            assert all(r.success for r in results)
            rows.append(sum(len(instance.all_logs(r.run_id)) for r in results))
    few, many = rows
    assert many - few <= 6  # progress of two assets
    assert many <= 173  # 158 before there were eleven checks and a report


_BUILD = """
import resource, sys
import numpy as np
from pathlib import Path
from stilt_dagster.resources.store import Store
from stilt_dagster.science.batches import Batch, plan_batches
from stilt_dagster.science.footprints.footprint_files import FootprintWriter
from stilt_dagster.science.versions import footprint_key
from stilt_dagster.science.footprints.gridding import Footprint, Layer
from stilt_dagster.science.jacobian.jacobian import build_jacobian
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.outcomes import PartSummary
from stilt_dagster.science.part_index import indexed_folders
from stilt_dagster_tests.science.scenes.test_spec import scene

n, root = int(sys.argv[1]), Path(sys.argv[2])
box = {"xmin": -115.0, "xmax": -109.0, "xres": 0.02, "ymin": 37.5, "ymax": 43.5, "yres": 0.02}
grid = {"xmin": -112.0, "xmax": -112.0 + 0.01 * (n - 1), "xres": 0.01, "ymin": 40.0, "ymax": 40.0, "yres": 0.01}
made = scene(receptors={"grid": grid}, footprint=box, transport={"n_hours": -2, "numpar": 2000})
store = Store(str(root / "store"))
shards = plan_batches(made, "met", "engine")
folder = indexed_folders(lambda shard: store.folder("footprints", made.id, shard), shards)
values = np.ones((250, 250), np.float32)
layers = (Layer(-1, 10, 10, values), Layer(-2, 10, 10, values))
utc = (Layer(-2, 10, 10, values), Layer(-1, 10, 10, values))
with store.scratch() as scratch:
    for batch in (b for members in shards.values() for b in members):
        key = footprint_key(made, batch.key, batch.receptors.ids)
        writer = FootprintWriter(scratch / "part.nc", key, "p", batch.receptors, made.footprint, -2)
        for receptor in batch.receptors:
            writer.add(Outcome(receptor.id), Footprint(layers, utc, 1.0))
        writer.close()
        summary = PartSummary.of(key, writer.outcomes, 0, 0, "p")
        folder(batch.shard).put(scratch / "part.nc", batch.name + ".nc", summary)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = build_jacobian(made, shards, folder, scratch / "jacobian.nc", {})
assert report.rows == n * 2 * 250 * 250
# Pages of the scratch file count while they are cached; what the process itself holds is what may not grow.
anonymous = sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
print(before // 1024, anonymous // 1024)
"""


@pytest.mark.slow
def test_memory_of_a_jacobian_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    """120 receptors hold 15 million entries, 120 MB: building them takes no more memory than 12 do."""
    held = []
    for n in (12, 120):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _BUILD, str(n), str(tmp_path / str(n))],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        held.append(int(done.stdout.split()[-1]))
    assert held[1] < held[0] + 60


def test_a_plan_is_the_same_on_any_machine_and_covers_every_receptor_once() -> None:
    grid = {"xmin": -112.0, "xmax": -111.0, "xres": 0.02, "ymin": 40.0, "ymax": 41.0, "yres": 0.02}
    made = scene(receptors={"grid": grid})
    first, second = plan_batches(made, "met", "engine"), plan_batches(made, "met", "engine")
    assert _keys(first) == _keys(second)
    ids = [r.id for members in first.values() for b in members for r in b.receptors]
    assert sorted(ids) == sorted(r.id for r in made.receptor_list)
    other = plan_batches(made, "met", "other engine")
    assert not _keys(first) & _keys(other)
    slower = scene(receptors={"grid": grid}, transport={"numpar": 1000, "n_hours": -24})
    assert max(len(b.receptors) for m in plan_batches(slower, "met", "engine").values() for b in m) == 2


def _keys(batches: dict[str, list[Batch]]) -> set[str]:
    return {b.key for members in batches.values() for b in members}


def test_a_hundred_thousand_receptors_are_a_table_beside_a_small_spec(project: Project) -> None:
    rows = (f"{-112 + k % 317 / 1000:.3f},{40 + k // 317 / 1000:.3f},5" for k in range(100_000))
    (project.path / "many.csv").write_text("long,lati,zagl\n" + "\n".join(rows) + "\n")
    path = project.scene_file(receptors={"grid": None, "file": "many.csv"})
    held = (
        "import atexit, sys\n"
        "held = lambda: [l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0]\n"
        "atexit.register(lambda: print(held(), file=sys.stderr))\n"
        "from stilt_dagster.cli import main\nmain()"
    )
    for command in (["scene", "add", str(path)], ["scene", "status", "valley-20230715t0920", "--json"]):
        done = subprocess.run([sys.executable, "-c", held, *command], env=project.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert int(done.stderr.split()[-1]) < 400_000, "kB"
    assert json.loads(done.stdout)["pending"] == 100_000
    spec, table = sorted((project.store / "scenes").iterdir(), key=lambda p: p.suffix)
    assert spec.stat().st_size < 10_000
    assert table.stat().st_size < 3_000_000
