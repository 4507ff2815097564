"""Which runs a code server finds lost when it starts."""

from __future__ import annotations

import json
import socket

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import GRPC_INFO_TAG
from stilt_dagster.operations.code_server import Address, lost_runs
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.harness.processes import free_ports


@dg.job
def nothing() -> None:
    """Does nothing."""


def test_lost_are_runs_under_way_that_were_launched_there() -> None:
    [port] = free_ports(1)
    started, canceling = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING
    with dg.DagsterInstance.ephemeral() as instance:

        def run(status: dg.DagsterRunStatus, **launched: object) -> str:
            tags = {GRPC_INFO_TAG: json.dumps(launched)} if launched else {}
            return instance.create_run_for_job(nothing, status=status, tags=tags).run_id

        lost = {run(started, host="code", port=port), run(canceling, host="127.0.0.1", port=port)}
        on_socket = run(started, host="localhost", socket="/run/user/1/code.sock")
        run(started)  # of a terminal
        run(started, host="code", port=port + 1)
        run(dg.DagsterRunStatus.SUCCESS, host="code", port=port)
        run(dg.DagsterRunStatus.NOT_STARTED, host="code", port=port)
        assert set(lost_runs(instance, Address(port=port))) == lost
        assert lost_runs(instance, Address(path="/run/user/1/code.sock")) == [on_socket]


def test_a_place_that_is_taken_is_an_error(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"port {port} is taken" in project.error("code-server", "--port", port)
    assert "--port or --socket" in project.error("code-server")
