"""A scene on an object store while faults are injected at random moments.

Prints the table of docs/explanation/measurements.md.

    python -m benchmarks.faults                               1,000 receptors, 200 faults: some twenty minutes
    python -m benchmarks.faults --receptors 100 --faults 20   a quick look

The scene runs as users run it, ``stilt-dagster scene run`` as a process, on a bucket of fake-gcs-server behind a proxy
that misbehaves. It is started again after every fault that ends it. Only faults that met something under way count:
a simulation that was killed was running, a storm refused a request. What comes out is compared with the same scene run
undisturbed in a directory. Exits with 1 when anything is lost, doubled, unequal, redone without cause or left behind.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import yaml

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.footprints.footprint_files import FootprintFile
from stilt_dagster.science.transport.particle_files import ParticleFile
from stilt_dagster_tests.harness.gcs import GcsProxy, GcsServer

SCENE = "faults"
BUCKET = "scenes"

#: Faults of 200, by kind.
MIX = {
    "SIGKILL of the run": 32,
    "SIGTERM of the run": 18,
    "SIGKILL of one hycs_std": 60,
    "storm of 503 and 429": 28,
    "connections cut in mid-body": 28,
    "server killed and restarted": 14,
    "second run of the scene": 6,
    "part truncated or garbage": 14,
}

#: Kinds that last, and are injected beside others, one of them at a time.
LASTING = ("storm of 503 and 429", "connections cut in mid-body", "server killed and restarted")


def write_scene(directory: Path, receptors: int) -> Path:
    """Write a scene whose receptors lie near the meteorology's edge, upwind.

    Its simulations are long by their settings, so that a batch is a dozen receptors, and short in fact: particles are
    gone within half an hour.
    """
    columns = 25
    rows = -(-receptors // columns)
    points = [
        {
            "longitude": round(-112.55 + 0.1 * (k % columns) / columns, 4),
            "latitude": round(40.3 + 0.35 * (k // columns) / rows, 4),
            "height": 5,
        }
        for k in range(receptors)
    ]
    data = {
        "id": SCENE,
        "time": "2023-07-15T22:20:00Z",
        "receptors": {"points": points},
        "transport": {"n_hours": -24, "numpar": 200},
        "footprint": {"xmin": -112.7, "xmax": -112.4, "xres": 0.02, "ymin": 40.1, "ymax": 40.9, "yres": 0.02},
        "meteorology": {"directory": str(directory / "met"), "pattern": "%Y%m%d_%H-*_hrrr"},
    }
    path = directory / "scene.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def deck(faults: int, rng: random.Random) -> list[str]:
    """Return *faults* kinds of faults in random order, mixed as :data:`MIX` says."""
    kinds = [kind for kind, n in MIX.items() for _ in range(n)]
    whole, rest = divmod(faults, len(kinds))
    out = kinds * whole + rng.sample(kinds, rest)
    rng.shuffle(out)
    return out


class Bucket:
    """The bucket as it is, asked directly, not through the proxy.

    Parameters
    ----------
    url : str
        The server.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def _call(self, path: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data), timeout=60) as answer:
            return bytes(answer.read())

    def generations(self) -> dict[str, str]:
        """Return the generation of every object, by name."""
        out: dict[str, str] = {}
        token = ""
        while True:
            fields = "items(name,generation),nextPageToken"
            query = urllib.parse.urlencode({"fields": fields, **({"pageToken": token} if token else {})})
            page = json.loads(self._call(f"/storage/v1/b/{BUCKET}/o?{query}"))
            out |= {item["name"]: str(item["generation"]) for item in page.get("items", ())}
            if not (token := page.get("nextPageToken", "")):
                return out

    def read(self, name: str) -> bytes:
        """Return an object."""
        return self._call(f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}?alt=media")

    def write(self, name: str, data: bytes) -> str:
        """Write an object, and return its generation."""
        query = urllib.parse.urlencode({"uploadType": "media", "name": name})
        return str(json.loads(self._call(f"/upload/storage/v1/b/{BUCKET}/o?{query}", data))["generation"])


@dataclass
class Run:
    """A run of the scene.

    Attributes
    ----------
    process : Popen
        The command line.
    log : Path
        What it said.
    ended_by : str
        The fault that ended it, if one did.
    """

    process: subprocess.Popen[bytes]
    log: Path
    ended_by: str = ""

    @property
    def alive(self) -> bool:
        """Whether it is under way."""
        return self.process.poll() is None


