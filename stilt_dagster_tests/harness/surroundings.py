"""What a deployment stands on: a cloud's bucket and database, or nothing but the cluster itself."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kubernetes import client

from stilt_dagster_tests.conftest import ROOT, deep_merge
from stilt_dagster_tests.harness import s3
from stilt_dagster_tests.harness.gcs import GcsServer
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.processes import free_ports

NAMESPACE, BUCKET = "stilt", "stilt-test"
IMAGE = f"registry.test/stilt@sha256:{'0' * 64}"

Values = dict[str, Any]


class Surroundings(ABC):
    """Servers, what the chart is told of them, and a look into the store."""

    #: What the node can pull, and labels it has.
    images: frozenset[str]
    labels: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def start(self, stack: ExitStack, directory: Path) -> None:
        """Start servers, to be ended with *stack*."""

    @abstractmethod
    def values(self) -> tuple[Values | Path, ...]:
        """Return values of the chart, later ones win."""

    @abstractmethod
    def prepare(self, core: client.CoreV1Api) -> None:
        """Make what has to be in the namespace, or the cluster, beforehand."""

    @abstractmethod
    def operator(self, objects: list[Values]) -> dict[str, str]:
        """Return variables of a command line beside the cluster, whose manifests are given."""

    @abstractmethod
    def objects(self, prefix: str) -> dict[str, str]:
        """Return the store's files below a prefix, and the state of each."""

    @abstractmethod
    def fetch(self, name: str, path: Path) -> Path:
        """Copy a file of the store."""

    def path(self) -> str:
        """Return where pods find programs."""
        return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


class Google(Surroundings):
    """A bucket of Google's and a Postgres beside the cluster, with a Secret that is there before the chart."""

    images = frozenset({IMAGE})
    labels = MappingProxyType({"cloud.google.com/gke-spot": "true"})

    def start(self, stack: ExitStack, directory: Path) -> None:
        """Start both."""
        self.gcs = stack.enter_context(GcsServer(BUCKET))
        self.postgres = stack.enter_context(Postgres())

    def values(self) -> tuple[Values | Path, ...]:
        """Return what Terraform would, and the pool of spot nodes."""
        env = self.postgres.env
        return (
            {
                "images": {"worker": IMAGE, "web": IMAGE},
                "store": {"url": f"gs://{BUCKET}/store"},
                "database": {
                    "host": "127.0.0.1",
                    "port": int(env["DAGSTER_POSTGRES_PORT"]),
                    "name": env["DAGSTER_POSTGRES_DB"],
                    "user": env["DAGSTER_POSTGRES_USER"],
                },
                "spot": {"nodeSelector": dict(self.labels)},
                "settings": {"PGSSLMODE": "disable", "STORAGE_EMULATOR_HOST": self.gcs.url},
            },
        )

    def prepare(self, core: client.CoreV1Api) -> None:
        """Make the Secret of the password."""
        secret = {"DAGSTER_POSTGRES_PASSWORD": self.postgres.env["DAGSTER_POSTGRES_PASSWORD"]}
        core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "stilt-postgres"}, "stringData": secret})

    def operator(self, objects: list[Values]) -> dict[str, str]:
        """Return how to reach the database."""
        return self.postgres.env

    def objects(self, prefix: str) -> dict[str, str]:
        """Return objects and their generations."""
        url = f"{self.gcs.url}/storage/v1/b/{BUCKET}/o?prefix=store/{prefix}&maxResults=5000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            items = json.load(answer).get("items", [])
        return {item["name"].removeprefix("store/"): item["generation"] for item in items}

    def fetch(self, name: str, path: Path) -> Path:
        """Copy an object."""
        quoted = urllib.parse.quote(f"store/{name}", safe="")
        with urllib.request.urlopen(f"{self.gcs.url}/storage/v1/b/{BUCKET}/o/{quoted}?alt=media", timeout=60) as answer:
            path.write_bytes(answer.read())
        return path


#: The official image of Postgres, as far as the chart counts on it: its variables make a database at the first start.
_POSTGRES_IMAGE = """#!/bin/bash
set -euo pipefail
[ "$(id -u)" != 0 ] || exec setpriv --reuid nobody --regid nogroup --clear-groups "$0" "$@"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  PROGRAMS/initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile <(echo "$POSTGRES_PASSWORD") \\
    --auth scram-sha-256 --encoding UTF8 --locale C --no-sync
  echo "CREATE DATABASE $POSTGRES_DB" | PROGRAMS/postgres --single -D "$PGDATA" template1
fi
exec PROGRAMS/postgres -D "$PGDATA" "$@" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \\
  -c max_connections=300
"""


