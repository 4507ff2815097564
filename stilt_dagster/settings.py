"""The environment variables that are read: ``STILT_STORE``, ``STILT_MET``, and some that fewer people set."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from stilt_dagster.science.errors import SettingError, StoreError

#: What each variable is for, and what holds where it is not set. The command line also reads two that are not ours.
ENVIRONMENT = {
    "STILT_STORE": "The store: a directory, or gs://, s3://, az:// and a prefix. Default: `./data`.",
    "STILT_MET": "Where archives of meteorology are: a directory or a URL. Default: each source's public archive.",
    "STILT_EXE_DIR": "The directory of another `hycs_std` than pystilt's: a registered build, or your own. Default: "
    "pystilt's.",
    "STILT_TRUSTED_HOSTS": "Servers, `host` or `host:port`, comma-separated, that may be private and speak http://. "
    "Default: none.",
    "STILT_CACHE": "Where bytes of remote meteorology are kept for other scenes. Default: a directory of this user "
    "among the system's temporary files.",
    "STILT_CACHE_GB": "How many of them, GB; 0 keeps none. Default: `10`.",
    "STILT_CLUSTER": "`slurm`: runs of Dagster have trajectories and footprints made by array jobs of Slurm. Default: "
    "they make them themselves.",
    "STILT_AUTOMATION": "`on`: sensors and schedules run from the start. Default: a person turns them on in the UI.",
    "STILT_DOMAINS": "A directory of domains a deployment brings, besides those of the store. Default: none.",
    "STILT_ALERTS": "Where alerts go besides the log: Apprise URLs apart by blanks. Default: nowhere.",
    "STILT_UI_URL": "Where people open the UI, for links in alerts. Default: no links.",
    "STILT_DOCS_URL": "Where this documentation is served, for links in the UI. Default: files are named instead.",
    "STILT_SLURM": "What a site sets for array jobs of Slurm: a YAML file. Default: the cluster's own defaults.",
    "AWS_ENDPOINT_URL": "Where S3's buckets are, such as a MinIO server. Default: AWS.",
    "AWS_ENDPOINT": "The same.",
    "AWS_ENDPOINT_URL_S3": "The same, and before both.",
    "AWS_REGION": "The region of S3's buckets. Default: what the bucket says.",
    "AWS_DEFAULT_REGION": "The same.",
    "AZURE_STORAGE_ENDPOINT": "Where Azure's containers are, if not at the account's public address.",
    "AZURE_ENDPOINT": "The same.",
    "AZURITE_BLOB_STORAGE_URL": "Where Azure's emulator is, with `AZURE_STORAGE_USE_EMULATOR=true`.",
    "DAGSTER_HOME": "The Dagster instance of the command line and of `make dev`. Default: `./.dagster`.",
    "COLUMNS": "How wide tables are printed. Default: the terminal's width.",
}

#: Variables of Dagster and its database, which what records nothing has no use for.
_OF_DAGSTER = re.compile(r"DAGSTER_|PG[A-Z]+$")


def store_url() -> str:
    """Return where the store is: ``STILT_STORE``, by default ``./data``; a directory as an absolute path."""
    return _located(os.environ.get("STILT_STORE") or "./data")


def meteorology_root() -> str:
    """Return where meteorology archives are: ``STILT_MET``; empty for NOAA's public ones."""
    return _located(os.environ.get("STILT_MET") or "")


def engine_directory() -> Path | None:
    """Return the directory of another hycs_std than pystilt's: ``STILT_EXE_DIR``; None for pystilt's."""
    place = os.environ.get("STILT_EXE_DIR")
    return Path(place).expanduser().resolve() if place else None


def trusted_hosts() -> frozenset[str]:
    """Return the hosts, ``host`` or ``host:port``, that may be private and speak http://: ``STILT_TRUSTED_HOSTS``."""
    names = os.environ.get("STILT_TRUSTED_HOSTS", "").split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


def is_trusted(host: str, port: int) -> bool:
    """Return whether the operator trusts a host, on that port or on any."""
    named = f"[{host.lower()}]" if ":" in host else host.lower()
    return not trusted_hosts().isdisjoint({named, f"{named}:{port}"})


def trusts(url: str) -> bool:
    """Return whether the operator trusts the host of an http:// URL."""
    try:
        parts = urlsplit(url)
        return is_trusted(parts.hostname or "", parts.port or 80)
    except ValueError:
        return False


