"""An object store that speaks S3 on loopback: moto's server."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from stilt_dagster_tests.harness.environments import python_with
from stilt_dagster_tests.harness.processes import Process, free_ports, wait_for

_MOTO = "moto[s3,server]==5.2.5"


class S3Server:
    """A server whose buckets and objects anyone may read and write.

    Attributes
    ----------
    url : str
        What ``AWS_ENDPOINT_URL`` is to be.
    """

    def __init__(self) -> None:
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._command = [str(python_with(_MOTO)), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    def __enter__(self) -> S3Server:
        self._directory = tempfile.TemporaryDirectory(prefix="s3-")
        self._process = Process(self._command, Path(self._directory.name) / "log")
        wait_for("the S3 server", self._answers, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._directory.cleanup()

    def put(self, name: str, data: bytes = b"") -> None:
        """Make an object, ``bucket/key``, or a bucket."""
        # Without the first, the server takes it for a form.
        headers = {"Content-Type": "application/octet-stream", "x-amz-acl": "public-read"}
        request = urllib.request.Request(f"{self.url}/{name}", data, headers, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to talk to it."""
        return environment(self.url)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).close()
        except (OSError, urllib.error.URLError):
            return False
        return True


def environment(url: str) -> dict[str, str]:
    """Return what a process needs to talk to a server, with some key."""
    return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "some", "AWS_SECRET_ACCESS_KEY": "key"}


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have this process's clients of S3 talk to a server, with some key."""
    from stilt_dagster.resources.remote import buckets

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    buckets._client.cache_clear()
    buckets._KNOWN.clear()
