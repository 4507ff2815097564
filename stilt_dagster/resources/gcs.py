"""Google Cloud Storage: objects written under a precondition, read at the generation that was listed, and retried."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO

import google_crc32c
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from stilt_dagster.resources.object_folders import ObjectChanged, ObjectState
from stilt_dagster.science.errors import StoreError, StoreUnavailable

#: What is tried again (429, 5xx, lost connections), after how long, and for how long in all: seconds.
RETRY = DEFAULT_RETRY.with_delay(initial=0.5, maximum=30.0).with_timeout(600.0)

#: Seconds to connect, and to wait for a byte.
_TIMEOUT = (10, 60)

#: Bytes of a piece of a resumable upload; what an upload holds in memory. The library sends up to 8 MiB in one request.
_PIECE = 16 << 20

#: How often an upload is begun anew whose session the store has forgotten, or that arrived damaged.
_SESSIONS = 3

_FIELDS = "items(name,size,generation,crc32c),nextPageToken"


@cache
def client() -> storage.Client:
    """Return this process's client, with the credentials of its surroundings: one token for all its threads."""
    made = storage.Client(project="none")
    # As many connections as threads may hold at a time: uploads, copies, and their pieces.
    made._http.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=32))
    made._http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))
    return made


class GcsObjects:
    """The objects of one prefix of a bucket.

    Parameters
    ----------
    bucket : str
        The bucket.
    prefix : str
        Of names, without a slash at its end; empty for the bucket's root.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")

    def _blob(self, name: str, state: ObjectState | None = None) -> storage.Blob:
        bucket = client().bucket(self._bucket)
        return bucket.blob(f"{self._prefix}{name}", generation=int(state.version) if state else None, chunk_size=None)

    def list(self) -> dict[str, ObjectState]:
        """Return what there is, by name; names below are left out."""
        with self._store_errors("list", self.url):
            blobs = client().list_blobs(
                self._bucket, prefix=self._prefix, delimiter="/", fields=_FIELDS, retry=RETRY, timeout=_TIMEOUT
            )
            return {blob.name.removeprefix(self._prefix): _state_of(blob) for blob in blobs}

    def stat(self, name: str) -> ObjectState | None:
        """Return an object's state, or None if there is none."""
        with self._store_errors("read", f"{self.url}/{name}"):
            blob = self._blob(name)
            try:
                blob.reload(retry=RETRY, timeout=_TIMEOUT)
            except api.NotFound:
                self._check_bucket()
                return None
            return _state_of(blob)

    def _check_bucket(self) -> None:
        """Tell an object that is not there from a bucket that is not."""
        if self._bucket not in _known:
            blobs = client().list_blobs(
                self._bucket, prefix=self._prefix, max_results=1, fields=_FIELDS, retry=RETRY, timeout=_TIMEOUT
            )
            next(iter(blobs), None)
            _known.add(self._bucket)

    def read(self, name: str, state: ObjectState, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of one generation.

        Raises
        ------
        ObjectChanged
            If it is replaced.
        """

        def fetch() -> bytes:
            # Whole or not at all: a library that goes on where a connection was cut checks no sum.
            data = self._blob(name, state).download_as_bytes(
                start=start,
                end=stop - 1,
                raw_download=True,
                checksum=None,
                single_shot_download=True,
                retry=None,
                timeout=_TIMEOUT,
            )
            if len(data) != stop - start:
                raise ConnectionError(f"{len(data)} bytes of {stop - start} arrived")
            return bytes(data)

        with self._store_errors("read", f"{self.url}/{name}"):
            try:
                return RETRY(fetch)()
            except (api.NotFound, api.RequestRangeNotSatisfiable) as error:
                raise ObjectChanged(f"{self.url}/{name} was replaced while it was read: run it again") from error

    def write(self, name: str, file: BinaryIO, size: int, state: ObjectState | None) -> ObjectState:
        """Write an object over the generation that is known of it.

        Another run may have published the name meanwhile. Files of one name are of equal worth, so that this one
        takes the place of the other once more; where a third run comes before it, its file stays.
        """
        checksum = _checksum(file)
        with self._store_errors("write", f"{self.url}/{name}"):
            for _ in range(2):
                try:
                    return self._upload(name, file, size, checksum, state)
                except api.PreconditionFailed:
                    state = self.stat(name)
                    # Also what a first try left behind, whose answer was lost.
                    if state is not None and (state.size, state.crc32c) == (size, checksum):
                        return state
            if state is None:
                raise StoreUnavailable(f"{self.url}/{name} is removed as often as it is written: run it again")
            return state

    def _upload(self, name: str, file: BinaryIO, size: int, checksum: str, state: ObjectState | None) -> ObjectState:
        for session in range(1, _SESSIONS + 1):
            blob = self._blob(name)
            blob.chunk_size = _PIECE
            blob.crc32c = checksum  # checked by the store before the object appears
            try:
                blob.upload_from_file(
                    file,
                    rewind=True,
                    size=size,
                    if_generation_match=int(state.version) if state else 0,
                    checksum="crc32c",
                    crc32c_checksum_value=checksum,
                    retry=RETRY,
                    timeout=_TIMEOUT,
                )
                break
            except (api.ClientError, DataCorruption) as error:
                # 404 and 410: a session that is forgotten.
                if session == _SESSIONS or getattr(error, "code", 410) not in (404, 410):
                    raise
        _known.add(self._bucket)
        return _state_of(blob)

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._store_errors("remove", f"{self.url}/{name}"):
            try:
                self._blob(name).delete(retry=RETRY, timeout=_TIMEOUT)
            except api.NotFound:
                self._check_bucket()

    def delete_all(self) -> int:
        """Delete all objects of the prefix and below it; return how many there were."""
        with self._store_errors("remove", self.url):
            names = [
                blob.name.removeprefix(self._prefix)
                for blob in client().list_blobs(
                    self._bucket, prefix=self._prefix, fields=_FIELDS, retry=RETRY, timeout=_TIMEOUT
                )
            ]
        for name in names:
            self.delete(name)
        return len(names)

    @contextmanager
    def _store_errors(self, action: str, url: str) -> Iterator[None]:
        """Turn what the client says into one line; nothing the store answered is in it."""
        doing = f"cannot {action} {url}"
        try:
            yield
        except auth.DefaultCredentialsError as error:
            raise StoreError(
                f"{doing}: no Google credentials: run where a service account is bound (workload identity), or "
                "`gcloud auth application-default login`"
            ) from error
        except (api.Unauthorized, api.Forbidden) as error:
            raise StoreError(
                f"{doing}: permission denied ({error.code}): grant this service account roles/storage.objectUser on "
                f"bucket {self._bucket}"
            ) from error
        except api.NotFound as error:
            raise StoreError(
                f"{doing}: there is no bucket {self._bucket}: create it, or correct STILT_STORE, STILT_MET or the scene"
            ) from error
        except DataCorruption as error:
            raise StoreUnavailable(f"{doing}: it arrives damaged, {_SESSIONS} times: run it again") from error
        except auth.RefreshError as error:
            if not error.retryable:
                raise StoreError(
                    f"{doing}: Google refuses the credentials: bind a service account, or log in"
                ) from error
            raise StoreUnavailable(f"{doing}: no access token is to be had: run it again") from error
        except api.ClientError as error:
            if error.code not in (408, 429):
                raise StoreError(f"{doing}: the request is refused ({error.code}): check the bucket's name") from error
            raise _unavailable(doing, error) from error
        except _OUT_OF_REACH as error:
            raise _unavailable(doing, error) from error


#: Buckets known to exist.
_known: set[str] = set()

_OUT_OF_REACH = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


def _unavailable(doing: str, error: Exception) -> StoreUnavailable:
    last = error.cause if isinstance(error, api.RetryError) and error.cause else error
    what = " ".join(filter(None, (str(getattr(last, "code", "") or ""), type(last).__name__)))
    tried = f" for {RETRY.timeout:.0f} s" if isinstance(error, api.RetryError) else ""
    return StoreUnavailable(f"{doing}: the store does not answer as it should{tried} ({what}): run it again later")


def _state_of(blob: storage.Blob) -> ObjectState:
    return ObjectState(int(blob.size or 0), str(blob.generation), blob.crc32c or "")


def _checksum(file: BinaryIO) -> str:
    """Return a file's CRC32C, read in pieces, as Google writes it."""
    checksum = google_crc32c.Checksum()
    file.seek(0)
    while data := file.read(1 << 20):
        checksum.update(data)
    return base64.b64encode(checksum.digest()).decode()
