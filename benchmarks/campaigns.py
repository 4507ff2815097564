"""A campaign of 1,000 finished scenes: what its commands take, and every GraphQL query of the UI's pages.

    python -m benchmarks.campaigns
    python -m benchmarks.campaigns --scenes 100 --keep /tmp/campaign

Nothing is simulated: what a run of a scene leaves in Dagster is recorded here, registrations, materializations of 16
shards with their metadata and pictures, evaluations of every check, and runs with their tags. The pages are opened in
headless Chromium, through a proxy that keeps what they ask; each query is then asked again, alone.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from stilt_dagster.definitions import build_defs
from stilt_dagster.kubernetes.dagster_internals import DATA_VERSION_TAG
from stilt_dagster.kubernetes.run_coverage import load_of
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.operations.run import RUNS
from stilt_dagster.partitions import partition_keys, scene_range
from stilt_dagster.resources.store import Store
from stilt_dagster.science import versions
from stilt_dagster.science.pystilt import engine_version, find_hycs_std
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster_tests.conftest import ROOT, SCENE

CAMPAIGN = "summer"

#: The pages, by what people call them; {} is a scene.
PAGES = {
    "catalog": "/assets",
    "asset overview": "/assets/jacobian",
    "asset partitions": "/assets/jacobian?view=partitions&partition={}",
    "partitions of shards": "/assets/footprints?view=partitions&partition={}%7C07",
    "asset plots": "/assets/jacobian?view=plots",
    "asset checks": "/assets/jacobian?view=checks",
    "campaign": f"/assets/campaigns/{CAMPAIGN}",
    "runs of the campaign": f"/runs?q[0]=tag:stilt/campaign={CAMPAIGN}",
    "failed runs": "/runs?q[0]=status:FAILURE",
}


def record(instance: dg.DagsterInstance, store: Store, name: str, *, is_failed: bool) -> str:
    """Register a scene, and record what finished runs of it leave, or one that failed; return its id."""
    defs, engine = build_defs(), engine_version(find_hycs_std())
    picture = f"![picture](data:image/png;base64,{base64.b64encode(random.Random(1).randbytes(30_000)).decode()})"
    scene = make_scene({**SCENE, "name": name, "meteorology": {"source": "hrrr"}}, "a benchmark")
    register_scene(instance, store, scene)
    for asset, version in _versions(scene, engine).items():
        if is_failed and asset not in ("receptors", "meteorology_aggregate"):
            break
        for key in partition_keys(asset, scene.id):
            shown = picture if asset == "jacobian" or key.endswith("15") else ""
            instance.report_runless_asset_event(_materialization(asset, key, version, shown))
    for check in sorted(defs.resolve_asset_graph().asset_check_keys, key=str) if not is_failed else ():
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(check.asset_key, check.name, passed=True, metadata={"scene": scene.id})
        )
    tags = {**load_of(instance, scene.id)[1], "stilt/scene": scene.id, "stilt/campaign": CAMPAIGN}
    for job, assets in RUNS[: 2 if is_failed else 3]:
        where = scene_range(scene.id) if job == "simulate" else {"dagster/partition": scene.id}
        failed = is_failed and job == "simulate"
        instance.add_run(
            dg.DagsterRun(
                job,
                status=dg.DagsterRunStatus.FAILURE if failed else dg.DagsterRunStatus.SUCCESS,
                tags={**tags, **where, "stilt/asset": ",".join(assets)},
                asset_selection=frozenset(dg.AssetKey(asset) for asset in assets),
            )
        )
    return scene.id


def multiply(home: Path, store: Path, scene: str, copies: list[str]) -> None:
    """Record the same of other scenes, row by row, as SQLite keeps it: a thousand take Dagster half an hour."""
    spec = (store / "scenes" / f"{scene}.json").read_text()
    history = home / "history"
    with sqlite3.connect(history / "runs/index.db") as log, sqlite3.connect(history / "runs.db") as runs:
        # Verdicts of checks have no partition, and name their scene.
        whose = "partition = ?1 or partition like ?1 || '|%' or event like '%\"' || ?1 || '\"%'"
        events = _rows(log, "event_logs", whose, scene)
        tags = {row["id"]: _rows(log, "asset_event_tags", "event_id = ?1", row["id"]) for row in events}
        checks = _rows(log, "asset_check_executions", "evaluation_event like '%' || ?1 || '%'", scene)
        made = _rows(runs, "runs", "run_id in (select run_id from run_tags where value = ?1)", scene)
        run_tags = {row["run_id"]: _rows(runs, "run_tags", "run_id = ?1", row["run_id"]) for row in made}
        for copy in copies:
            (store / "scenes" / f"{copy}.json").write_text(spec.replace(scene.split("-")[0], copy.split("-")[0]))
            log.execute("insert into dynamic_partitions (partitions_def_name, partition) values ('scenes', ?)", (copy,))
            for event in events:
                number = _insert(log, "event_logs", event, {scene: copy})
                for tag in tags[event["id"]]:
                    _insert(log, "asset_event_tags", {**tag, "event_id": number}, {scene: copy})
            for check in checks:
                _insert(log, "asset_check_executions", check, {scene: copy})
            for run in made:
                renamed = {scene: copy, run["run_id"]: str(uuid.uuid4())}
                ended = time.time() - random.uniform(0, 30) * 86_400  # or a page of the last hour had all of them
                if run["status"] == "FAILURE":
                    ended = time.time()  # after its scene was registered
                text = dt.datetime.fromtimestamp(ended, dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
                times = {
                    "create_timestamp": text,
                    "update_timestamp": text,
                    "start_time": ended - 60,
                    "end_time": ended,
                }
                _insert(runs, "runs", {**run, **times}, renamed)
                for tag in run_tags[run["run_id"]]:
                    _insert(runs, "run_tags", tag, renamed)


def _rows(database: sqlite3.Connection, table: str, where: str, value: object) -> list[dict[str, Any]]:
    cursor = database.execute(f"select * from {table} where {where} order by id", (value,))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _insert(database: sqlite3.Connection, table: str, row: dict[str, Any], renamed: dict[str, str]) -> int:
    """Insert a row under the next id, with names replaced in its texts; return the id."""
    row = {name: value for name, value in row.items() if name != "id"}
    for old, new in renamed.items():
        row = {name: value.replace(old, new) if isinstance(value, str) else value for name, value in row.items()}
    names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    query = f"insert into {table} ({names}) values ({marks})"
    return int(database.execute(query, tuple(row.values())).lastrowid or 0)


def _versions(scene: Scene, engine: str) -> dict[str, str]:
    trajectories = versions.trajectories_version(scene, "0" * 32, engine)
    footprints = versions.footprints_version(scene, trajectories)
    return {
        "receptors": versions.receptors_version(scene),
        "meteorology_aggregate": versions.meteorology_version(versions.meteorology_key(scene), "0" * 32),
        "trajectories": trajectories,
        "footprints": footprints,
        "jacobian": versions.jacobian_version(scene, footprints),
        "report": versions.report_version(versions.jacobian_version(scene, footprints)),
    }


def _materialization(asset: str, key: str, version: str, picture: str) -> dg.AssetMaterialization:
    numbers = ("receptors", "receptors_ok", "receptors_empty", "receptors_failed", "cpu_seconds", "files", "bytes")
    metadata = {f"stilt/{name}": 9 if name != "receptors_failed" else 0 for name in numbers}
    shown = {"stilt/picture": dg.MetadataValue.md(picture)} if picture else {}
    return dg.AssetMaterialization(
        asset, partition=key, metadata={**metadata, **shown}, tags={DATA_VERSION_TAG: version}
    )


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a webserver, and keeps the GraphQL queries."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: a browser that is done closes what it still waits for."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.asked: list[bytes] = []
        self.open = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self._hand_on(None)

    def do_POST(self) -> None:
        self._hand_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _hand_on(self, body: bytes | None) -> None:
        if "upgrade" in self.headers.get("Connection", "").lower():
            self.send_error(501)
            return
        kept = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept", "idempotency-key")}
        self.server.open += 1
        try:
            with urllib.request.urlopen(urllib.request.Request(self.server.target + self.path, body, kept)) as answer:
                data, status, kind = answer.read(), answer.status, answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as error:
            data, status, kind = error.read(), error.code, error.headers.get("Content-Type", "")
        finally:
            self.server.open -= 1
        if body is not None and self.path.startswith("/graphql"):
            self.server.asked.append(body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def webserver(home: Path, store: Path) -> Iterator[Proxy]:
    """Give a proxy of a running webserver."""
    env = {**os.environ, "DAGSTER_HOME": str(home), "STILT_STORE": str(store), "PYTHONWARNINGS": "ignore"}
    port = "39017"
    command = [
        sys.executable,
        "-m",
        "dagster_webserver",
        "-w",
        str(ROOT / "workspace.yaml"),
        "-h",
        "127.0.0.1",
        "-p",
        port,
    ]
    with (home / "webserver.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            target = f"http://127.0.0.1:{port}"
            while True:
                try:
                    urllib.request.urlopen(f"{target}/server_info").read()
                    break
                except OSError:
                    time.sleep(0.5)
            proxy = Proxy(target)
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            yield proxy
            proxy.shutdown()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def open_page(proxy: Proxy, page: str, directory: Path) -> list[bytes]:
    """Open a page in headless Chromium until it asks nothing for a while; return its queries."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000"]
    command = [browser, *options, f"--user-data-dir={directory}", "--remote-debugging-port=0", proxy.url + page]
    proxy.asked.clear()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            before = len(proxy.asked)
            time.sleep(5)
            if before and (len(proxy.asked) == before or before > 60) and not proxy.open:
                break
        return list(dict.fromkeys(proxy.asked))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def seconds(proxy: Proxy, body: bytes) -> float:
    """Return how long a query takes by itself, without a browser that draws at the same time."""
    request = urllib.request.Request(f"{proxy.target}/graphql", body, {"Content-Type": "application/json"})
    start = time.perf_counter()
    urllib.request.urlopen(request).read()
    return time.perf_counter() - start


