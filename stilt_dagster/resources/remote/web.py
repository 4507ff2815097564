"""Files of web servers, by ranges, and the names of a directory as its index page has them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3

from stilt_dagster.resources.object_folders import ObjectChanged, ObjectState
from stilt_dagster.resources.remote import hosts
from stilt_dagster.resources.remote.retries import Again, persist
from stilt_dagster.science.errors import StoreError

#: Seconds to connect, and to wait for a byte.
_TIMEOUT = (10, 60)

#: Redirects that are followed, and the longest a server may have us wait.
_HOPS, _LONGEST_WAIT = 5, 60.0

#: Bytes an index page may have, and of a piece of a copy.
_INDEX, _PIECE = 32 << 20, 1 << 20

_session = cache(hosts.session)


class WebFile:
    """A file of a web server; the same calls as of the objects of a prefix, for one.

    Parameters
    ----------
    url : str
        An https:// URL, or an http:// one of a trusted host.

    Raises
    ------
    StoreError
        If it must not be asked.
    """

    def __init__(self, url: str) -> None:
        hosts.check(url)
        self.url = url

    def stat(self) -> ObjectState | None:
        """Return the file's state, or None if there is none; learnt by its first byte, as ranges are wanted later."""

        def attempt() -> ObjectState | None:
            with self._get({"Range": "bytes=0-0"}, "read", self.url) as answer:
                if answer.status_code in (404, 410):
                    return None
                if answer.status_code == 416:
                    return _state_of(answer, 0)
                return _state_of(answer, self._total(answer, 0, 1))

        return persist(f"cannot read {self.url}", attempt)

    def read(self, state: ObjectState, start: int, stop: int) -> bytes:
        """Return bytes *start* to *stop* of one state of the file.

        Raises
        ------
        ObjectChanged
            If it is in that state no more.
        """
        changed = f"{self.url} was replaced while it was read: run it again"
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if state.version.startswith('"'):
            headers["If-Match"] = state.version

        def attempt() -> bytes:
            with self._get(headers, "read", self.url) as answer:
                if answer.status_code in (404, 410, 412, 416):
                    raise ObjectChanged(changed)
                if _state_of(answer, self._total(answer, start, stop)) != state:
                    raise ObjectChanged(changed)
                data = answer.content
            if len(data) != stop - start:
                raise Again(f"{len(data)} bytes of {stop - start} arrived")
            return data

        return persist(f"cannot read {self.url}", attempt)

    def copy(self, path: Path) -> bool:
        """Copy the file here whole, also from a server that gives no ranges; return whether there is one."""

        def attempt() -> bool:
            with self._get({}, "read", self.url) as answer:
                if answer.status_code != 200:
                    return False
                size = answer.headers.get("Content-Length", "")
                with path.open("wb") as file:
                    for data in answer.iter_content(_PIECE):
                        file.write(data)
                    if size.isdigit() and file.tell() != int(size):
                        raise Again(f"{file.tell()} bytes of {size} arrived")
            return True

        return persist(f"cannot read {self.url}", attempt)

    def _total(self, answer: requests.Response, start: int, stop: int) -> int:
        """Return the file's size, of an answer that holds a range of it."""
        if answer.status_code == 200:
            raise StoreError(
                f"cannot read {self.url}: the server gives no ranges of it: copy it, or use another server"
            )
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status_code != 206 or found is None or int(found[1]) != start:
            raise StoreError(
                f"cannot read {self.url}: the server answers otherwise than asked ({answer.status_code}): use another"
            )
        if int(found[2]) + 1 != stop:
            raise ObjectChanged(f"{self.url} is shorter than it was: run it again")
        return int(found[3])

    def names(self) -> list[str]:
        """Return the names of the files of a directory, as its index page has them, sorted.

        Raises
        ------
        StoreError
            If it has none.
        """
        url = self.url.rstrip("/") + "/"

        def attempt() -> tuple[str, str]:
            with self._get({}, "list", url) as answer:
                kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                if answer.status_code != 200 or kind not in ("text/html", "application/xhtml+xml"):
                    raise StoreError(
                        f"cannot list {url}: the server shows no index page of it ({answer.status_code}): name its "
                        "files, or use a directory or bucket"
                    )
                page = answer.raw.read(_INDEX + 1, decode_content=True)
                if len(page) > _INDEX:
                    raise StoreError(f"cannot list {url}: its index page is larger than {_INDEX >> 20} MiB")
                return answer.url or url, page.decode("utf-8", "replace")

        return links(*persist(f"cannot list {url}", attempt))

    @contextmanager
    def _get(self, headers: dict[str, str], action: str, url: str) -> Iterator[requests.Response]:
        """Give the answer, its body unread, that a URL has in the end; every hop is checked."""
        doing, at = f"cannot {action} {url}", url
        try:
            for _ in range(_HOPS + 1):
                answer = _session().get(at, headers=headers, timeout=_TIMEOUT, stream=True, allow_redirects=False)
                with answer:
                    if not answer.is_redirect:
                        _refuse(answer, doing)
                        yield answer
                        return
                    at = urljoin(at, answer.headers["Location"])
                    hosts.check(at, url)
            raise StoreError(f"{doing}: it redirects more than {_HOPS} times: correct it")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if _no_such_host(error):
                raise StoreError(
                    f"{doing}: there is no host {urlsplit(at).hostname}: correct it, or the network"
                ) from error
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise StoreError(
                    f"{doing}: its certificate is not accepted: correct the host's name, or set REQUESTS_CA_BUNDLE"
                ) from error
            raise Again(type(error).__name__) from error


def _refuse(answer: requests.Response, doing: str) -> None:
    """Raise what is wrong with an answer that holds nothing of the file."""
    status = answer.status_code
    if status in (408, 429) or status >= 500:
        wait = answer.headers.get("Retry-After", "")
        if wait.isdigit():
            time.sleep(min(float(wait), _LONGEST_WAIT))
        raise Again(str(status))
    if status in (401, 403):
        raise StoreError(f"{doing}: permission denied ({status}): use a place that anyone may read")
    if status >= 400 and status not in (404, 410, 412, 416):
        raise StoreError(f"{doing}: the request is refused ({status}): correct the URL")


def _no_such_host(error: BaseException | None) -> bool:
    """Return whether a name means no address, rather than that nobody could be asked."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno != socket.EAI_AGAIN
        inner = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
        error = next((e for e in inner if isinstance(e, BaseException)), None)
    return False


def _state_of(answer: requests.Response, size: int) -> ObjectState:
    return ObjectState(size, answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")


class _Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def links(url: str, page: str) -> list[str]:
    """Return the names of files right below *url* that a page links to, sorted; directories and orders are none."""
    parser = _Links()
    parser.feed(page)
    names = set()
    base = urlsplit(url)
    for link in parser.found:
        try:
            target = urlsplit(urljoin(url, link))
        except ValueError:
            continue
        name = target.path.removeprefix(base.path)
        below = target.netloc == base.netloc and target.path.startswith(base.path) and not target.query
        if below and name and "/" not in unquote(name):
            names.add(unquote(name))
    return sorted(names)
