"""Buckets: Google's through its own client, S3 and what speaks it, Azure and memory through obstore.

Google's stays with its own client since its XML interface, which obstore speaks, lists no generations and no checksums,
and takes no checksum of what is written (docs/explanation/decisions.md, 12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import obstore
from obstore import exceptions as refusals
from obstore.store import AzureStore, MemoryStore, S3Store

from stilt_dagster.resources.object_folders import ObjectChanged, Objects, ObjectState
from stilt_dagster.resources.remote.refusals import explained, first_line, no_bucket
from stilt_dagster.resources.remote.retries import Again, persist
from stilt_dagster.science.errors import StoreError, StoreUnavailable
from stilt_dagster.science.validation import HoldsCredentials, check_url
from stilt_dagster.settings import names_s3_place, speaks_plain_http

if TYPE_CHECKING:
    from obstore import GetOptions

T = TypeVar("T")

#: Schemes of URLs that are buckets.
BUCKETS = ("gs", "s3", "az", "memory")

#: Bytes up to which an object is one request, under a precondition; larger ones are sent in pieces, without.
_ONE_REQUEST = 64 << 20

#: Bytes of a piece, and how many are under way.
_PIECE, _PIECES = 16 << 20, 4

#: Seconds to connect, for a byte, and for an answer.
_PATIENCE = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "600s"}


def objects_at(url: str, *, anonymous: bool = False) -> Objects:
    """Return the objects of a bucket's prefix.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/prefix``.
    anonymous : bool, optional
        Ask without credentials, where S3 is asked.

    Raises
    ------
    StoreError
        If it names no bucket, or what the environment says of its kind cannot be used.
    """
    _check(url)
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.strip("/").partition("/")
    if scheme not in BUCKETS or not bucket:
        raise StoreError(f"{url!r} names no bucket: write it as gs://, s3:// or az://BUCKET/PREFIX")
    if scheme == "gs":
        from stilt_dagster.resources.gcs import GcsObjects  # slow to import, and not for others

        return GcsObjects(bucket, prefix)
    return BucketObjects(scheme, bucket, prefix, anonymous=anonymous)


def object_at(url: str, *, anonymous: bool = False) -> tuple[Objects, str]:
    """Return the objects of the prefix that an object's URL is below, and its name there; see :func:`objects_at`."""
    _check(url)
    directory, _, name = url.rpartition("/")
    return objects_at(directory, anonymous=anonymous), name


def _check(url: str) -> None:
    """Refuse a URL that names what no provider has, before anything is asked."""
    try:
        check_url(url)
    except HoldsCredentials as error:
        raise StoreError(f"a URL {error}") from None
    except ValueError as error:
        raise StoreError(f"{url!r} {error}") from None


@cache
def _client(scheme: str, bucket: str, anonymous: bool) -> S3Store | AzureStore | MemoryStore:
    """Return this process's client of a bucket, set up by its environment."""
    if scheme == "memory":
        return MemoryStore()
    # obstore follows redirects: with https:// alone they lead to no machine's metadata, and nowhere unencrypted.
    # Trying again is ours: credentials that are not there would be asked for as long as everything else.
    how: dict[str, Any] = {
        "client_options": {**_PATIENCE, "allow_http": speaks_plain_http(scheme)},
        "retry_config": {"max_retries": 0},
    }
    try:
        if scheme == "az":
            return AzureStore(bucket, **how)
        if anonymous:
            how["skip_signature"] = True
        if not names_s3_place():
            how["region"] = _region(bucket)
        # A request an object says of each whether it may be deleted.
        return S3Store(bucket, disable_bulk_delete=True, **how)
    except refusals.BaseError as error:
        raise StoreError(
            f"{scheme}://{bucket} cannot be used: {first_line(error)}; set the provider's variables (AWS_*, AZURE_*)"
        ) from error


def _region(bucket: str) -> str:
    """Return where a bucket of AWS is, which it tells anyone; requests elsewhere are refused."""
    import requests

    if bucket.startswith("noaa-"):
        return "us-east-1"
    try:
        answer = requests.head(f"https://s3.amazonaws.com/{bucket}", timeout=(10, 10), allow_redirects=False)
    except requests.RequestException:
        return "us-east-1"
    return answer.headers.get("x-amz-bucket-region", "us-east-1")


