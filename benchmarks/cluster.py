"""What orchestration costs on a cluster, and how well one scene fills 512 cores; prints tables.

    python -m benchmarks.cluster orchestration            rows, CPU and latency, a run, a scene and a pod
    python -m benchmarks.cluster backfill --scenes 1000   a backfill of all assets of many scenes
    python -m benchmarks.cluster scale --kill 0.05        100,000 receptors on 16 nodes of 32 cores

Real are API server, scheduler, Job controller, Postgres, webserver and daemon of ``deploy/chart``, and the pods of one
small scene. All other pods are played (:mod:`benchmarks.played_pods`): they write the rows those wrote.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import event as sql_event
from sqlalchemy.engine import Engine

from benchmarks.played_pods import Killed, Life, PlayedNodes, Player, Recording, pooled
from stilt_dagster.automation.due import next_steps
from stilt_dagster.automation.scene_sensor import advance_scenes
from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.kubernetes.pod_sizes import resources
from stilt_dagster.kubernetes.run_coverage import load_of
from stilt_dagster.operations.record import read_record
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.partitions import ASSETS, runs_of
from stilt_dagster.resources.configurable import StoreResource, TransportEngine
from stilt_dagster.science.batches import plan_batches
from stilt_dagster.science.costs.sizes import Load, runs_for, size_of
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.versions import (
    footprints_version,
    jacobian_version,
    meteorology_key,
    receptors_version,
    trajectories_version,
)
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.production import NAMESPACE, Production

_TICK = os.sysconf("SC_CLK_TCK")

#: Nodes and cores of the cluster that is played.
NODES, CORES = 16, 32

#: What is made of scenes that name no background.
MADE = tuple(asset for asset in tuple(ASSETS) if asset != "background")

#: Spread of the time of a receptor's simulation, of its mean.
SPREAD = 0.1


def spec(name: str, receptors: tuple[int, int], numpar: int, hours: int, meteorology: Path) -> Scene:
    """Return a scene of a grid of receptors."""
    nx, ny = receptors
    grid = {
        "xmin": -112.2, "xmax": round(-112.2 + (nx - 1) * 0.002, 6), "xres": 0.002, "ymin": 40.2,
        "ymax": round(40.2 + (ny - 1) * 0.002, 6), "yres": 0.002, "height": 5,
    }  # fmt: skip
    data = {
        "id": name,
        "time": "2023-07-15T09:20:00Z",
        "receptors": {"grid": grid},
        "transport": {"n_hours": -hours, "numpar": numpar},
        "footprint": {"xmin": -113.0, "xmax": -111.6, "xres": 0.02, "ymin": 40.0, "ymax": 41.0, "yres": 0.02},
        "meteorology": {"directory": str(meteorology), "pattern": "%Y%m%d_%H-*_hrrr"},
    }
    return make_scene(data, name)


def table(title: str, rows: Sequence[tuple[object, ...]], head: Sequence[str] = ()) -> None:
    """Print a table."""
    print(f"\n**{title}**\n")
    width = len(rows[0]) if rows else 2
    head = list(head) or [""] * width
    print("| " + " | ".join(head) + " |\n|" + "---|" * width)
    for row in rows:
        print("| " + " | ".join(f"{v:,.4g}" if isinstance(v, float) else str(v) for v in row) + " |")
    sys.stdout.flush()


#: What servers are, by what is in their command lines.
_KINDS = {
    "dagster-webserver": "webserver",
    "dagster-daemon": "daemon",
    "code-server": "code server",
    "kube-apiserver": "API server",
    "kube-controller-manager": "controllers",
    "kube-scheduler": "scheduler",
    "etcd": "etcd",
    "postgres": "Postgres",
}


class Usage:
    """CPU and memory of the servers this process started, with their children, by what they are."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.mib: defaultdict[str, float] = defaultdict(float)
        for _ in range(3):  # a process that ends while /proc is read is counted by its parent the next time
            self._look()
            time.sleep(0.05)
        self.cpu["driver"] = time.process_time()

    def _look(self) -> None:
        stats: dict[int, tuple[int, float, float]] = {}
        children: dict[int, list[int]] = defaultdict(list)
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                pid, parent = int(entry.name), int(fields[1])
                stats[pid] = parent, sum(map(int, fields[11:13])) / _TICK, sum(map(int, fields[13:15])) / _TICK
                children[parent].append(pid)
        cpu: defaultdict[str, float] = defaultdict(float)
        mib: defaultdict[str, float] = defaultdict(float)
        for pid in children[os.getpid()]:
            command = _command(pid)
            kind = next((v for k, v in _KINDS.items() if k in command), None)
            if kind and "execute_run" not in command:  # a real pod, whose arguments name much
                _add(pid, kind, stats, children, cpu, mib)
        for kind, seconds in cpu.items():
            self.cpu[kind], self.mib[kind] = max(self.cpu[kind], seconds), mib[kind]

    def since(self, other: Usage) -> dict[str, float]:
        """Return the CPU seconds spent since another look."""
        return {kind: round(self.cpu[kind] - other.cpu[kind], 2) for kind in self.cpu}


