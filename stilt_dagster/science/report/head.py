"""What a page is of, read from its first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from stilt_dagster.science.scratch import Source

#: Where the versions stand: at the beginning of a page, so that no more of it is read.
_HEAD = 4096

_META = re.compile(rb'<meta name="stilt-(version|jacobian)" content="([^"]*)">')


def read_versions(source: Source) -> tuple[str, str]:
    """Return the version of a page, and the key of the jacobian it is of.

    Raises
    ------
    ValueError
        If it is no page of ours.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(_HEAD)
    else:
        source.seek(0)
        head = source.read(_HEAD)
    found = dict(_META.findall(head))
    if set(found) != {b"version", b"jacobian"}:
        raise ValueError("it is no report of a scene")
    return found[b"version"].decode(), found[b"jacobian"].decode()