class Plain(Surroundings):
    """A cluster without a cloud: ``deploy/values/plain.yaml``, its own database, and a volume or S3 as the store.

    Parameters
    ----------
    bucket : bool
        The store is a bucket of a server that speaks S3, with a key that is in a Secret.
    """

    images = frozenset({"localhost/stilt-worker:latest", "localhost/stilt-web:latest", "docker.io/library/postgres:17"})

    def __init__(self, bucket: bool = False) -> None:
        self._bucket = bucket

    def start(self, stack: ExitStack, directory: Path) -> None:
        """Make the disks of volumes and the program of the database's image, and start S3 if it is wanted."""
        self.volume = directory / "volume"
        self.volume.mkdir()
        postgres = Postgres()
        stack.callback(postgres.close)
        # Of its own, since where tests keep theirs the account Postgres runs as cannot go.
        place = Path(tempfile.mkdtemp(prefix="volume-"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        self._disk, self._programs = place / "disk", place / "programs"
        self._disk.mkdir()
        self._programs.mkdir()
        program = self._programs / "postgres"
        program.write_text(_POSTGRES_IMAGE.replace("PROGRAMS", str(postgres.programs)))
        program.chmod(0o755)
        if os.geteuid() == 0:
            for path in (place, self._disk):
                shutil.chown(path, "nobody")
        [self._port] = free_ports(1)
        if self._bucket:
            self._s3 = stack.enter_context(s3.S3Server())
            self._s3.put(BUCKET)

    def path(self) -> str:
        """Return where pods find programs, the database's among them."""
        return f"{self._programs}{os.pathsep}{super().path()}"

    def values(self) -> tuple[Values | Path, ...]:
        """Return the file, and what differs for want of names and of images."""
        own: Values = {
            "database": {"port": self._port},
            "settings": {"DAGSTER_POSTGRES_HOST": "127.0.0.1"},
            "accounts": {"run": {"podLabels": {"example.org/identity": "use"}}},
        }
        if self._bucket:
            store = {"url": f"s3://{BUCKET}/store", "secret": "stilt-s3", "claim": "", "size": ""}
            settings = {"AWS_ENDPOINT_URL": self._s3.url, "AWS_DEFAULT_REGION": "us-east-1"}
            own = deep_merge(own, {"store": store, "settings": settings})
        return ROOT / "deploy" / "values" / "plain.yaml", own

    def prepare(self, core: client.CoreV1Api) -> None:
        """Make the volumes that a cluster's provisioner would, and the Secret of the key."""
        for claim, place in (("stilt-store", self.volume), ("data-stilt-postgres-0", self._disk)):
            spec = {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteOnce"],
                "claimRef": {"namespace": NAMESPACE, "name": claim},
                "hostPath": {"path": str(place)},
            }
            core.create_persistent_volume({"metadata": {"name": claim}, "spec": spec})
        if self._bucket:
            key = {name: v for name, v in self._s3.environment.items() if name != "AWS_ENDPOINT_URL"}
            core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "stilt-s3"}, "stringData": key})

    def operator(self, objects: list[Values]) -> dict[str, str]:
        """Return the password the chart made, and the store as it is seen here."""
        [secret] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Secret", "stilt-postgres")]
        own = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
        return own | (self._s3.environment if self._bucket else {"STILT_STORE": str(self.volume / "store")})

    def objects(self, prefix: str) -> dict[str, str]:
        """Return files and when they were written, or objects and their tags."""
        if not self._bucket:
            root = self.volume / "store"
            names = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
            return {name: str(path.stat().st_mtime_ns) for name, path in names.items() if name.startswith(prefix)}
        with urllib.request.urlopen(f"{self._s3.url}/{BUCKET}?list-type=2&prefix=store/{prefix}", timeout=30) as answer:
            found = re.findall(r"<Key>store/(.*?)</Key>.*?<ETag>(.*?)</ETag>", answer.read().decode(), re.DOTALL)
        return dict(found)

    def fetch(self, name: str, path: Path) -> Path:
        """Copy a file or an object."""
        if not self._bucket:
            return Path(shutil.copyfile(self.volume / "store" / name, path))
        with urllib.request.urlopen(f"{self._s3.url}/{BUCKET}/store/{name}", timeout=60) as answer:
            path.write_bytes(answer.read())
        return path