def _add(
    pid: int,
    kind: str,
    stats: dict[int, tuple[int, float, float]],
    children: dict[int, list[int]],
    cpu: defaultdict[str, float],
    mib: defaultdict[str, float],
) -> None:
    """Add a process and its descendants; children of webserver and daemon are their code servers, ended ones too."""
    _, own, ended = stats[pid]
    cpu[kind] += own
    with suppress(OSError, IndexError):
        mib[kind] += int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
    below = f"code servers of {kind}" if kind in ("webserver", "daemon") else kind
    cpu[below] += ended
    for child in children[pid]:
        _add(child, below, stats, children, cpu, mib)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@dataclass
class Bench:
    """Production with the rows of one real scene recorded.

    Attributes
    ----------
    production : Production
        The deployment.
    instance : DagsterInstance
        Its instance, for this process.
    recordings : dict of str to Recording
        What the pods of the real scene wrote, by asset.
    start : float
        From a real pod's being reported running to the start of its run, s: the median of its five pods.
    """

    production: Production
    instance: dg.DagsterInstance
    meteorology: Path
    recordings: dict[str, Recording] = field(default_factory=dict)
    start: float = 0.0
    checksum: str = ""
    scenes: dict[str, Scene] = field(default_factory=dict)
    known: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @property
    def store(self) -> Any:
        """The store."""
        return StoreResource(url=self.production.settings["STILT_STORE"]).store

    def register(self, scene: Scene) -> None:
        """Register a scene."""
        register_scene(self.instance, self.store, scene)
        self.scenes[scene.id] = scene

    def versions(self, name: str) -> tuple[str, ...]:
        """Return what the materializations of a scene's assets are to say they were made of."""
        scene = self.scenes[name]
        key = (scene.receptors.model_dump_json(), scene.transport.model_dump_json())
        if key not in self.known:
            engine = TransportEngine().open().version
            particles = trajectories_version(scene, self.checksum, engine)
            grids = footprints_version(scene, particles)
            self.known[key] = (
                receptors_version(scene), meteorology_key(scene), particles, grids, jacobian_version(scene, grids),
            )  # fmt: skip
        return self.known[key]

    def nodes(self, count: int, start: float | None = None, work: Callable[[Life], None] = lambda life: None) -> Any:
        """Return played nodes."""
        player = Player(self.instance, self.recordings, self.versions)
        return PlayedNodes(
            self.production.plane.kubeconfig, NAMESPACE, player, count, CORES, 160,
            self.start if start is None else start, work,
        )  # fmt: skip

    def rows(self, scene: str) -> list[tuple[str, str, int]]:
        """Return the event rows of a scene's runs: asset, type, and how many."""
        found = self.production.postgres.execute(
            "select a.value, coalesce(e.dagster_event_type, 'log'), count(*) from event_logs e "
            "join run_tags s on s.run_id = e.run_id and s.key = 'stilt/scene' "
            "join run_tags a on a.run_id = e.run_id and a.key = 'stilt/asset' "
            f"where s.value = '{scene}' group by 1, 2"
        )
        return [(str(a), str(t), int(str(n))) for a, t, n in found]

    def runs(self, scene: str) -> list[dict[str, Any]]:
        """Return a scene's runs."""
        return self.production.runs(tags=[{"key": "stilt/scene", "value": scene}])


