"""Retrieval files where they land: a directory, or a prefix of a bucket, listed page by page in the order of names."""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stilt_dagster.science.errors import RetrievalError, StoreError, UnreadableError, UserError

_PAGE = 1000


@dataclass(frozen=True)
class Listed:
    """A file, as it is listed.

    Attributes
    ----------
    key : str
        Its name below the source's root.
    modified : float
        When it last changed, s since 1970.
    state : str
        What another content of the same name has otherwise.
    size : int
        Bytes.
    """

    key: str
    modified: float
    state: str
    size: int


class GranuleFolder:
    """Where a source's granules land.

    Parameters
    ----------
    uri : str
        A directory, ``gs://bucket/prefix``, ``az://container/prefix``, or ``s3://bucket/prefix``, which is read
        anonymously.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._scheme = uri.partition("://")[0] if "://" in uri else ""
        if self._scheme not in ("", "gs", "s3", "az", "file"):
            raise RetrievalError(f"{uri}: granules are read from a directory, gs://, s3:// or az://")
        bucket, _, prefix = self.uri.partition("://")[2].partition("/")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""

    @property
    def is_remote(self) -> bool:
        """Whether files are copied here to be read."""
        return self._scheme in ("gs", "s3", "az")

    def list(self, pattern: str = "*", after: str = "") -> Iterator[Listed]:
        """Yield the files whose names match and whose keys come after one, in the order of keys.

        Raises
        ------
        RetrievalError
            If the place cannot be listed.
        """
        with _granule_errors("list", self.uri):
            for listed in self._listed(after):
                if listed.key > after and fnmatch.fnmatchcase(listed.key.rsplit("/", 1)[-1], pattern):
                    yield listed

    def _listed(self, after: str) -> Iterator[Listed]:
        if self._scheme == "gs":
            from stilt_dagster.resources.gcs import client  # slow to import, and needed for nothing else

            fields = "items(name,size,generation,updated),nextPageToken"
            blobs = client().list_blobs(
                self._bucket, prefix=self._prefix, start_offset=self._prefix + after, fields=fields, page_size=_PAGE
            )
            for blob in blobs:
                key, changed = blob.name.removeprefix(self._prefix), blob.updated.timestamp()
                yield Listed(key, changed, str(blob.generation), blob.size or 0)
        elif self._scheme in ("s3", "az"):
            from stilt_dagster.resources.remote.buckets import BucketObjects

            objects = BucketObjects(self._scheme, self._bucket, self._prefix.rstrip("/"), anonymous=True)
            for key, changed, known in objects.walk(after):
                yield Listed(key, changed, f'"{known.version}"-{known.size}', known.size)
        else:
            root = Path(self.uri.removeprefix("file://")).expanduser()
            if not root.is_dir():
                raise RetrievalError(f"{root} is not a directory: granules are looked for there")
            for key in sorted(str(p.relative_to(root)) for p in root.rglob("*")):
                if key <= after or not (path := root / key).is_file():
                    continue
                here = path.stat()
                # A rename keeps the time of writing, and sets the other.
                modified = max(here.st_mtime, here.st_ctime)
                yield Listed(key, modified, f"{here.st_mtime_ns}-{here.st_size}", here.st_size)

    def path_of(self, key: str) -> str:
        """Return the path or URL of a file."""
        return f"{self.uri}/{key}"


def fetch(uri: str, directory: Path) -> Path:
    """Return a retrieval's file on this machine: itself, or a copy in *directory*.

    Raises
    ------
    UnreadableError
        If it is not there, or cannot be copied.
    """
    if "://" not in uri:
        path = Path(uri).expanduser()
        if not path.is_file():
            raise UnreadableError(f"{path} does not exist")
        return path
    if uri.startswith("file://"):
        return fetch(uri.removeprefix("file://"), directory)
    from stilt_dagster.resources.remote.files import copy_remote  # slow to import, and not for directories

    with _granule_errors("read", uri):
        copy = directory / uri.rsplit("/", 1)[-1]
        if not copy_remote(uri, copy, anonymous=uri.startswith("s3://")):
            raise UnreadableError(f"{uri} does not exist")
        return copy


@contextmanager
def _granule_errors(action: str, uri: str) -> Iterator[None]:
    """Turn what a client of some store raises into one line."""
    try:
        yield
    except StoreError as error:
        raise UnreadableError(str(error)) from error
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # Google's client raises its own kinds
        what = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"cannot {action} {uri}: {what}; check that it is there, and who may read it") from error


def stamp(modified: float) -> str:
    """Return a time of change as text."""
    return f"{dt.datetime.fromtimestamp(modified, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
