"""``make serve``: one server under a real systemd of a user, what is killed there, a reboot, backup and restore."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from stilt_dagster.kubernetes.ready import ask
from stilt_dagster.operations.code_server import Address, lost_runs
from stilt_dagster_tests.conftest import ROOT, SCENE, Project, deep_merge
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.processes import free_ports, wait_for
from stilt_dagster_tests.harness.user_manager import UserManager
from stilt_dagster_tests.harness.webserver import Webserver

SERVE = ROOT / "deploy" / "server" / "serve"
VALLEY = "valley-20230715t0920"
UNITS = ("stilt.target", "stilt-code.service", "stilt-daemon.service", "stilt-web.service")


def serve(*arguments: object, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script where no systemd of a user answers."""
    whole = {"PATH": os.environ["PATH"], "HOME": str(home), **env}
    command = [SERVE, *map(str, arguments)]
    return subprocess.run(command, env=whole, cwd=home, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "what should be done"),
        (("start",), "no systemd of user"),
        (("backup",), "where to?"),
        (("backup", "."), "is there already"),
        (("backup", "new"), "has not run 'make serve'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = serve(*arguments, home=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not list(tmp_path.iterdir()), "nothing is left half done"


# -- backup and restore ---------------------------------------------------------------------------------------------


def back_up(home: Path, settings: dict[str, str], target: Path) -> Path:
    file = home / ".config" / "stilt-dagster" / "server.env"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    done = serve("backup", target, home=home, PATH=settings.get("PATH", os.environ["PATH"]))
    assert done.returncode == 0, done.stderr
    assert target.stat().st_mode & 0o077 == 0, "it holds secrets"
    return target


def materialized(home: Path) -> set[str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_materialized_partitions(dg.AssetKey("jacobian"))


def test_an_instance_with_sqlite_comes_back_from_its_backup(finished: Project, tmp_path: Path) -> None:
    settings = {"DAGSTER_HOME": finished.env["DAGSTER_HOME"], "STILT_STORE": str(finished.store)}
    backup = back_up(tmp_path / "user", settings, tmp_path / "backup")
    second = tmp_path / "second"
    shutil.copytree(backup / "instance", second)
    shutil.copy(backup / "dagster.yaml", second)
    assert materialized(second) == materialized(Path(settings["DAGSTER_HOME"])) == {VALLEY}


def test_an_instance_with_postgres_comes_back_from_its_backup(
    finished: Project, tmp_path: Path, meteorology: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "project", meteorology)
    shutil.copytree(finished.store, project.store)
    home = Path(project.env["DAGSTER_HOME"])
    shutil.copy(ROOT / "deploy" / "server" / "dagster.yaml", home)
    with Postgres() as postgres:
        project.env |= postgres.env
        project.cli("scene", "add", project.store / "scenes" / f"{VALLEY}.json")
        project.cli("scene", "run", VALLEY)
        path = os.pathsep.join([str(postgres.programs), os.environ["PATH"]])
        settings = {"DAGSTER_HOME": str(home), **postgres.env}
        backup = back_up(tmp_path / "user", {**settings, "PATH": path}, tmp_path / "backup")
        project.cli("scene", "add", project.scene_file(name="later"))  # what the backup does not know
        env = {**os.environ, "PGPASSWORD": postgres.env["DAGSTER_POSTGRES_PASSWORD"]}
        place = ["--host=127.0.0.1", f"--port={postgres.port}", f"--username={postgres.env['DAGSTER_POSTGRES_USER']}"]
        command = [
            postgres.programs / "pg_restore",
            *place,
            "--clean",
            "--if-exists",
            f"--dbname={postgres.database}",
            backup / "dagster.dump",
        ]
        subprocess.run(command, env=env, check=True, timeout=120)
        second = tmp_path / "second"
        second.mkdir()
        shutil.copy(backup / "dagster.yaml", second)
        for name, value in postgres.env.items():
            monkeypatch.setenv(name, value)
        assert materialized(second) == {VALLEY}
        assert postgres.execute("select partition from dynamic_partitions") == [(VALLEY,)]


# -- under systemd --------------------------------------------------------------------------------------------------


@pytest.fixture
def manager() -> Iterator[UserManager]:
    # Not below pytest's directory: paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="stilt-user-") as directory, UserManager(Path(directory)) as found:
        yield found


class Server:
    """What ``make serve`` made of a user's account."""

    def __init__(self, manager: UserManager) -> None:
        self.manager = manager
        self.web = Webserver(free_ports(1)[0])
        self.home = manager.home / "stilt-server"

    def serve(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.manager.run(SERVE, *map(str, arguments), timeout=300, PORT=str(self.web.port))

    def refusal(self, *arguments: str) -> str:
        """Run what must be refused, and return its one line."""
        done = self.serve(*arguments)
        [line] = done.stderr.strip().splitlines()
        assert (done.returncode, line[:7]) == (2, "error: ")
        return line

    def cli(self, *arguments: object) -> str:
        env = {
            **os.environ,
            "STILT_STORE": str(self.home / "store"),
            "DAGSTER_HOME": str(self.home / "instance"),
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, "-m", "stilt_dagster.cli", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout

    def status(self) -> dict[str, Any]:
        return json.loads(self.cli("scene", "status", VALLEY, "--json"))

    def simulating(self, but: Sequence[str] = ()) -> str:
        """Wait for a run of trajectories, other than some, to be under way."""

        def find() -> str | None:
            try:
                runs = [r for r in self.web.runs(statuses=["STARTED"]) if r["runId"] not in but]
            except OSError:  # it is not there yet
                return None
            return next((r["runId"] for r in runs if "trajectories" in r["assets"]), None)

        return wait_for("trajectories to be simulated", find, 300, every=0.5)


@pytest.mark.slow
def test_a_server_outlives_kills_and_a_power_cut(manager: UserManager, meteorology: Path, tmp_path: Path) -> None:
    server = Server(manager)
    with socket.create_server(("127.0.0.1", server.web.port)):
        assert "is taken" in server.refusal("start")
    done = server.serve("start")
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{server.web.port}" in done.stdout
    installed = manager.home / ".config" / "systemd" / "user"
    verified = manager.run("systemd-analyze", "verify", "--user", *[str(installed / name) for name in UNITS])
    assert (verified.returncode, verified.stderr) == (0, "")
    settings = manager.home / ".config" / "stilt-dagster" / "server.env"
    assert settings.stat().st_mode & 0o077 == 0
    settings.chmod(0o640)
    assert "chmod 600 it" in server.refusal("start")
    settings.chmod(0o600)

    for unit in ("stilt-daemon", "stilt-code"):
        manager.systemctl("kill", "--signal=KILL", f"{unit}.service")
        wait_for(f"{unit} to be started again", lambda u=unit: manager.property_of(u, "NRestarts") == "1", 60)

    scene = deep_merge(SCENE, {"meteorology": {"directory": str(meteorology)}})
    (tmp_path / "scene.yaml").write_text(
        yaml.safe_dump(deep_merge(scene, {"transport": {"n_hours": -3, "numpar": 300}}))
    )
    server.cli("scene", "add", tmp_path / "scene.yaml")
    wait_for("the code server", lambda: not ask(f"http://127.0.0.1:{server.web.port}"), 120)
    server.web.backfill([VALLEY])
    runs = [server.simulating()]
    assert server.serve("backup", tmp_path / "backup").returncode == 0, "while a run writes"

    manager.cut_power()
    manager.boot()
    runs.append(server.simulating(but=runs))
    assert server.serve("stop").returncode == 0
    assert server.serve("start").returncode == 0
    runs.append(server.simulating(but=runs))
    wait_for("the scene", lambda: server.status()["assets"]["jacobian"] == {"state": "ready"}, 300, every=2)
    found = server.status()
    assert (found["ok"], found["failed"], found["pending"]) == (9, 0, 0)
    assert [server.web.run(run)["status"] for run in runs] == ["FAILURE", "FAILURE", "SUCCESS"]
    assert server.serve("status").returncode == 0

    assert server.serve("stop").returncode == 0
    states = {manager.property_of(name, "ActiveState") for name in UNITS}
    assert states == {"inactive"}
    assert {manager.property_of(name, "UnitFileState") for name in UNITS} == {"disabled"}
    restored = tmp_path / "backup" / "instance"
    shutil.copy(tmp_path / "backup" / "dagster.yaml", restored)
    with dg.DagsterInstance.from_config(str(restored)) as instance:
        listening = manager.env["XDG_RUNTIME_DIR"] + "/stilt-dagster/code.sock"
        assert lost_runs(instance, Address(path=listening)) == runs[:1], "the run of then goes on from the backup, too"