def simulations(scratch: Path, run: int | None = None) -> list[int]:
    """Return the hycs_std that run below *scratch*, of one run or of all; those that only wait to be reaped do not."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            if (entry / "comm").read_text().strip() != "hycs_std":
                continue
            place = os.readlink(entry / "cwd")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and place.startswith(f"{scratch}/") and (run is None or f"-{run}-" in place):
                found.append(int(entry.name))
    return found


@dataclass
class Parts:
    """Every state of every part file, and why it was replaced.

    Attributes
    ----------
    now : dict of str to str
        Generations.
    damaged : set of (str, str)
        Names and generations that were put there damaged.
    failed : set of (str, str)
        Those that hold failed receptors, which another run tries again.
    replaced : Counter of str
        Parts replaced, by cause.
    without_cause : list of str
        Those that were for none.
    vanished : list of str
        Those that were there and are not.
    """

    bucket: Bucket
    is_doubled: Callable[[], bool]
    now: dict[str, str] = field(default_factory=dict)
    damaged: set[tuple[str, str]] = field(default_factory=set)
    failed: set[tuple[str, str]] = field(default_factory=set)
    replaced: Counter[str] = field(default_factory=Counter)
    without_cause: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _was_doubled: bool = False

    def look(self) -> None:
        """Take note of what has changed since the last look."""
        with self.lock:
            try:
                found = {k: v for k, v in self.bucket.generations().items() if "/part-" in k}
            except (OSError, ValueError):
                return  # the server is down
            # What is seen now was written since the last look, also by a run that has ended meanwhile.
            doubled, self._was_doubled = self._was_doubled or self.is_doubled(), self.is_doubled()
            for name in self.now.keys() - found.keys():
                self.vanished.append(name)
                del self.now[name]
            for name, generation in found.items():
                before = self.now.get(name)
                if before == generation:
                    continue
                if (name, generation) not in self.damaged:
                    try:
                        self._inspect(name, generation)
                    except OSError:
                        continue  # the server went down: at the next look
                    if before is not None:
                        self._explain(name, before, doubled)
                self.now[name] = generation

    def _inspect(self, name: str, generation: str) -> None:
        data = io.BytesIO(self.bucket.read(name))
        try:
            part = (ParticleFile if name.endswith(".parquet") else FootprintFile)(data)
        except ValueError:
            self.without_cause.append(f"{name} was published damaged")
            return
        if any(o.status == "failed" for o in part.outcomes):
            self.failed.add((name, generation))
        part.close()

    def _explain(self, name: str, before: str, doubled: bool) -> None:
        if (name, before) in self.damaged:
            self.replaced["damaged on purpose"] += 1
        elif (name, before) in self.failed:
            self.replaced["held failed receptors"] += 1
        elif doubled:
            self.replaced["made by two runs at once"] += 1
        else:
            self.replaced["without cause"] += 1
            self.without_cause.append(name)

    def damage(self, rng: random.Random) -> str | None:
        """Put a truncated or garbage object in place of a good part; return its name, or None if there is none."""
        self.look()
        with self.lock:
            good = sorted(n for n, g in self.now.items() if (n, g) not in self.damaged)
            if not good:
                return None
            name = rng.choice(good)
            with suppress(OSError, ValueError):
                data = self.bucket.read(name)
                how = rng.randrange(4)
                if how == 0:
                    data = data[: rng.randrange(1, len(data))]
                elif how == 1:
                    data = b""
                elif how == 2:
                    data = rng.randbytes(len(data))
                else:  # the second half, as of a file whose pieces were never written
                    data = bytes(len(data) // 2) + data[len(data) // 2 : -8]
                generation = self.bucket.write(name, data)
                self.damaged.add((name, generation))
                self.now[name] = generation
                return name
            return None

    def watch(self, stop: threading.Event) -> None:
        """Look several times a second."""
        while not stop.wait(0.4):
            self.look()


class Storm:
    """What the proxy does to requests: nothing, mostly.

    Attributes
    ----------
    met : int
        Requests the present fault met.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tricks: tuple[int | str, ...] = ()
        self._share = 0.0
        self._most = 0
        self.met = 0
        self.seen = 0

    def begin(self, tricks: tuple[int | str, ...], share: float, most: int = 1 << 30) -> None:
        """Play *tricks* on a share of requests, *most* of them at most."""
        self.met, self._most, self._share, self._tricks = 0, most, share, tricks

    def end(self) -> None:
        """Let requests pass."""
        self._tricks = ()

    def __call__(self, method: str, path: str) -> int | str | None:
        """Return what becomes of a request."""
        self.seen += 1
        if not self._tricks or self.met >= self._most or self._rng.random() > self._share:
            return None
        self.met += 1
        return self._rng.choice(self._tricks)


