"""The part of a kubelet's own API that the API server asks for a pod's log."""

from __future__ import annotations

import collections
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from stilt_dagster_tests.harness.pki import Authority


class KubeletApi:
    """Serves ``/containerLogs/NAMESPACE/POD/CONTAINER`` on loopback, with a certificate of its own.

    Parameters
    ----------
    directory : Path
        Where its key is made.
    log_file : callable
        Gives the file of a pod's name and namespace.
    runs : callable
        Tells whether the pod of a name and namespace may write more.
    """

    def __init__(self, directory: Path, log_file: Callable[[str, str], Path], runs: Callable[[str, str], bool]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                options = {key: values[0] for key, values in parse_qs(parts.query).items()}
                match parts.path.split("/"):
                    case ["", "containerLogs", namespace, pod, _] if log_file(pod, namespace).exists():
                        self.send_response(200)
                        self.send_header("Content-Type", "text/plain")
                        self.end_headers()
                        more = (lambda: runs(pod, namespace)) if options.get("follow") == "true" else lambda: False
                        tail = int(options["tailLines"]) if "tailLines" in options else None
                        _copy(log_file(pod, namespace), self.wfile.write, tail, more)
                    case _:
                        self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay silent."""

        authority = Authority(directory / "pki")
        certificate, key = authority.issue("kubelet", "kubelet")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Serve, in a thread."""
        threading.Thread(target=self._server.serve_forever, name="kubelet-api", daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


def _copy(path: Path, write: Callable[[bytes], object], tail: int | None, more: Callable[[], bool]) -> None:
    """Write a log out, its last lines only if so asked, and go on while there may come more."""
    with path.open("rb") as file:
        if tail is not None:
            write(b"".join(collections.deque(file, maxlen=tail)))
        while True:
            last = not more()
            write(file.read())
            if last:
                return
            time.sleep(0.2)
