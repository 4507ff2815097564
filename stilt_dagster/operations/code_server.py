"""The process that serves the definitions on one server, and whose children the runs are."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import GRPC_INFO_TAG
from stilt_dagster.science.errors import UserError

#: Said by a run whose process is gone.
LOST = "The run's process ended with the code server it ran in; what it finished is kept."


@dataclass(frozen=True)
class Address:
    """Where a code server listens.

    Attributes
    ----------
    host : str
        Name or address of an interface.
    port : int
        Of TCP; 0 with a socket.
    path : str
        Of a Unix socket; empty with a port.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""

    @property
    def command(self) -> list[str]:
        """The command that serves the definitions there."""
        place = ["--socket", self.path] if self.path else ["--host", self.host, "--port", str(self.port)]
        served = ["--module-name", "stilt_dagster.definitions", "--location-name", "stilt_dagster"]
        return [sys.executable, "-m", "dagster", "code-server", "start", *place, *served]

    def __str__(self) -> str:
        return self.path or f"port {self.port}"

    def is_taken(self) -> bool:
        """Return whether a server listens there already."""
        if self.path:
            family, place = socket.AF_UNIX, self.path
        else:
            family, place = socket.AF_INET, ("127.0.0.1", self.port)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            return probe.connect_ex(place) == 0

    def launched(self, run: dg.DagsterRun) -> bool:
        """Return whether a run was launched through the code server there."""
        try:
            told = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        except ValueError:
            return False
        return told.get("socket") == self.path if self.path else told.get("port") == self.port


def end_lost_runs(instance: dg.DagsterInstance, address: Address) -> list[str]:
    """Record that runs are over whose processes ended with the code server before this one.

    Dagster's own launcher does not look after the runs of a code server: they would stay *Started* after a crash or a
    reboot, and keep the places of the queue. Failed for no reason of their own they are retried, as ``run_retries``
    of the instance says.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where runs are recorded.
    address : Address
        Where the code server will listen. It must not be started yet.

    Returns
    -------
    list of str
        Their ids.

    Raises
    ------
    UserError
        If a server listens there, whose runs are not lost.
    """
    if address.is_taken():
        raise UserError(f"{address} is taken: stop the code server that listens there, or choose another place")
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    lost = [run for run in instance.get_runs(started) if address.launched(run)]
    for run in lost:
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, LOST)
        else:
            instance.report_run_failed(run, LOST)
    return [run.run_id for run in lost]
