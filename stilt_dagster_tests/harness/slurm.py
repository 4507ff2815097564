"""A Slurm cluster on loopback: munged, slurmctld and some slurmd, without systemd and accounting."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stilt_dagster_tests.harness.processes import Process, Unavailable, free_ports, wait_for

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")

#: Where Debian has its servers, which is not on every user's PATH.
_SERVERS = "/usr/sbin"

_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is requeued waits as long as credentials live: 5 s, the least that is taken.
AuthInfo=socket={directory}/munge.socket,cred_expire=5
SlurmctldPort={port}
SlurmctldPidFile={directory}/slurmctld.pid
SlurmctldLogFile={directory}/slurmctld.log
StateSaveLocation={directory}/state
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmdLogFile={directory}/slurmd-%n.log
SlurmdSpoolDir={directory}/spool-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={directory}/finished.txt
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
MinJobAge=600
# A node whose slurmd is killed is told dead after this; a crashed controller comes back sooner.
SlurmdTimeout=10
InactiveLimit=0
ReturnToService=2
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP PreemptMode=OFF
"""


class Slurm:
    """A cluster whose nodes are processes of this machine.

    Jobs of its partition ``urgent`` preempt those of ``main``, its default: they get SIGTERM, ten seconds, and a place
    in the queue. Whoever starts it submits as itself.

    Parameters
    ----------
    nodes : int, optional
        Nodes.
    cpus : int, optional
        CPUs of each, however many this machine has.
    memory : int, optional
        Memory of each, MB, however much this machine has.

    Attributes
    ----------
    directory : Path
        Of its configuration, logs and state.

    Raises
    ------
    Unavailable
        If Slurm or munge are not installed, or this is not root.
    """

    def __init__(self, nodes: int = 4, cpus: int = 1, memory: int = 16_000) -> None:
        self._path = os.pathsep.join([os.environ.get("PATH", os.defpath), _SERVERS])
        if missing := [name for name in _PROGRAMS if shutil.which(name, path=self._path) is None]:
            raise Unavailable(f"no {missing[0]}: apt-get install slurm-wlm munge")
        if os.geteuid() != 0:
            raise Unavailable("Slurm's nodes run jobs as their users: tests of it need root")
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.nodes = tuple(f"node{k}" for k in range(nodes))
        ports = free_ports(1 + nodes)
        lines = [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory}"
            for name, port in zip(self.nodes, ports[1:], strict=True)
        ]
        self._configuration = self.directory / "slurm.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(directory=self.directory, port=ports[0], nodes="\n".join(lines))
        )
        self._processes: dict[str, Process] = {}

    def __enter__(self) -> Slurm:
        try:
            self._start_munge()
            self.start("slurmctld")
            for name in self.nodes:
                self.start(name)
            wait_for("Slurm's nodes", self._are_idle, 60, progress=self._states)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to talk to it."""
        return {"SLURM_CONF": str(self._configuration)}

    def start(self, name: str) -> None:
        """Start ``slurmctld``, or the slurmd of a node."""
        command = ["slurmctld", "-D"] if name == "slurmctld" else ["slurmd", "-D", "-N", name]
        if name == "slurmctld":
            (self.directory / "state").mkdir(exist_ok=True)
        else:
            (self.directory / f"spool-{name}").mkdir(exist_ok=True)
        self._start(name, command)

    def kill(self, name: str) -> None:
        """Kill ``slurmctld``, or the slurmd of a node; its jobs go on."""
        self._processes[name].kill()
        self._processes.pop(name).wait()

    def run(self, *command: str) -> str:
        """Run a command of Slurm's, and return what it prints.

        Raises
        ------
        subprocess.CalledProcessError
            If it fails.
        """
        environment = {**os.environ, **self.environment, "PATH": self._path}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, timeout=60
        ).stdout.strip()

    def close(self) -> None:
        """End all jobs and servers, and remove their files."""
        if "slurmctld" in self._processes:
            with contextlib.suppress(subprocess.SubprocessError):
                self.run("scancel", "--user", "root", "--signal", "KILL", "--full")
                self.run("scancel", "--user", "root")
        for name in reversed(list(self._processes)):
            self._processes.pop(name).stop()
        for pid in self._left():  # slurmstepd leaves its slurmd's session, and outlives it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, name: str, command: list[str]) -> None:
        environment = {**self.environment, "PATH": self._path, "HOME": str(self.directory), "LANG": "C.UTF-8"}
        log = self.directory / f"{name}.output"
        self._processes[name] = Process(command, log, env=environment, cwd=self.directory)

    def _start_munge(self) -> None:
        key = self.directory / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        files = [f"--{kind}-file={self.directory}/munge.{kind}" for kind in ("key", "log", "pid", "seed")]
        socket = self.directory / "munge.socket"
        self._start("munged", ["munged", "--foreground", "--force", f"--socket={socket}", "--num-threads=2", *files])
        wait_for("munged", socket.exists)
        self.directory.chmod(0o755)  # made for its owner alone, and munge wants its socket reachable

    def _states(self) -> str:
        for name, process in self._processes.items():
            if not process.alive():
                lines = (self.directory / f"{name}.output").read_text().strip().splitlines()
                raise RuntimeError(f"{name} ended: {lines[-1] if lines else 'it says nothing'}")
        try:
            return self.run("sinfo", "--noheader", "--Node", "--partition", "main", "--format", "%T")
        except subprocess.SubprocessError:
            return ""

    def _are_idle(self) -> bool:
        return self._states().split() == ["idle"] * len(self.nodes)

    def _left(self) -> Iterator[int]:
        """Yield the processes that were started with this cluster's configuration."""
        mark = f"SLURM_CONF={self._configuration}".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(place.name) != os.getpid() and mark in (place / "environ").read_bytes().split(b"\0"):
                    yield int(place.name)