def range_cache() -> tuple[Path, int]:
    """Return where bytes of remote files are kept (``STILT_CACHE``), and how many (``STILT_CACHE_GB``; 0: none).

    By default that is a directory of this user among the system's temporary files, and 10 GB.
    """
    place = os.environ.get("STILT_CACHE") or f"{tempfile.gettempdir()}/stilt-dagster-cache-{os.getuid()}"
    text = os.environ.get("STILT_CACHE_GB") or "10"
    try:
        size = float(text)
        if not 0 <= size < 1e6:
            raise ValueError
    except ValueError:
        raise StoreError(f"STILT_CACHE_GB must be a number of gigabytes, 0 for no cache (got {text!r})") from None
    return Path(place).expanduser(), int(size * 1e9)


def names_s3_place() -> bool:
    """Return whether the environment says where S3's buckets are: an endpoint, or a region."""
    return any(os.environ.get(name) for name in (*_ENDPOINTS["s3"], "AWS_REGION", "AWS_DEFAULT_REGION"))


def speaks_plain_http(scheme: str) -> bool:
    """Return whether the operator's endpoint of ``s3`` or ``az`` is http://, as that of a cluster's own server is.

    Raises
    ------
    StoreError
        If an endpoint is no URL, or holds credentials.
    """
    found = {name: os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)}
    for name, url in found.items():
        if not re.fullmatch(r"https?://[^\s@?#]+", url):
            raise StoreError(f"{name} must be a URL of http:// or https://, without credentials: correct it")
    return any(url.startswith("http://") for url in found.values())


#: Variables that name a server of buckets, by scheme.
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURITE_BLOB_STORAGE_URL"),
}


def is_automatic() -> bool:
    """Return whether sensors run from the start (``STILT_AUTOMATION=on``); else a person turns them on in the UI."""
    return os.environ.get("STILT_AUTOMATION", "").lower() in ("on", "1", "true")


def cluster() -> str:
    """Return what runs have their shards done by: ``STILT_CLUSTER``, ``slurm``; empty: they do them themselves.

    Raises
    ------
    SettingError
        If it is something else.
    """
    name = os.environ.get("STILT_CLUSTER", "").strip()
    if name not in ("", "slurm"):
        raise SettingError(
            f"STILT_CLUSTER must be slurm, or not set for runs that do all themselves (got {name!r:.50})"
        )
    return name


def deployed_domains() -> str:
    """Return the directory of domains a deployment brings, besides those of the store: ``STILT_DOMAINS``, or none."""
    return _located(os.environ.get("STILT_DOMAINS") or "")


def alert_services() -> list[str]:
    """Return where alerts go besides the log: ``STILT_ALERTS``, Apprise URLs apart by blanks, which hold secrets."""
    return os.environ.get("STILT_ALERTS", "").split()


def ui_url() -> str:
    """Return where people open the UI, for links in alerts: ``STILT_UI_URL``, or nothing."""
    return os.environ.get("STILT_UI_URL", "").rstrip("/")


def slurm_site() -> Path | None:
    """Return the file of what a site sets for array jobs, ``STILT_SLURM``; None without."""
    place = os.environ.get("STILT_SLURM")
    return Path(place).expanduser() if place else None


def job_environment() -> dict[str, str]:
    """Return what jobs on other machines get of this process's environment: no secret of Dagster's, and of alerts."""
    return {name: value for name, value in os.environ.items() if name != "STILT_ALERTS" and not _OF_DAGSTER.match(name)}


def docs_page(page: str, section: str) -> str:
    """Return a link to a section of the documentation, as Markdown.

    That is a page of the site, where it is served (``STILT_DOCS_URL``), else the file of the repository.
    """
    site = os.environ.get("STILT_DOCS_URL", "").rstrip("/")
    if not site:
        return f"docs/{page}.md, *{section}*"
    anchor = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", section.lower())).strip("-")
    return f"[{section}]({site}/{page}/#{anchor})"


def _located(place: str) -> str:
    if "://" not in place:
        return place and str(Path(place).expanduser().resolve())
    from stilt_dagster.science.validation import HoldsCredentials, check_url  # slow to import, and not for directories

    try:
        check_url(place)
    except HoldsCredentials:  # it would be in every message that names a file
        raise StoreError(
            "STILT_STORE and STILT_MET name places, without credentials: give those as the provider says"
        ) from None
    except ValueError as error:
        raise StoreError(f"STILT_STORE or STILT_MET, {place!r}, {error}") from None
    return place
