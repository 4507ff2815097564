"""Alerts reach a real web server, say what to do, and carry no secret anywhere."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from stilt_dagster.automation.alerts import alert
from stilt_dagster.automation.notify import notify
from stilt_dagster_tests.assets.test_runs import Bench


class Hook:
    """A webhook that keeps what it is sent."""

    def __init__(self) -> None:
        received = self.received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(500 if "broken" in self.path else 200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_scene_that_stops_is_told_to_a_webhook(
    tmp_path: Path,
    meteorology: Path,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv(
        "STILT_ALERTS", f"json://user:s3cret@{hook.place}/hook json://{hook.place}/broken/t0ken nonsense"
    )
    monkeypatch.setenv("STILT_UI_URL", "https://stilt.example.org/")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        bench = Bench(tmp_path, meteorology, instance)
        scene = bench.scene(time="2023-07-16T09:20:00Z")
        assert not bench.run("prepare", scene).success
        (run,) = instance.get_runs()
        failure = next(
            e.dagster_event for e in instance.all_logs(run.run_id) if e.dagster_event and e.dagster_event.is_run_failure
        )
        context = dg.build_run_status_sensor_context("alert", failure, instance, run).for_run_failure()
        with caplog.at_level(logging.DEBUG):
            alert(context)
    told = hook.received[0]
    assert told["title"] == f"STILT scene {scene.id} stopped at prepare"
    assert "no meteorology" in told["message"], "the one line of the step, not Dagster's of the run"
    assert told["message"].endswith(f"https://stilt.example.org/runs/{run.run_id}")
    assert f"ALERT: scene {scene.id} stopped at prepare" in caplog.text
    written = caplog.text + capfd.readouterr().err
    assert "1 of 3 services of STILT_ALERTS are none Apprise knows; 1 of 3 services" in written
    for secret in ("s3cret", "t0ken"):
        assert secret not in written


def test_nobody_is_told_where_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILT_ALERTS", raising=False)
    assert notify("a", "b") == ""
