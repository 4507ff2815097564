"""Ready: a webserver that has loaded its code locations, not one that only answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from stilt_dagster.kubernetes.ready import main, missing
from stilt_dagster_tests.harness.processes import free_ports

LOADED = {"name": "here", "loadStatus": "LOADED", "locationOrLoadError": {"__typename": "RepositoryLocation"}}
LOADING = {"name": "there", "loadStatus": "LOADING", "locationOrLoadError": None}
#: Dagster calls loaded what has failed to load, too.
UNREACHABLE = {
    "name": "there",
    "loadStatus": "LOADED",
    "locationOrLoadError": {"__typename": "PythonError", "message": "Could not reach\n  user code server"},
}


def workspace(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"__typename": "Workspace", "locationEntries": list(entries)}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (workspace(LOADED), ""),
        (workspace(LOADED, LOADED), ""),
        (workspace(), "the workspace names no code location"),
        (workspace(LOADED, LOADING), "code location there is being loaded"),
        (
            workspace(LOADED, {**LOADED, "name": "there", "loadStatus": "LOADING"}),
            "code location there is being loaded",
        ),
        (workspace(LOADED, UNREACHABLE), "code location there: Could not reach user code server"),
        ({"__typename": "PythonError", "message": "no database"}, "no workspace: no database"),
        ({"__typename": "Other"}, "no workspace: Other"),
    ],
)
def test_what_is_missing(answer: dict[str, Any], says: str) -> None:
    assert missing(answer) == says


@pytest.fixture
def webserver() -> Iterator[HTTPServer]:
    """Answers with its attribute ``answer``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/graphql"
            assert "workspaceOrError" in self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(self.server.answer).encode())  # type: ignore[attr-defined]

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_probe_says_in_one_line_what_it_waits_for(
    webserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(webserver.server_port)
    webserver.answer = {"data": {"workspaceOrError": workspace(LOADED)}}  # type: ignore[attr-defined]
    assert (main(["--port", port]), capsys.readouterr().err) == (0, "")
    webserver.answer = {"data": {"workspaceOrError": workspace(UNREACHABLE)}}  # type: ignore[attr-defined]
    assert main(["--port", port]) == 1
    assert capsys.readouterr().err == "code location there: Could not reach user code server\n"
    webserver.answer = {"errors": [{"message": "broken"}]}  # type: ignore[attr-defined]
    assert main(["--port", port]) == 1
    assert "broken" in capsys.readouterr().err
    [nobody] = free_ports(1)
    assert main(["--port", str(nobody)]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_the_probe_loads_nothing_large() -> None:
    """It is started every few seconds: the standard library is enough for it."""
    code = "import sys, stilt_dagster.kubernetes.ready; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"dagster", "numpy", "yaml"} & set(done.stdout.split())
