"""Which web servers are asked: public ones by https://, and those the operator trusts (``STILT_TRUSTED_HOSTS``).

A scene names files by URL, and what reads them runs beside servers that are not for everyone, such as the one that
hands out a machine's identity. So an address is looked at where the connection is made: names may point anywhere, and
change.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, cast
from urllib.parse import urlsplit

from requests import Session
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from stilt_dagster.science.errors import StoreError
from stilt_dagster.settings import is_trusted

_PORTS = {"http": 80, "https": 443}

#: IPv4 addresses in IPv6 ones, as a network's translator (NAT64) takes them.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


def check(url: str, whence: str = "") -> None:
    """Refuse a URL that must not be asked.

    Parameters
    ----------
    url : str
        An http:// or https:// URL.
    whence : str, optional
        The URL that redirects to it.

    Raises
    ------
    StoreError
        If it speaks http:// and its host is not trusted, holds credentials, or is no URL.
    """
    shown = f"{whence} redirects to a place that" if whence else url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise StoreError(f"{shown} is not an https:// URL that can be read: correct it") from None
    if not host or parts.username or parts.password:
        raise StoreError(f"{shown} is refused: a URL names a host, and holds no credentials")
    if parts.scheme == "http" and not is_trusted(host, port):
        raise StoreError(
            f"{shown} is refused: http:// is read from trusted hosts only: use https://, or have the operator name "
            f"{host} in STILT_TRUSTED_HOSTS"
        )


def is_public(address: str) -> bool:
    """Return whether an address is one of the public internet."""
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address):
        inner = known.ipv4_mapped or known.sixtofour or (known.teredo[1] if known.teredo else None)
        if inner is None and known in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(known) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return known.is_global and not known.is_multicast


def _refuse_private(host: str, addresses: set[str]) -> None:
    if not all(map(is_public, addresses)):
        raise StoreError(
            f"https://{host} is refused: it is an address of a private network; have the operator name it in "
            "STILT_TRUSTED_HOSTS"
        )


class _CheckedConnection:
    """Connects to public addresses and trusted hosts only."""

    def _new_conn(self: Any) -> socket.socket:
        if is_trusted(self.host, self.port):
            return cast(socket.socket, super()._new_conn())  # type: ignore[misc]
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            found = []  # connecting says what is wrong with the name
        _refuse_private(self.host, {str(info[4][0]) for info in found})
        made = cast(socket.socket, super()._new_conn())  # type: ignore[misc]
        try:
            _refuse_private(self.host, {made.getpeername()[0]})  # the name may mean another address by now
        except BaseException:
            made.close()
            raise
        return made


class _CheckedHttp(_CheckedConnection, HTTPConnection):
    pass


class _CheckedHttps(_CheckedConnection, HTTPSConnection):
    pass


class _CheckedHttpPool(HTTPConnectionPool):
    ConnectionCls = _CheckedHttp


class _CheckedHttpsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedHttps


class _CheckedAdapter(HTTPAdapter):
    """Makes checked connections; looks names up before where a proxy of the environment connects instead."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _CheckedHttpPool, "https": _CheckedHttpsPool}

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        parts = urlsplit(request.url)
        host = parts.hostname or ""
        if proxies and proxies.get(parts.scheme) and not is_trusted(host, parts.port or _PORTS[parts.scheme]):
            try:
                found = socket.getaddrinfo(host, None)
            except OSError:
                found = []  # a name that only the proxy knows
            _refuse_private(host, {str(info[4][0]) for info in found})
        return super().get_connection_with_tls_context(request, verify, proxies, cert)


def session() -> Session:
    """Return a session that connects to public addresses and trusted hosts only; it follows no redirect by itself."""
    made = Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _CheckedAdapter(pool_maxsize=16))
    made.headers["Accept-Encoding"] = "identity"  # ranges are of the file, not of what it is packed in
    made.headers["User-Agent"] = "stilt-dagster"
    return made
