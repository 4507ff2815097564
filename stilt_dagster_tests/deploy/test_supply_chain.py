"""What is known of the packages that are locked: their vulnerabilities, their licences."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.environments import python_with

LOCK = "pip==24.0 --hash=sha256:" + "0" * 64 + "\nwheel==0.45.0 --hash=sha256:" + "1" * 64 + "\n"


def tool(name: str) -> Path:
    """Return the interpreter of a tool, in the version that the Makefile names."""
    [version] = re.findall(rf"\$\(TOOLS\)/({name}==[\d.]+)$", (ROOT / "Makefile").read_text(), re.M)
    return python_with(version)


# -- vulnerabilities ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A server that answers as OSV does, and knows one vulnerability: of pip."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kind = {"name": "pip", "ecosystem": "PyPI"}
            events = [{"introduced": "0"}, {"fixed": "99"}]
            affected = [{"package": kind, "ranges": [{"type": "ECOSYSTEM", "events": events}], "versions": []}]
            known = {"id": "PYSEC-2023-228", "aliases": ["CVE-2023-5752"], "summary": "x", "affected": affected}
            answer = json.dumps({"vulns": [known]} if asked["package"]["name"] == "pip" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    server.shutdown()
    server.server_close()


Audit = Callable[..., tuple[int, str]]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    def run(url: str, accepted: str = "", *options: str) -> tuple[int, str]:
        (tmp_path / "a.lock").write_text(LOCK)
        (tmp_path / "audit.toml").write_text(accepted)
        command = [tool("pip-audit"), ROOT / ".ci/audit.py", "--url", url, "--accepted", tmp_path / "audit.toml"]
        done = subprocess.run([*command, *options, tmp_path / "a.lock"], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return run


def acceptance(identifier: str, days: int) -> str:
    until = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)
    return f'[[accepted]]\nid = "{identifier}"\nreason = "not reached from here"\nuntil = {until}\n'


def test_a_known_vulnerability_fails_unless_it_is_accepted_for_now(audit: Audit, database: str) -> None:
    code, said = audit(database)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error: a.lock: pip 24.0 has PYSEC-2023-228: update it, or accept it in ")
    for name in ("PYSEC-2023-228", "CVE-2023-5752"):
        assert audit(database, acceptance(name, 1)) == (0, "")
    code, said = audit(database, acceptance("PYSEC-2023-228", -1))
    assert code == 1
    assert "PYSEC-2023-228 was accepted until" in said
    code, said = audit(database, acceptance("CVE-2023-5752", 1) + acceptance("GHSA-gone", 1))
    assert (code, "GHSA-gone is not found any more: remove it" in said) == (1, True)
    code, said = audit(database, '[[accepted]]\nid = "CVE-2023-5752"\n')
    assert (code, "an acceptance has an id, a reason and a day" in said) == (1, True)


def test_a_database_that_cannot_be_reached_is_no_green(audit: Audit) -> None:
    code, said = audit("http://127.0.0.1:9/v1/query")
    assert code == 0
    assert "NOT AUDITED: a.lock: the database of vulnerabilities cannot be reached" in said
    assert audit("http://127.0.0.1:9/v1/query", "", "--strict")[0] == 1
    assert audit("http://127.0.0.1:9/v1/query", acceptance("PYSEC-2023-228", -1))[0] == 1, "what is over is over"


def test_what_the_workflow_runs() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())["jobs"]["audit"]["steps"]
    assert "make audit STRICT=1" in steps[-1]["run"]


# -- bills of materials ------------------------------------------------------------------------------------------------


def test_the_wheels_bill_names_every_locked_package_with_its_licence(tmp_path: Path) -> None:
    """The script checks it against CycloneDX's schema before it is written."""
    lock = ROOT / "deploy/requirements-worker.lock"
    command = [tool("cyclonedx-bom"), ROOT / ".ci/sbom.py", sys.executable]
    done = subprocess.run(
        [*command, lock, tmp_path / "bill.json", "--without", "dumb-init"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "bill.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "stilt_dagster")
    found = {re.sub(r"[-_.]+", "-", c["name"]).lower(): c for c in bill["components"]}
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.M))
    assert found.keys() == locked.keys() - {"dumb-init"}
    assert all(found[name]["version"] == locked[name] and found[name]["licenses"] for name in found)
    needs = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    assert any(ref.startswith("obstore==") for ref in needs[bill["metadata"]["component"]["bom-ref"]])
    done = subprocess.run([*command, lock, tmp_path / "no.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has dumb-init" in done.stderr
    assert not (tmp_path / "no.json").exists()