def _least_of_two(proxy: Proxy, body: bytes) -> float:
    return min(seconds(proxy, body) for _ in range(2))


def main() -> None:
    """Record, and print what commands and pages take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="a directory to record in, or where a campaign is recorded already")
    options = parser.parse_args()
    directory = options.keep or Path(tempfile.mkdtemp(prefix="stilt-campaign-"))
    home, store = directory / "home", Store(str(directory / "store"))
    try:
        if not home.exists():
            home.mkdir(parents=True)
            (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
            start = time.monotonic()
            with dg.DagsterInstance.from_config(str(home)) as instance:
                models = [record(instance, store, "slc0000", is_failed=False)]
                models.append(record(instance, store, "slc0001", is_failed=True))
            for first, scene in enumerate(models):  # one of fifty failed
                others = [k for k in range(2, options.scenes) if (k % 50 == 1) == bool(first)]
                multiply(home, Path(store.root), scene, [scene.replace(f"{first:04}", f"{k:04}", 1) for k in others])
            store.folder("campaigns").write(f"{CAMPAIGN}.yaml", yaml.safe_dump({"scenes": ["slc*"]}))
            print(f"{options.scenes} scenes recorded in {time.monotonic() - start:.0f} s")
        commands(home, Path(store.root))
        pages(home, Path(store.root), store.scenes()[0])
    finally:
        if options.keep is None:
            shutil.rmtree(directory)


def commands(home: Path, store: Path) -> None:
    """Print what each command takes."""
    env = {**os.environ, "DAGSTER_HOME": str(home), "STILT_STORE": str(store), "PYTHONWARNINGS": "ignore"}
    for command in (["list"], ["status", CAMPAIGN], ["plan", CAMPAIGN], ["run", CAMPAIGN, "--dry-run"]):
        start, before = time.monotonic(), os.times()
        args = [sys.executable, "-m", "stilt_dagster.cli", "campaign", *command]
        done = subprocess.run(args, env=env, capture_output=True, text=True, check=True)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"campaign {' '.join(command):24} {time.monotonic() - start:6.2f} s, CPU {cpu:5.2f} s")
        if command[0] == "status":
            print("   " + done.stdout.splitlines()[0])


def pages(home: Path, store: Path, scene: str) -> None:
    """Print, page by page, how many queries it asks, and the slowest of them."""
    with webserver(home, store) as proxy, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for name, page in PAGES.items():
            asked = open_page(proxy, page.format(scene), Path(profile))
            time.sleep(5)  # the webserver still answers what the browser asked last
            took = sorted(((_least_of_two(proxy, body), body) for body in asked), key=lambda item: -item[0])
            told = ", ".join(f"{json.loads(body)['operationName']} {one:.2f} s" for one, body in took[:3])
            print(f"{name:22} {len(took):3} queries; {told}", flush=True)


if __name__ == "__main__":
    main()