@contextmanager
def bench(changes: Callable[[dict[str, Any]], None] = lambda settings: None) -> Iterator[Bench]:
    """Start production with its own intervals, and run one small scene in real pods."""

    def settings(data: dict[str, Any]) -> None:
        data["run_coordinator"]["config"]["dequeue_interval_seconds"] = 5
        data["run_monitoring"] |= {"poll_interval_seconds": 30, "start_timeout_seconds": 900}
        changes(data)

    with tempfile.TemporaryDirectory(prefix="benchmark-") as tmp:
        directory = Path(tmp)
        weather = Weather(speed=6.0, direction=270.0)
        meteorology = directory / "meteorology"
        make_meteorology(meteorology, "2023-07-15T06:00", 12, (-114.0, 38.8, -110.4, 42.2), weather)
        with Production(directory / "production", settings, max_cores=NODES * CORES) as production:
            os.environ.update({k: v for k, v in production.env.items() if k not in ("PATH", "HOME")})
            with dg.DagsterInstance.get() as instance:
                one = Bench(production, pooled(instance, production.postgres.url), meteorology)
                yield one


def real_scene(one: Bench, patience: float) -> list[tuple[str, float, float, float]]:
    """Run a scene of 12 receptors in real pods, record what they write, and return latencies by asset."""
    scene = spec("real-scene-of-the-benchmark", (4, 3), 20, 2, one.meteorology)
    one.register(scene)
    production = one.production
    found: list[tuple[str, float, float, float]] = []
    starts, ids = [], {}
    for asset in MADE:
        clicked = time.time()
        run = production.launch(asset, scene=scene.id)
        pod = production.pod_of(run, patience)
        production.wait_run(run, "SUCCESS", timeout=patience)
        status = production.core.read_namespaced_pod(pod, NAMESPACE).status
        running = status.container_statuses[0].state
        begun = (running.running or running.terminated).started_at.timestamp()
        record = one.instance.get_run_record_by_id(run)
        assert record is not None
        assert record.start_time is not None
        assert record.end_time is not None
        starts.append(record.start_time - begun)
        found.append(
            (asset, begun - clicked, record.start_time - begun, record.end_time - record.start_time)
        )  # fmt: skip
        ids[asset] = run
    one.start = statistics.median(starts)
    made = read_record(one.instance, [scene.id])["meteorology_aggregate"][scene.id]
    one.checksum = made.version.partition(".")[2]
    versions = one.versions(scene.id)
    for asset, run_id in ids.items():
        told = one.instance.get_run_by_id(run_id)
        assert told is not None
        one.recordings[asset] = Recording.of(one.instance, told, versions)
    production.core.patch_node(production.node.name, {"spec": {"unschedulable": True}})
    left = next_steps(scene, read_record(one.instance, [scene.id]), TransportEngine().open().version, Load())
    assert not left, f"the chain sees the real scene as done: {left}"
    return found


def by_asset(one: Bench, scenes: Sequence[str]) -> list[tuple[object, ...]]:
    """Return rows of the event log by asset, and runs, of some scenes."""
    rows = []
    for name in scenes:
        counts: Counter[str] = Counter()
        for asset, _, n in one.rows(name):
            counts[asset] += n
        runs = Counter(run["assets"][0] for run in one.runs(name))
        receptors, total = len(one.scenes[name].receptor_list), sum(counts.values())
        cells = (f"{counts[a]} in {runs[a]}" for a in MADE)
        rows.append((name, receptors, sum(runs.values()), *cells, total, round(total / receptors, 4)))
    return rows


