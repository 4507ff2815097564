"""The database's certificate: what the chart's settings make of a connection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.deploy.golden import terraform_values
from stilt_dagster_tests.harness.helm import CHART, render
from stilt_dagster_tests.harness.pki import Authority
from stilt_dagster_tests.harness.postgres import Postgres

#: Asks the instance something the database has to answer.
ASK = "import dagster as dg; print(dg.DagsterInstance.get().get_runs_count())"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def database(authority: Authority) -> Iterator[Postgres]:
    with Postgres(authority=authority) as server:
        yield server


@pytest.fixture
def ask(project: Project, database: Postgres) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Ask with the instance and the settings of the chart, given some authority's certificate."""
    instance = (CHART / "dagster.yaml").read_text()
    (project.path / "home" / "dagster.yaml").write_text(instance)
    objects = render(terraform_values("dev"))
    [settings] = [o["data"] for o in objects if o["metadata"]["name"] == "stilt-settings"]

    def run(ca: Path, **changes: str) -> subprocess.CompletedProcess[str]:
        env = {**project.env, **settings, **database.env, "PGSSLROOTCERT": str(ca), **changes}
        return subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=False)

    return run


def test_a_database_that_is_who_it_says(ask: Callable, authority: Authority) -> None:
    done = ask(authority.directory / "ca.crt")
    assert done.stdout.strip() == "0", done.stderr[-1000:]


def test_a_database_while_its_authority_is_replaced(ask: Callable, authority: Authority, tmp_path: Path) -> None:
    both = tmp_path / "ca.pem"
    other = Authority(tmp_path / "other").directory / "ca.crt"
    both.write_text(other.read_text() + "\n" + (authority.directory / "ca.crt").read_text())
    assert ask(both).stdout.strip() == "0"


def test_a_database_that_another_authority_vouches_for_is_not_spoken_to(ask: Callable, tmp_path: Path) -> None:
    done = ask(Authority(tmp_path / "other").directory / "ca.crt")
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr


def test_a_certificate_that_is_not_mounted_is_an_error_and_no_open_connection(ask: Callable, tmp_path: Path) -> None:
    done = ask(tmp_path / "none.pem")
    assert done.returncode != 0
    assert "none.pem" in done.stderr


def test_nothing_is_said_in_the_clear(ask: Callable, authority: Authority) -> None:
    """The server refuses it, as Cloud SQL does with ENCRYPTED_ONLY."""
    done = ask(authority.directory / "ca.crt", PGSSLMODE="disable")
    assert done.returncode != 0
    assert "no encryption" in done.stderr