class Trial:
    """The scene on the bucket, and faults.

    Parameters
    ----------
    directory : Path
        Where all is kept.
    server : GcsServer
        The object store.
    proxy : GcsProxy
        What is before it.
    rng : random.Random
        Chance.
    duration : float
        Seconds the scene takes undisturbed.
    """

    def __init__(
        self, directory: Path, server: GcsServer, proxy: GcsProxy, rng: random.Random, duration: float, parts: int
    ) -> None:
        self.directory = directory
        self.scratch = directory / "scratch"
        self.scratch.mkdir()
        self.server = server
        self.rng = rng
        self.duration = duration
        self.n_parts = parts
        self.bucket = Bucket(server.url)
        self.runs: list[Run] = []
        self.parts = Parts(self.bucket, self._is_doubled)
        self.storm = Storm(random.Random(rng.random()))
        proxy.mischief = self.storm
        self.env = environment(directory, f"gs://{BUCKET}", "remote", self.scratch)
        self.env["STORAGE_EMULATOR_HOST"] = proxy.url
        self.hits: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.survivors = 0
        self.problems: list[str] = []
        self.slowest_end = 0.0
        self.given_again = 0
        self._completed = 0
        self._lasting: threading.Thread | None = None
        self._overlap: list[Run] = []
        self._counting = threading.Lock()

    def _is_doubled(self) -> bool:
        """Whether a run is under way that was so at the same time as another: what it finds missing may be made."""
        return any(run.alive for run in self._overlap)

    @property
    def alive(self) -> list[Run]:
        """Runs under way; those that have ended are accounted for."""
        for run in [r for r in self.runs if not r.alive]:
            self.runs.remove(run)
            self._account(run)
        return list(self.runs)

    def _account(self, run: Run) -> None:
        text = run.log.read_text(errors="replace")
        code = run.process.returncode
        if run.ended_by:
            self.ends[run.ended_by] += 1
        elif code == 0:
            self.ends["scene complete"] += 1
        else:
            lines = [line for line in text.splitlines() if line.startswith("error: ")]
            self.ends[f"error ({code})"] += 1
            print(f"  a run ended with {code}: {lines[-1] if lines else text[-600:]}", flush=True)
        if "Traceback" in text:
            self.problems.append(f"a traceback, the run ended by {run.ended_by or code}: {text[-3000:]}")

    def start(self, *, wait: bool = True) -> Run:
        """Start a run, and wait until it asks the store for something."""
        log = self.directory / f"run-{time.monotonic_ns()}.log"
        seen = self.storm.seen
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "stilt_dagster.cli", "scene", "run", SCENE],
                env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        run = Run(process, log)
        self.runs.append(run)
        while wait and run.alive and self.storm.seen == seen:
            time.sleep(0.05)
        return run

    def _at_work(self, run: Run) -> bool:
        return any(True for _ in self.scratch.glob(f"stilt-*-{run.process.pid}-*"))

    def inject(self, kind: str) -> bool | None:
        """Inject a fault; return whether it met something, or None if that is not known yet."""
        runs = self.alive
        if not runs:
            return False
        run = self.rng.choice(runs)
        if kind in ("SIGKILL of the run", "SIGTERM of the run"):
            return self._end(run, kind)
        if kind == "SIGKILL of one hycs_std":
            return self._kill_simulation()
        if kind == "second run of the scene":
            return self._second(run)
        if kind == "part truncated or garbage":
            return self.parts.damage(self.rng) is not None
        self._lasting = threading.Thread(target=self._last, args=(kind, self.rng.uniform(1.0, 5.0)), daemon=True)
        self._lasting.start()
        return None

    def _end(self, run: Run, kind: str) -> bool:
        if not run.alive:
            return False
        run.ended_by = kind
        start = time.monotonic()
        busy = bool(simulations(self.scratch, run.process.pid))
        run.process.send_signal(signal.SIGKILL if kind == "SIGKILL of the run" else signal.SIGTERM)
        try:
            run.process.wait(60)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{run.log.name} did not end within 60 s of SIGTERM")
            run.process.kill()
            run.process.wait()
        self.slowest_end = max(self.slowest_end, time.monotonic() - start)
        self.met[kind] += busy
        for _ in range(100):
            if not (left := simulations(self.scratch, run.process.pid)):
                break
            time.sleep(0.1)
        self.survivors += len(left)
        if run.process.returncode == 0:
            run.ended_by = ""
            return False
        return True

    def _kill_simulation(self) -> bool:
        for _ in range(400):
            if found := simulations(self.scratch):
                time.sleep(self.rng.uniform(0.0, 0.15))
                pid = self.rng.choice(found)
                with suppress(OSError):
                    descriptor = os.pidfd_open(pid)
                    try:
                        if pid in simulations(self.scratch):
                            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                            self.met["SIGKILL of one hycs_std"] += 1
                            return True
                    finally:
                        os.close(descriptor)
            if not self.alive:
                return False
            time.sleep(0.05)
        return False

    def _second(self, first: Run) -> bool:
        second = self.start(wait=False)
        self._overlap = [r for r in self._overlap if r.alive] + [first, second]
        while second.alive and first.alive:
            if self._at_work(second):
                # Both, for a while, undisturbed by what would end them.
                end = time.monotonic() + self.rng.uniform(2.0, 10.0)
                while time.monotonic() < end and first.alive and second.alive:
                    time.sleep(0.1)
                return True
            time.sleep(0.1)
        return False

    def _last(self, kind: str, seconds: float) -> None:
        """Let a fault of the network last for some seconds, and until it has met a request."""
        end = time.monotonic() + seconds
        if kind == "server killed and restarted":
            seen = self.storm.seen
            self.server.stop()
            while time.monotonic() < end or self.storm.seen == seen:
                time.sleep(0.05)
            met = self.storm.seen - seen
            self.server.start()
        else:
            if kind == "storm of 503 and 429":
                self.storm.begin((503, 429, 503), 0.8)
            else:
                self.storm.begin(("cut", "lose"), 0.5, most=6)
            while time.monotonic() < end or not self.storm.met:
                time.sleep(0.05)
            self.storm.end()
            met = self.storm.met
        with self._counting:
            self.met[kind] += met
            self.hits[kind] += 1

    @property
    def is_lasting(self) -> bool:
        """Whether a fault of the network lasts."""
        return self._lasting is not None and self._lasting.is_alive()

    def gap(self, left: int) -> float:
        """Return seconds to the next fault, so that the work lasts as long as there are faults."""
        with self.parts.lock:
            work = 1 - sum(k not in self.parts.damaged for k in self.parts.now.items()) / self.n_parts
        mean = min(max(1.2 * work * self.duration / max(left, 1), 0.3), 8.0)
        return min(self.rng.expovariate(1 / mean), 20.0)

    def run(self, kinds: list[str]) -> None:
        """Inject faults of these kinds, starting the run again whenever it has ended."""
        asked = len(kinds)
        began = time.monotonic()
        told = 0
        while kinds or self.is_lasting:
            if not self.alive:
                self._give_work(kinds)
                self.start()
            time.sleep(self.gap(len(kinds)))
            if not kinds or not self.alive:
                continue
            kind = next((k for k in kinds if not (k in LASTING and self.is_lasting)), None)
            if kind is None or (kind == "second run of the scene" and len(self.alive) > 1):
                self.rng.shuffle(kinds)
                time.sleep(0.1)
                continue
            kinds.remove(kind)
            hit = self.inject(kind)
            if hit:
                self.hits[kind] += 1
            elif hit is False:
                self.misses[kind] += 1
                kinds.insert(self.rng.randrange(len(kinds) + 1), kind)
            if asked - len(kinds) >= told + 10:
                told = asked - len(kinds)
                with self.parts.lock:
                    there = len(self.parts.now)
                print(
                    f"{time.monotonic() - began:6.0f} s: {told} faults, {there} of {self.n_parts} parts; "
                    f"runs ended by {dict(self.ends)}",
                    flush=True,
                )

    def _give_work(self, kinds: list[str]) -> None:
        """Damage a fifth of the parts of a scene that is complete before all faults are; none of these counts."""
        if self.ends["scene complete"] == self._completed or not kinds:
            return
        self._completed = self.ends["scene complete"]
        self.given_again += 1
        for _ in range(self.n_parts // 5):
            self.parts.damage(self.rng)

    def finish(self) -> int:
        """Let the scene be completed; return how many runs that took."""
        for run in self.alive:
            run.process.wait()
        for attempt in range(1, 6):
            run = self.start(wait=False)
            code = run.process.wait()
            if not self.alive and code == 0 and not (status := self.status())["failed"] and not status["pending"]:
                return attempt
        return attempt

    def status(self) -> dict[str, Any]:
        """Return what the command line says of the scene."""
        return dict(json.loads(cli(self.env, "status", SCENE, "--json")))


def environment(directory: Path, store: str, home: str, scratch: Path) -> dict[str, str]:
    """Return the environment of a command line with a store and a Dagster instance on SQLite of its own."""
    (directory / home).mkdir()
    (directory / home / "dagster.yaml").write_text((Path(__file__).parents[1] / "dagster.yaml").read_text())
    env = {
        **os.environ, "STILT_STORE": store, "DAGSTER_HOME": str(directory / home), "TMPDIR": str(scratch),
        "PYTHONWARNINGS": "ignore", "COLUMNS": "200",
    }  # fmt: skip
    env.pop("STILT_MET", None)
    return env


def cli(env: dict[str, str], *args: str) -> str:
    """Run ``stilt-dagster scene``, and return what it prints."""
    command = [sys.executable, "-m", "stilt_dagster.cli", "scene", *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def variables(image: bytes) -> dict[str, np.ndarray]:
    """Return the variables of a netCDF file."""
    with h5netcdf.File(io.BytesIO(image), "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def texts(values: np.ndarray) -> list[str]:
    """Return a variable of text."""
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether arrays are equal, in type too; NaN is equal to NaN."""
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def rows_of(bucket: Bucket, names: Iterator[str]) -> Counter[str]:
    """Return how often each receptor is in some parts."""
    rows: Counter[str] = Counter()
    for name in names:
        part = (ParticleFile if name.endswith(".parquet") else FootprintFile)(io.BytesIO(bucket.read(name)))
        rows.update(o.receptor for o in part.outcomes)
        part.close()
    return rows


def verdict(trial: Trial, local: Path, status: dict[str, Any]) -> list[str]:
    """Print how the scene ended; return what is wrong with it."""
    wrong: list[str] = []

    def row(what: str, value: object, fine: bool) -> None:
        print(f"| {what} | {value} |")
        if not fine:
            wrong.append(f"{what}: {value}")

    expected = variables((local / "jacobian" / f"{SCENE}.nc").read_bytes())
    found = variables(trial.bucket.read(f"jacobian/{SCENE}.nc"))
    ids = texts(expected["obs_id"])
    names = set(trial.bucket.generations())
    kinds = {kind: [n for n in names if n.startswith(f"{kind}/")] for kind in ("trajectories", "footprints")}
    counts = {kind: rows_of(trial.bucket, iter(members)) for kind, members in kinds.items()}
    counts["jacobian"] = Counter(texts(found["obs_id"]))
    lost = {kind: sum(rows[i] == 0 for i in ids) for kind, rows in counts.items()}
    doubled = {kind: sum(n > 1 for n in rows.values()) for kind, rows in counts.items()}
    unequal = sorted(
        k for k in expected.keys() | found.keys()
        if k not in found or k not in expected or not same(found[k], expected[k])
    )  # fmt: skip
    wanted = {str(p.relative_to(local)) for p in local.rglob("*") if p.is_file() and ".scratch" not in p.parts}
    states = {name: asset["state"] for name, asset in status["assets"].items()}
    left = [p for p in trial.scratch.rglob("*") if p.is_file()]

    ended = {name: status[name] for name in ("ok", "empty", "failed", "pending")}
    row("receptors", ", ".join(f"{n} {k}" for k, n in ended.items()), ended["failed"] + ended["pending"] == 0)
    row("assets that are not ready", sum(s != "ready" for s in states.values()), set(states.values()) == {"ready"})
    row("receptors lost", sum(lost.values()), not any(lost.values()))
    row("receptors doubled", sum(doubled.values()), not any(doubled.values()))
    row("variables of the jacobian unequal", f"{len(unequal)} of {len(expected)} {' '.join(unequal)}", not unequal)
    causes = "; ".join(f"{n} {cause}" for cause, n in trial.parts.replaced.items() if cause != "without cause")
    row("parts replaced with cause", causes or 0, True)
    row("parts redone without cause", len(trial.parts.without_cause), not trial.parts.without_cause)
    row("parts that vanished", len(trial.parts.vanished), not trial.parts.vanished)
    row("objects in the bucket that do not belong", len(names - wanted), names == wanted)
    row("hycs_std that outlived its run", trial.survivors, not trial.survivors)
    row("hycs_std left", len(simulations(trial.scratch)), not simulations(trial.scratch))
    row("files left in scratch", len(left), not left)
    row("slowest end after a signal", f"{trial.slowest_end:.1f} s", True)
    row("problems", len(trial.problems), not trial.problems)
    for problem in (*trial.parts.without_cause, *trial.problems, *map(str, left), *sorted(names ^ wanted)):
        print(f"- {problem}")
    return wrong


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--receptors", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20230715)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as tmp,
        GcsServer(BUCKET) as server,
        server.proxy() as proxy,
    ):
        directory = Path(tmp).resolve()
        proxy._server.handle_error = lambda request, address: None  # type: ignore[method-assign]  # of a killed client
        weather = Weather(speed=15.0, direction=270.0)
        make_meteorology(
            directory / "met", "2023-07-14T18:00", 30, (-112.7, 40.0, -111.5, 41.0), weather, spacing_km=2.0
        )
        file = str(write_scene(directory, args.receptors))

        (directory / "quiet").mkdir()
        local = environment(directory, str(directory / "store"), "local", directory / "quiet")
        cli(local, "add", file)
        start = time.monotonic()
        cli(local, "run", SCENE)
        undisturbed = time.monotonic() - start
        n_parts = sum(1 for p in (directory / "store").rglob("part-*"))
        print(f"undisturbed: {args.receptors} receptors, {n_parts} parts, {undisturbed:.0f} s", flush=True)

        trial = Trial(directory, server, proxy, rng, undisturbed, n_parts)
        cli(trial.env, "add", file)
        stop = threading.Event()
        watcher = threading.Thread(target=trial.parts.watch, args=(stop,), daemon=True)
        watcher.start()
        start = time.monotonic()
        try:
            trial.run(deck(args.faults, rng))
            attempts = trial.finish()
        finally:
            for run in trial.alive:
                run.process.kill()
            stop.set()
            watcher.join()
        trial.parts.look()
        seconds = time.monotonic() - start

        print(f"\n{args.receptors} receptors, {n_parts} parts, {seconds:.0f} s; seed {args.seed}\n")
        print("| fault | injected | met |\n|---|---|---|")
        for kind in MIX:
            unit = {"SIGKILL of one hycs_std": "simulations", "part truncated or garbage": "parts"}.get(
                kind, "requests"
            )
            met = f"{trial.met[kind]} {unit}"
            if kind.endswith("of the run"):
                met = f"{trial.met[kind]} while simulating"
            elif kind in ("second run of the scene", "part truncated or garbage"):
                met = ""
            print(f"| {kind} | {trial.hits[kind]} | {met} |")
        print(f"| all | {sum(trial.hits.values())} | {sum(trial.misses.values())} more met nothing, and do not count |")
        print("\n| runs ended by | |\n|---|---|")
        for end, n in trial.ends.items():
            print(f"| {end} | {n} |")
        print(f"| times a complete scene was given work again | {trial.given_again} |")
        print(f"| runs to the end after the last fault | {attempts} |\n")
        print("| at the end | |\n|---|---|")
        wrong = verdict(trial, directory / "store", trial.status())
        if sum(trial.hits.values()) != args.faults:
            wrong.append(f"{sum(trial.hits.values())} faults of {args.faults}")
        print("\n" + ("\n".join(f"WRONG: {line}" for line in wrong) or "nothing is lost, doubled or unequal"))
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