def percentiles(values: Sequence[float]) -> str:
    """Return median, 95th percentile and maximum."""
    ordered = sorted(values)
    at = ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]
    return f"{statistics.median(ordered):.1f} / {at:.1f} / {ordered[-1]:.1f}"


def finish(one: Bench, scenes: Sequence[str], patience: float) -> None:
    """Wait until the jacobians of scenes are made."""

    def done() -> bool:
        made = one.instance.event_log_storage.get_latest_storage_id_by_partition(
            dg.AssetKey("jacobian"), dg.DagsterEventType.ASSET_MATERIALIZATION, set(scenes)
        )
        return len(made) == len(scenes)

    wait_for("jacobians", done, patience, every=2)


def orchestration(args: argparse.Namespace) -> None:
    """Measure rows, CPU and latencies."""
    with bench() as one:
        before = Usage()
        found = real_scene(one, args.patience)
        after = Usage()
        table(
            "One scene of 12 receptors in real pods, one after the other, s",
            [(a, round(x, 1), round(y, 1), round(z, 1)) for a, x, y, z in found],
            ("asset", "click to container", "container to run start", "run"),
        )
        used = after.since(before)
        table("CPU of those five runs, s (start of the servers' code included)", sorted(used.items()))
        kinds = Counter[str]()
        for _, kind, n in one.rows("real-scene-of-the-benchmark"):
            kinds[kind] += n
        head = ("scene", "receptors", "runs", *MADE, "rows", "rows a receptor")
        table("Event rows of the real scene, by asset", by_asset(one, ["real-scene-of-the-benchmark"]), head)
        table("and by type", kinds.most_common())
        with one.nodes(NODES) as nodes:
            idle = Usage()
            time.sleep(args.idle)
            rested = Usage()
            rest = {k: v / args.idle for k, v in rested.since(idle).items()}
            for k in range(2 * args.launches):
                one.register(spec(f"launched-{k:03d}", (4, 3), 20, 2, one.meteorology))
            clicks = {}
            for k in range(args.launches):  # one at a time
                clicks[one.production.launch("receptors", scene=f"launched-{k:03d}")] = time.time()
                time.sleep(random.uniform(1, 3))
            latencies(one, nodes, clicks, "Launched one at a time", args.patience)
            clicks = {}
            for k in range(args.launches, 2 * args.launches):
                clicks[one.production.launch("receptors", scene=f"launched-{k:03d}")] = time.time()
            latencies(one, nodes, clicks, "Launched at once", args.patience)

            scenes = [spec(f"thousand-{k}", (40, 25), 200, 24, one.meteorology) for k in range(args.scenes)]
            scenes += [
                spec("ten-thousand", (100, 100), 200, 24, one.meteorology),
                spec("ten-thousand-of-1000-particles", (100, 100), 1000, 24, one.meteorology),
            ]
            for scene in scenes:
                one.register(scene)
                load, _ = load_of(one.instance, scene.id)
                print(f"{scene.id}: {runs_for(load)} pods by plan", flush=True)
            pods = len(nodes.lives)
            begin = Usage()
            one.production.switch("advance_scenes", on=True)
            finish(one, [s.id for s in scenes], args.patience * 6)
            end = Usage()
            one.production.switch("advance_scenes", on=False)
            time.sleep(3)
            n, seconds = len(nodes.lives) - pods, end.at - begin.at
            spent = end.since(begin)
            rows = [
                (k, v, round(v - rest[k] * seconds, 2), round(v / n, 3), round((v - rest[k] * seconds) / n, 3))
                for k, v in sorted(spent.items())
            ]
            title = f"CPU of {n} pods advance_scenes asked for, {seconds:.0f} s; net of what idling takes"
            table(title, rows, ("", "s", "net", "a pod", "net a pod"))
            table("CPU idle, cores", [(k, round(v, 4)) for k, v in sorted(rest.items())])
            table("Event rows, with advance_scenes", by_asset(one, [s.id for s in scenes]), head)
            shown = sorted(one.rows("thousand-0"), key=lambda row: -row[2])[:12]
            table("Rows of a scene of 1,000 receptors, the most", shown, ("asset", "type", "rows"))
            tick_cost(one, [s.id for s in scenes])