class BucketObjects:
    """The objects of one prefix of a bucket that obstore reaches.

    Parameters
    ----------
    scheme, bucket : str
        The bucket.
    prefix : str
        Of names, without a slash at its end; empty for the bucket's root.
    anonymous : bool, optional
        Ask without credentials.
    """

    def __init__(self, scheme: str, bucket: str, prefix: str, *, anonymous: bool = False) -> None:
        self.url = f"{scheme}://{bucket}/{prefix}".rstrip("/")
        _check(self.url)
        self._bucket = f"{scheme}://{bucket}"
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _client(scheme, bucket, anonymous)

    def list(self) -> dict[str, ObjectState]:
        """Return what there is, by name; names below are left out."""
        found = self._ask("list", self.url, lambda: obstore.list_with_delimiter(self._client, self._prefix or None))
        return {_name(o["path"]): _state_of(o) for o in found["objects"]}

    def walk(self, after: str = "") -> Iterator[tuple[str, float, ObjectState]]:
        """Yield names at any depth that come after one, in their order, when each was written, and its state."""
        pages: Iterator[Any] | None = None
        last = self._prefix + after if after else ""

        def page() -> Any:
            nonlocal pages
            if pages is None:
                more = {"offset": last} if last else {}
                pages = iter(obstore.list(self._client, self._prefix or None, chunk_size=1000, **more))
            try:
                return next(pages, ())
            except BaseException:
                pages = None  # a listing that broke off would go on as if it had ended: begin anew where it was
                raise

        while found := self._ask("list", self.url, page):
            for known in found:
                if known["path"] > last:
                    yield known["path"].removeprefix(self._prefix), known["last_modified"].timestamp(), _state_of(known)
            last = max(last, found[-1]["path"])

    def stat(self, name: str) -> ObjectState | None:
        """Return an object's state, or None if there is none."""
        try:
            known = self._ask("read", self._url(name), lambda: obstore.head(self._client, self._prefix + name))
        except FileNotFoundError:
            self._check_bucket()
            return None
        return _state_of(known)

    def read(self, name: str, state: ObjectState, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of one state of an object.

        Raises
        ------
        ObjectChanged
            If it is in that state no more.
        """
        changed = f"{self._url(name)} was replaced while it was read: run it again"

        def fetch() -> bytes:
            options: GetOptions = {"range": (start, stop), "if_match": f'"{state.version}"'}
            answer = obstore.get(self._client, self._prefix + name, options=options)
            if _state_of(answer.meta) != state:
                raise ObjectChanged(changed)  # not every server heeds if_match
            data = answer.bytes().to_bytes()
            if len(data) != stop - start:
                raise Again(f"{len(data)} bytes of {stop - start} arrived")
            return data

        try:
            return self._ask("read", self._url(name), fetch)
        except (FileNotFoundError, refusals.PreconditionError) as error:
            raise ObjectChanged(changed) from error

    def write(self, name: str, file: BinaryIO, size: int, state: ObjectState | None) -> ObjectState:
        """Write an object over the state that is known of it.

        Another run may have published the name meanwhile, or this one, whose answer was lost. Files of one name are of
        equal worth, so that this one takes the place of the other once more; where a third run comes before it, its
        file stays.
        """
        path, url = self._prefix + name, self._url(name)

        def send(data: Any, **how: Any) -> ObjectState:
            made = obstore.put(self._client, path, data, **how)
            return ObjectState(size, _version(made["e_tag"]))

        def send_large() -> ObjectState:
            file.seek(0)
            return send(file, chunk_size=_PIECE, max_concurrency=_PIECES)

        if size > _ONE_REQUEST:
            try:
                return self._ask("write", url, send_large)
            except FileNotFoundError as error:
                raise no_bucket("write", url, self._bucket) from error
        file.seek(0)
        data = file.read()
        for _ in range(2):
            mode: Any = {"e_tag": f'"{state.version}"'} if state else "create"
            try:
                return self._ask("write", url, partial(send, data, mode=mode, use_multipart=False))
            except (refusals.AlreadyExistsError, refusals.PreconditionError, FileNotFoundError):
                state = self.stat(name)
        if state is None:
            raise StoreUnavailable(f"{url} is removed as often as it is written: run it again")
        return state

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        try:
            self._ask("remove", self._url(name), lambda: obstore.delete(self._client, self._prefix + name))
        except FileNotFoundError:
            self._check_bucket()

    def delete_all(self) -> int:
        """Delete all objects of the prefix and below it; return how many there were."""
        names = [name for name, _, _ in self.walk()]
        for name in names:
            self.delete(name)
        return len(names)

    def _url(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _check_bucket(self) -> None:
        """Tell an object that is not there from a bucket that is not."""
        if self._bucket not in _KNOWN:
            self._ask("list", self.url, lambda: next(iter(obstore.list(self._client, self._prefix or None)), ()))
            _KNOWN.add(self._bucket)

    def _ask(self, action: str, url: str, request: Callable[[], T]) -> T:
        """Make a request until it is answered; turn refusals into one line, without anything the store sent.

        Raises
        ------
        FileNotFoundError, AlreadyExistsError, PreconditionError
            Answers, to whoever asked.
        """
        doing = f"cannot {action} {url}"

        def attempt() -> T:
            try:
                return request()
            except (refusals.AlreadyExistsError, refusals.PreconditionError):
                raise
            except refusals.BaseError as error:
                # What a server answered may name what was signed, tokens included: it is no cause that Dagster shows.
                raise explained(action, url, self._bucket, str(error)) from None
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
                raise StoreError(
                    f"{doing}: the settings of its client cannot be used: see that no AWS_* or AZURE_* variable holds "
                    "blanks or line ends"
                ) from None

        return persist(doing, attempt)


#: Buckets known to exist.
_KNOWN: set[str] = set()


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _version(tag: str | None) -> str:
    """Return an entity tag without the quotes, which only some answers have."""
    return (tag or "").strip('"')


def _state_of(known: Any) -> ObjectState:
    return ObjectState(known["size"], _version(known["e_tag"]))
