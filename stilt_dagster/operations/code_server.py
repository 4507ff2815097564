"""The process that serves the definitions on one server, and whose children the runs are."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.kubernetes.dagster_internals import GRPC_INFO_TAG
from stilt_dagster.science.errors import UserError

#: Said by a run whose process is gone.
LOST = "The run's process ended with the code server it ran in; what it finished is kept."

#: Seconds within which the daemon notices a code server that is there again: it looks every ten.
_NOTICED = 20

_UNDER_WAY = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])


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


def lost_runs(instance: dg.DagsterInstance, address: Address) -> list[str]:
    """Return the runs whose processes ended with the code server before this one.

    Dagster's own launcher does not look after the runs of a code server: they would stay *Started* after a crash or a
    reboot, and keep the places of the queue.

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
    return [run.run_id for run in instance.get_runs(_UNDER_WAY) if address.launched(run)]


def end_when_served(open_instance: Callable[[], dg.DagsterInstance], address: Address, runs: list[str]) -> None:
    """Leave a process behind that records runs as over, once the server that this process becomes is there.

    Not before, since the daemon retries a run at once, or, where it does not know the code server to be there, never.
    Failed for no reason of their own the runs are retried as ``run_retries`` of the instance says.

    Parameters
    ----------
    open_instance : callable
        Returns where they are recorded.
    address : Address
        Where the server will listen.
    runs : list of str
        Their ids.
    """
    server = os.getpid()
    if child := os.fork():
        os.waitpid(child, 0)
        return
    if os.fork():  # so that it is nobody's child, and somebody reaps it
        os._exit(0)
    try:
        while not address.is_taken():
            time.sleep(0.5)
            os.kill(server, 0)
        time.sleep(_NOTICED)
        with open_instance() as instance:
            _end(instance, runs)
    except ProcessLookupError:
        pass  # the server could not start: the next one finds the same runs
    except Exception as error:
        print(f"error: runs that are lost cannot be recorded: {error}", file=sys.stderr)
    finally:
        os._exit(0)


def _end(instance: dg.DagsterInstance, runs: list[str]) -> None:
    for run in instance.get_runs(_UNDER_WAY):
        if run.run_id in runs:
            if run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, LOST)
            else:
                instance.report_run_failed(run, LOST)
