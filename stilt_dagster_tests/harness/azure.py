"""An object store that speaks Azure's protocol on loopback: Azurite, from npm."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from email.utils import formatdate
from pathlib import Path

import pytest

from stilt_dagster_tests.harness.environments import installing
from stilt_dagster_tests.harness.pki import Authority
from stilt_dagster_tests.harness.processes import Process, Unavailable, free_ports, wait_for

_AZURITE = "azurite@3.35.0"
_HOME = Path("~/.cache/stilt-dagster-tools") / _AZURITE.replace("@", "-")

#: The account of every emulator, as Microsoft documents it.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def _program() -> Path:
    """Return Azurite's program, installed the first time."""
    node, npm, home = shutil.which("node"), shutil.which("npm"), _HOME.expanduser()
    if node is None or npm is None:
        raise Unavailable("Azurite needs node and npm")
    program = home / "node_modules" / ".bin" / "azurite-blob"
    with installing(home):
        if not program.exists():
            home.mkdir(exist_ok=True)
            command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), _AZURITE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise Unavailable(f"{_AZURITE} cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return program


class AzureServer:
    """Azurite, with the account that every emulator of Azure's storage has.

    Parameters
    ----------
    authority : Authority, optional
        Who signs its certificate: it then speaks https://, and takes tokens as well as the account's key.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        [port] = free_ports(1)
        self.url = f"http{'s' if authority else ''}://127.0.0.1:{port}"
        self._port = port
        self._trusted = ssl.create_default_context(cafile=authority.directory / "ca.crt") if authority else None
        cert, key = authority.issue("azurite", "server") if authority else ("", "")
        self._secure = ("--oauth", "basic", "--cert", str(cert), "--key", str(key)) if authority else ()

    def __enter__(self) -> AzureServer:
        self._directory = tempfile.TemporaryDirectory(prefix="azure-")
        options = ("--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--location", self._directory.name)
        quiet = ("--silent", "--skipApiVersionCheck", "--disableTelemetry")
        self._process = Process([str(_program()), *options, *quiet, *self._secure], Path(self._directory.name) / "log")
        wait_for("Azurite", self._answers, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._directory.cleanup()

    def make_container(self, name: str) -> None:
        """Make a container; its clients here make none."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        said = "".join(f"{k}:{v}\n" for k, v in headers.items())
        text = "PUT" + "\n" * 12 + f"{said}/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), text.encode(), "sha256")).decode()
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{signature}"
        url = f"{self.url}/{_ACCOUNT}/{name}?restype=container"
        request = urllib.request.Request(url, headers=headers, method="PUT")
        urllib.request.urlopen(request, timeout=30, context=self._trusted).close()

    @property
    def account(self) -> dict[str, str]:
        """What a process needs to find its account, without a key."""
        return {"AZURE_STORAGE_ENDPOINT": f"{self.url}/{_ACCOUNT}", "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT}

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have this process's clients of Azure talk to an emulator."""
    from stilt_dagster.resources.remote import buckets

    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", url)
    buckets._client.cache_clear()
    buckets._KNOWN.clear()
