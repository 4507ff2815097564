"""A compose file's services as processes of this machine, where there is no container engine.

Commands, environment, files, health checks, order and restarts are the file's. Other than in containers are ports and
directories, entrypoints, and what the kernel would forbid; Postgres is the harness's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.processes import Process, free_ports, wait_for

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")

#: What the images set, see ``deploy/Dockerfile``.
_HOME = Path("/opt/dagster/dagster_home")


def interpolated(value: Any, variables: dict[str, str]) -> Any:
    """Return a part of a compose file with variables in the place of ``${NAME}``, ``${NAME:-else}``, ``${NAME:?why}``.

    Raises
    ------
    ValueError
        If one that must be set is not, with the file's own words.
    """
    if isinstance(value, dict):
        return {k: interpolated(v, variables) for k, v in value.items()}
    if isinstance(value, list):
        return [interpolated(v, variables) for v in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        name, operator, text = found.groups()
        if variables.get(name):
            return variables[name]
        if operator == "?":
            raise ValueError(text)
        return text or ""

    return _VARIABLE.sub(replace, value)


class Compose:
    """The services of a file, running.

    Parameters
    ----------
    file : Path
        A compose file.
    directory : Path
        For volumes, logs and what stands for a container's files.
    postgres : Postgres
        Stands for the service ``postgres``.
    environment : dict
        Of every process besides the file's own, such as where meteorology is.
    """

    def __init__(self, file: Path, directory: Path, postgres: Postgres, environment: dict[str, str]) -> None:
        self._base, self.directory = file.parent, directory
        secret = {"DAGSTER_POSTGRES_PASSWORD": postgres.env["DAGSTER_POSTGRES_PASSWORD"]}
        self.services: dict[str, Any] = interpolated(yaml.safe_load(file.read_text()), secret)["services"]
        self._postgres, self._environment = postgres, environment
        self.port, code = free_ports(2)
        self._words = {"0.0.0.0": "127.0.0.1", "3000": str(self.port), "4000": str(code)}
        self._mounts = [mount.split(":") for service in self.services.values() for mount in service["volumes"]]
        files = {target: (self._base / source).resolve() for source, target, *_ in self._mounts if source[0] == "."}
        self._files = {target: self._rewritten(file) for target, file in files.items()}
        self._home = self._make_home()
        self._processes: dict[str, Process] = {}
        self._closing = threading.Event()
        self._watchers: list[threading.Thread] = []
        self.restarts: dict[str, int] = {}

    def __enter__(self) -> Compose:
        try:
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def up(self) -> None:
        """Start every service, each when what it depends on is healthy, and wait until all are."""
        left = [name for name in self.services if name != "postgres"]
        while left:
            name = next(n for n in left if not set(self.services[n].get("depends_on", {})) & set(left))
            for other, condition in self.services[name]["depends_on"].items():
                assert condition["condition"] == "service_healthy"
                self.wait_healthy(other)
            self._start(name)
            left.remove(name)
        for name in self.services:
            self.wait_healthy(name)

    def wait_healthy(self, name: str) -> None:
        """Wait until a service's own check says that it is well."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"

        def well() -> bool:
            done = subprocess.run(
                self._localised(command), env=self._env(name), capture_output=True, timeout=120, check=False
            )
            return done.returncode == 0

        wait_for(f"{name} to be healthy", well, 180, every=0.5)

    def kill(self, name: str) -> None:
        """Kill everything in a service's container, as the kernel does that is out of memory."""
        self._processes[name].kill()

    def stop(self, name: str) -> None:
        """Stop a service as `compose stop` does, for good."""
        self._processes.pop(name).stop(grace=float(self.services[name]["stop_grace_period"].removesuffix("s")))

    def log(self, name: str) -> str:
        """Return what a service has printed."""
        return (self.directory / f"{name}.log").read_text()

    def volume(self, name: str) -> Path:
        """Return the directory of a volume."""
        return self.directory / "volumes" / name

    def cli(self, *arguments: object) -> str:
        """Run ``stilt-dagster`` in the code server's container, as `compose exec code` does."""
        command = [sys.executable, "-m", "stilt_dagster.cli", *map(str, arguments)]
        done = subprocess.run(command, env=self._env("code"), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """End everything."""
        self._closing.set()
        for process in self._processes.values():
            process.stop(grace=20)
        for watcher in self._watchers:
            watcher.join()

    def _start(self, name: str) -> None:
        service = self.services[name]
        command = self._localised(service["command"])
        log, env = self.directory / f"{name}.log", self._env(name)
        where = self._place(name)

        def run() -> Process:
            return Process(command, log, env, cwd=where)

        def watch() -> None:
            while not self._closing.is_set():
                with suppress(KeyError):
                    process = self._processes[name]
                    process.wait()
                    if self._processes.get(name) is process and not self._closing.wait(1):
                        self.restarts[name] = self.restarts.get(name, 0) + 1
                        self._processes[name] = run()
                    continue
                return  # stopped

        assert service["restart"] == "unless-stopped"
        self._processes[name] = run()
        self._watchers.append(threading.Thread(target=watch, daemon=True))
        self._watchers[-1].start()

    def _env(self, name: str) -> dict[str, str]:
        """Return the image's environment, the file's, and what one machine changes in it."""
        own = {k: str(v) for k, v in self.services[name]["environment"].items()}
        env = {
            **self._environment,
            "PATH": os.pathsep.join(
                map(str, [Path(sys.executable).parent, self._postgres.programs, os.environ["PATH"]])
            ),
            "HOME": str(self._place(name)),
            "DAGSTER_HOME": str(self._home),
            "PGPORT": str(self._postgres.port),
            **{k: str(self.volume("store")) if v == "/store" else v for k, v in own.items()},
        }
        return {**env, **{k: v for k, v in self._postgres.env.items() if k in own}}

    def _place(self, name: str) -> Path:
        place = self.directory / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _make_home(self) -> Path:
        """Make the image's DAGSTER_HOME, with what services mount below it: one, since its path is the same in all."""
        home = self.directory / "home"
        home.mkdir()
        for source, target, *_ in self._mounts:
            link = home / Path(target).name
            if Path(target).parent == _HOME and not link.exists():
                place = (self._base / source).resolve() if source.startswith(".") else self.volume(source)
                if not source.startswith("."):
                    place.mkdir(parents=True)
                link.symlink_to(place)
        return home

    def _localised(self, command: list[str]) -> list[str]:
        """Return a command with this machine's ports and files."""
        words = [self._words.get(word, self._files.get(word, word)) for word in command]
        return [word.replace("4000", self._words["4000"]) if "create_connection" in word else word for word in words]

    def _rewritten(self, file: Path) -> str:
        """Return a copy of a file in which services are found on this machine."""
        copy = self.directory / file.name
        text = file.read_text().replace("host: code", "host: 127.0.0.1").replace("4000", self._words["4000"])
        copy.write_text(text)
        return str(copy)