def latencies(one: Bench, nodes: PlayedNodes, clicks: dict[str, float], title: str, patience: float) -> None:
    """Wait for played runs, and print how long they took to begin."""

    def begun() -> list[Life] | None:
        lives = [life for life in list(nodes.lives.values()) if life.run.run_id in clicks]
        return lives if len(lives) == len(clicks) and all(life.ended for life in lives) else None

    lives = wait_for("launched runs", begun, patience, every=0.5)
    rows = [
        ("click to pod made", percentiles([x.created + 0.5 - clicks[x.run.run_id] for x in lives])),
        ("click to pod bound", percentiles([x.bound - clicks[x.run.run_id] for x in lives])),
        ("click to pod running", percentiles([x.running - clicks[x.run.run_id] for x in lives])),
        ("click to run start", percentiles([x.started - clicks[x.run.run_id] for x in lives])),
    ]
    table(f"{title}: {len(lives)} runs, s, median / 95 % / most", rows)


class Statements:
    """Counts statements this process sends to Postgres while it is entered."""

    def __enter__(self) -> Statements:
        self.n = 0
        sql_event.listen(Engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sql_event.remove(Engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.n += 1


def tick_cost(one: Bench, scenes: Sequence[str], ticks: int = 4) -> None:
    """Print what ticks of advance_scenes cost, from the first, which has everything before it."""
    cursor: str | None = None
    rows: list[tuple[object, ...]] = []
    for k in range(ticks):
        with (
            Statements() as statements,
            dg.build_sensor_context(instance=one.instance, cursor=cursor) as context,
        ):
            wall, cpu = time.monotonic(), time.process_time()
            result = advance_scenes(
                context,
                store=StoreResource(url=one.production.settings["STILT_STORE"]),
                transport_engine=TransportEngine(),
            )
            spent = time.monotonic() - wall, time.process_time() - cpu
        assert isinstance(result, dg.SensorResult), result
        cursor = result.cursor
        asked = len(result.run_requests or ())
        rows.append((k + 1, round(spent[0], 2), round(spent[1], 2), statements.n, asked))
    registered = len(one.instance.get_dynamic_partitions("scenes"))
    table(f"Ticks of advance_scenes, {registered} scenes", rows, ("tick", "s", "CPU s", "statements", "runs asked for"))


def backfill(args: argparse.Namespace) -> None:
    """Measure a backfill of all five assets of many scenes."""
    with bench() as one:
        real_scene(one, args.patience)
        specs = [spec(f"scene-{k:04d}", (4, 3), 20, 2, one.meteorology) for k in range(args.scenes)]
        with Statements() as statements:
            begin, cpu = time.monotonic(), time.process_time()
            for scene in specs:
                one.register(scene)
            seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
        names = [s.id for s in specs]
        rate = (f"{len(specs) / seconds:.1f} a second", f"{1000 * cpu / len(specs):.1f} CPU ms each")
        table("Registered, one at a time", [(*rate, f"{statements.n / len(specs):.1f} statements each")])
        tick_cost(one, names)
        postgres = one.production.postgres
        size = "select pg_database_size(current_database())"
        rows_before, size_before = _rows(one), int(str(postgres.execute(size)[0][0]))
        with one.nodes(NODES, start=0.0) as nodes:
            before = Usage()
            clicked = time.time()
            slices = [names[k : k + args.slice] for k in range(0, len(names), args.slice)]
            launched = "', '".join(one.production.backfill(some) for some in slices)
            print(f"backfills asked for in {time.time() - clicked:.1f} s", flush=True)
            samples: list[tuple[float, int, int, int]] = []
            wanted, end = len(runs_of(MADE)) * len(names), time.time() + args.limit
            while time.time() < end:
                count = Counter(
                    {
                        str(status): int(str(n))
                        for status, n in postgres.execute(
                            "select r.status, count(*) from runs r join run_tags t on t.run_id = r.run_id and "
                            f"t.key = 'dagster/backfill' and t.value in ('{launched}') group by 1"
                        )
                    }
                )
                done = count["SUCCESS"]
                under_way = count["STARTED"] + count["STARTING"]
                samples.append((time.time() - clicked, sum(count.values()), done, under_way))
                if len(samples) % 20 == 0:
                    print(f"{samples[-1][0]:.0f} s: {dict(count)}", flush=True)
                if done >= wanted or count["FAILURE"]:
                    break
                time.sleep(1)
            after = Usage()
            total = samples[-1][0]
            made, over = samples[-1][1], samples[-1][2]
            first = next((s[0] for s in samples if s[1]), 0.0)
            rows = [
                ("runs made / succeeded, of", f"{made} / {over} of {wanted}"),
                ("click to first run made, s", round(first, 1)),
                ("wall, s", round(total)),
                ("runs enqueued a second: mean / best of 30 s", f"{made / total:.2f} / {_best(samples, 1):.2f}"),
                ("runs drained a second: mean / best of 30 s", f"{over / total:.2f} / {_best(samples, 2):.2f}"),
                ("most runs under way", max(s[3] for s in samples)),
                ("event rows a run", round((_rows(one) - rows_before) / max(over, 1), 1)),
                ("event rows a scene", round((_rows(one) - rows_before) / len(names), 1)),
                (
                    "database, KB a scene",
                    round((int(str(postgres.execute(size)[0][0])) - size_before) / len(names) / 1e3),
                ),
            ]
            table(f"{len(slices)} backfills, {len(names)} scenes x 5 assets, played pods of 0 s", rows)
            used = after.since(before)
            cost = [(k, v, round(1000 * v / max(over, 1), 1), round(after.mib[k])) for k, v in sorted(used.items())]
            table("CPU and memory", cost, ("", "CPU s", "ms a run", "MiB at the end"))
            lives = [life for life in nodes.lives.values() if life.running]
            table("Pod made to running, s", [(percentiles([max(x.running - x.created, 0) for x in lives]),)])
        tick_cost(one, names)
        engine = TransportEngine().open().version
        record = read_record(one.instance, names)
        due = [s for n in names for s in next_steps(one.scenes[n], record, engine, load_of(one.instance, n)[0])]
        print(f"\nsteps the chain still sees as due: {len(due)}")


def _rows(one: Bench) -> int:
    return int(str(one.production.postgres.execute("select count(*) from event_logs")[0][0]))


def _best(samples: Sequence[tuple[float, ...]], column: int, window: float = 30) -> float:
    best, j = 0.0, 0
    for now in samples:
        while now[0] - samples[j][0] > window:
            j += 1
        if (span := now[0] - samples[j][0]) > window / 2:
            best = max(best, (now[column] - samples[j][column]) / span)
    return best


@dataclass
class Schedule:
    """When receptors of a run end on a pod's cores, in the run's own seconds.

    Attributes
    ----------
    length : float
        From the first to the last.
    batches : list of (str, float)
        When each batch is whole: its key and that time.
    """

    length: float
    batches: list[tuple[str, float]]


class Simulations:
    """The receptors of a scene, how long each takes, and which batches are done.

    Parameters
    ----------
    scene : Scene
        The scene.
    checksum : str
        Of its meteorology.
    """

    def __init__(self, scene: Scene, checksum: str) -> None:
        self.batches = plan_batches(scene, checksum, "engine")
        mean = scene.transport.predicted_cpu
        self.seconds = {
            r.id: mean * random.Random(zlib.crc32(r.id.encode())).lognormvariate(-(SPREAD**2) / 2, SPREAD)
            for r in scene.receptor_list
        }
        self.done: set[str] = set()
        self.useful = sum(self.seconds.values())

    def schedule(self, shards: Sequence[str], cores: int) -> Schedule:
        """Put what is left of some shards on a pod's cores, batch by batch, as the pool does."""
        free = [0.0] * cores
        whole: list[tuple[str, float]] = []
        for batch in (b for shard in shards for b in self.batches[shard] if b.key not in self.done):
            ends = []
            for receptor in batch.receptors:
                ends.append(heapq.heappop(free) + self.seconds[receptor.id])
                heapq.heappush(free, ends[-1])
            whole.append((batch.key, max(ends)))
        return Schedule(max(free), whole)


def shards_of(run: dg.DagsterRun) -> list[str]:
    """Return the shards a run covers."""
    first, last = (run.tags[f"dagster/asset_partition_range_{s}"].partition("|")[2] for s in ("start", "end"))
    return [s for s in SHARDS if first <= s <= last]


def scale(args: argparse.Namespace) -> None:
    """Measure how well one scene's trajectories fill 512 cores, undisturbed and with pods killed."""
    factor = args.factor

    def faster(data: dict[str, Any]) -> None:
        data["run_coordinator"]["config"]["dequeue_interval_seconds"] = max(1, round(5 / factor))
        data["run_monitoring"]["poll_interval_seconds"] = max(1, round(30 / factor))

    with bench(faster) as one:
        real_scene(one, args.patience)
        side = {100_000: (400, 250), 10_000: (100, 100)}[args.receptors]
        rows: list[tuple[object, ...]] = []
        with one.nodes(NODES, start=one.start / factor) as nodes:
            for k in range(args.repeat + 1):
                kills = 0 if k == 0 else max(round(args.kill * 16), 1)
                begin = time.process_time()
                scene = spec(f"large-{k}", side, args.numpar, 24, one.meteorology)
                one.register(scene)
                one.versions(scene.id)
                load, _ = load_of(one.instance, scene.id)
                runs = runs_for(load)
                size = size_of("trajectories", load, 1 / runs)
                print(
                    f"{scene.id}: {load.receptors} receptors, {runs} runs of {resources(size)['requests']}, "
                    f"{load.cpu_seconds / 512:.0f} s on 512 cores if perfect; spec and versions took "
                    f"{time.process_time() - begin:.1f} CPU s",
                    flush=True,
                )
                rows.append(one_scale(one, nodes, scene, args, runs, int(size.cpu), kills, k))
        head = (
            "pods killed", "launch to last end, s", "useful, latencies as if they were compressed",
            "useful, all as long as it is", "longest / mean pod", "first-last pod start, s", "lost core-s",
            "kill to retry's start, s",
        )  # fmt: skip
        table(f"{args.receptors} receptors, numpar {args.numpar}, 24 h, 512 cores, time x {factor:g}", rows, head)


def one_scale(
    one: Bench,
    nodes: PlayedNodes,
    scene: Scene,
    args: argparse.Namespace,
    runs: int,
    cores: int,
    kills: int,
    seed: int,
) -> tuple[object, ...]:
    """Launch the trajectories of one scene, see them end, and return the row of the table."""
    simulations = Simulations(scene, one.checksum)
    factor, chance = args.factor, random.Random(seed)
    victims = chance.sample(range(runs), kills)
    per_run = len(SHARDS) // runs
    lock = threading.Lock()
    lengths: list[float] = []
    lost: list[float] = []
    killed_at: dict[str, float] = {}
    delays: list[float] = []

    def work(life: Life) -> None:
        shards = shards_of(life.run)
        with lock:
            schedule = simulations.schedule(shards, cores)
        again = life.run.root_run_id is not None
        if again:
            delays.append(life.started - killed_at[shards[0]])
        else:
            lengths.append(schedule.length)
        dies = not again and SHARDS.index(shards[0]) // per_run in victims
        until = chance.uniform(0.02, 0.98) * schedule.length if dies else schedule.length
        life.stop.wait(until / factor)
        kept = [key for key, end in schedule.batches if end <= until]
        with lock:
            before = simulations.schedule(shards, cores).length * cores
            simulations.done.update(kept)
            after = simulations.schedule(shards, cores).length * cores
        if dies:
            lost.append(until * cores - (before - after))
            killed_at[shards[0]] = time.time()
            raise Killed

    nodes.work = work
    mark, usage = len(nodes.lives), Usage()
    clicked = time.time()
    for k in range(runs):
        shards = SHARDS[k * per_run], SHARDS[(k + 1) * per_run - 1]
        one.production.launch("trajectories", scene=scene.id, shards=shards)
    launched = time.time()

    def over() -> list[dict[str, Any]] | None:
        found = one.runs(scene.id)
        good = {r["tags"]["dagster/asset_partition_range_start"] for r in found if r["status"] == "SUCCESS"}
        return found if len(good) == runs else None

    wait_for("trajectories", over, args.patience * 8, every=0.5)
    mine = list(nodes.lives.values())[mark:]
    last = max(life.ended for life in mine)
    started = [life.started for life in mine if life.run.root_run_id is None]
    used = Usage().since(usage)
    makespan = last - clicked
    # What waits for servers is real time, what pods do is compressed: so each pod's wait as it was, besides a whole
    # interval of each poll it waited for, which was shortened, and its start and work as long as they are.
    ends: dict[str, float] = defaultdict(float)
    for life in mine:
        shard = shards_of(life.run)[0]
        first = life.run.root_run_id is None
        wait = life.running - clicked + 5 if first else life.running - killed_at[shard] + 35
        ends[shard] += wait + one.start + (life.ended - life.started) * factor
    corrected = simulations.useful / (NODES * CORES * max(ends.values()))
    print(f"launching took {launched - clicked:.1f} s; CPU s: {json.dumps(used)}", flush=True)
    return (
        kills,
        round(makespan, 1),
        round(simulations.useful / (NODES * CORES * makespan * factor), 3),
        round(corrected, 3),
        round(max(lengths) / statistics.mean(lengths), 3),
        f"{min(started) - clicked:.1f}-{max(started) - clicked:.1f}",
        round(sum(lost)),
        ", ".join(f"{d:.1f}" for d in delays) or "-",
    )


def main() -> None:
    """Run a benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--patience", type=float, default=240, help="seconds to wait for what should not take long")
    parser.add_argument("--seed", type=int, default=1)
    what = parser.add_subparsers(required=True)
    sub = what.add_parser("orchestration")
    sub.add_argument("--launches", type=int, default=12, help="runs launched one at a time, and again at once")
    sub.add_argument("--scenes", type=int, default=4, help="scenes of 1,000 receptors")
    sub.add_argument("--idle", type=float, default=30, help="seconds to measure servers that do nothing")
    sub.set_defaults(command=orchestration)
    sub = what.add_parser("backfill")
    sub.add_argument("--scenes", type=int, default=200)
    sub.add_argument(
        "--slice", type=int, default=16, help="scenes of a backfill; of more than 16, Dagster makes runs across scenes"
    )
    sub.add_argument("--limit", type=float, default=3600, help="seconds after which what was done is told")
    sub.set_defaults(command=backfill)
    sub = what.add_parser("scale")
    sub.add_argument("--receptors", type=int, choices=(10_000, 100_000), default=100_000)
    sub.add_argument("--numpar", type=int, default=200)
    sub.add_argument("--factor", type=float, default=20, help="how much faster than real time pods work")
    sub.add_argument("--kill", type=float, default=0.05, help="share of pods killed in each repetition, one at least")
    sub.add_argument("--repeat", type=int, default=2, help="repetitions with pods killed, after one without")
    sub.set_defaults(command=scale)
    args = parser.parse_args()
    random.seed(args.seed)
    args.command(args)


if __name__ == "__main__":
    main()
