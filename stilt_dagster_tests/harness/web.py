"""A real web server of files on loopback, with ranges, and switches for what servers do wrong."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stilt_dagster.resources import gcs
from stilt_dagster.resources.remote import files, retries


def ask_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process try again at once, for two seconds at most, and keep nothing in a cache."""
    for module in (retries, gcs):
        monkeypatch.setattr(module, "RETRY", module.RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(2.0))
    monkeypatch.setenv("STILT_CACHE_GB", "0")
    files.shared_cache.cache_clear()


@dataclass(frozen=True)
class Request:
    """A request that was answered: what was asked, the status, and the bytes of the answer."""

    method: str
    path: str
    range: str
    status: int
    sent: int


@dataclass
class Switches:
    """What the server does wrong; counts are of requests, and go down with each.

    Attributes
    ----------
    refuse : list of int
        Statuses of the next requests.
    retry_after : str
        Said with a refusal.
    cut : int
        Answers that break off midway.
    change_after : int or None
        Requests after which the file is another one.
    ignores_ranges : bool
        Answer with the whole file.
    ignores_matches : bool
        Take no notice of ``If-Match``.
    redirect : str
        Where to redirect to, the path added.
    before : callable
        Called with each request's number, before it is answered.
    """

    refuse: list[int] = field(default_factory=list)
    retry_after: str = ""
    cut: int = 0
    change_after: int | None = None
    ignores_ranges: bool = False
    ignores_matches: bool = False
    redirect: str = ""
    before: Callable[[int], None] = lambda number: None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that break off: tests look at what these say."""


class WebServer:
    """A server of files held in memory, on an address of loopback.

    Parameters
    ----------
    files : dict of str to bytes, optional
        By path.
    certificate : tuple of Path, optional
        Certificate and key to speak https:// with.

    Attributes
    ----------
    files : dict of str to bytes
        By path.
    requests : list of Request
        Those that were answered.
    """

    def __init__(self, files: dict[str, bytes] | None = None, certificate: tuple[Path, Path] | None = None) -> None:
        self.files = files or {}
        self.requests: list[Request] = []
        self.wrong = Switches()
        self.version = 1
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http{'s' if certificate else ''}://{self.host}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def sent(self) -> int:
        """Bytes of all answers."""
        return sum(r.sent for r in self.requests)

    def _handler(web) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def answer(self, status: int, data: bytes = b"", cut: bool = False, **headers: str) -> None:
                with web._lock:
                    web.requests.append(
                        Request(self.command, self.path, self.headers.get("Range", ""), status, len(data))
                    )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if cut:
                    data, self.close_connection = data[: len(data) // 2], True
                self.wfile.write(data)

            def do_GET(self) -> None:
                wrong = web.wrong
                wrong.before(len(web.requests))
                with web._lock:
                    status = wrong.refuse.pop(0) if wrong.refuse else 0
                    cut = wrong.cut > 0 and not status
                    wrong.cut -= cut
                    if wrong.change_after is not None:
                        wrong.change_after -= 1
                        if wrong.change_after < 0:
                            web.version, wrong.change_after = web.version + 1, None
                if status:
                    more = {"Retry_After": wrong.retry_after} if wrong.retry_after else {}
                    return self.answer(status, **more)
                if wrong.redirect:
                    return self.answer(302, Location=wrong.redirect + self.path)
                if self.path.endswith("/"):
                    return self.index()
                data = web.files.get(self.path)
                if data is None:
                    return self.answer(404)
                tag = f'"{web.version}"'
                if not wrong.ignores_matches and self.headers.get("If-Match", tag) != tag:
                    return self.answer(412)
                asked = self.headers.get("Range")
                if not asked or wrong.ignores_ranges:
                    return self.answer(200, data, cut, ETag=tag)
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, stop = int(first), min(int(last) + 1, len(data))
                if start >= len(data):
                    return self.answer(416, ETag=tag, Content_Range=f"bytes */{len(data)}")
                part = data[start:stop]
                return self.answer(206, part, cut, ETag=tag, Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")

            def index(self) -> None:
                below = sorted({p[len(self.path) :].partition("/") for p in web.files if p.startswith(self.path)})
                if not below:
                    return self.answer(404)
                links = "".join(f'<a href="{escape(a + b)}">{escape(a)}</a>\n' for a, b, _ in below)
                page = f'<html><a href="../">../</a><a href="?C=N;O=D">Name</a>{links}</html>'
                return self.answer(200, page.encode(), Content_Type="text/html; charset=utf-8")

        return Handler
