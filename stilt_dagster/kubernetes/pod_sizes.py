"""How large the pod of each run is: its size (:mod:`stilt_dagster.science.costs.sizes`) in Kubernetes' terms.

Run tags and a scene's own ``tags`` override it: ``stilt/cpu``, ``stilt/memory``, ``stilt/ephemeral-storage``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict

from stilt_dagster.science.costs.sizes import MIB, Size
from stilt_dagster.science.errors import SceneError

#: Share of a pod's cores that it requests. A cloud keeps some of each node for its own pods: one of 32 cores lends some
#: 31, and a pod that requested 32 would never find room. This way a node holds pods of as many cores as it has.
REQUESTED = 0.9

#: Run tags that override a size, and the size they override.
OVERRIDES = {"stilt/cpu": "cpu", "stilt/memory": "memory", "stilt/ephemeral-storage": "disk"}

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[KMGT]i?)?")
_UNITS = {"": 1.0, "m": 1e-3, **{p: 1000.0**k for k, p in enumerate("KMGT", 1)}}
_UNITS |= {f"{p}i": 1024.0**k for k, p in enumerate("KMGT", 1)}


def overridden(size: Size, tags: Mapping[str, str]) -> Size:
    """Return a size with what run tags say instead.

    Raises
    ------
    SceneError
        If a tag is not a Kubernetes quantity above zero.
    """
    values = asdict(size)
    for tag, name in OVERRIDES.items():
        if tag in tags:
            amount = parse_quantity(tag, tags[tag])
            values[name] = amount if name == "cpu" else int(amount)
    return Size(**values)


def resources(size: Size) -> dict[str, dict[str, str]]:
    """Return a size as a container's ``resources``: limits, and, but for a tenth of the cores, requests.

    The limit on CPU is also what tells the pool how many simulations to run: without, it would be as many as the
    node has cores, in memory for fewer.
    """
    rest = {"memory": f"{_mib(size.memory)}Mi", "ephemeral-storage": f"{_mib(size.disk)}Mi"}
    return {
        "requests": {"cpu": f"{math.ceil(size.cpu * 1000 * REQUESTED)}m", **rest},
        "limits": {"cpu": f"{math.ceil(size.cpu * 1000)}m", **rest},
    }


def _mib(amount: int) -> int:
    return math.ceil(amount / MIB)


def parse_quantity(name: str, text: str) -> float:
    """Return a Kubernetes quantity (``4``, ``500m``, ``16Gi``) as a number.

    Raises
    ------
    SceneError
        If it is none, or zero.
    """
    match = _QUANTITY.fullmatch(text.strip())
    amount = float(match[1]) * _UNITS[match[2] or ""] if match else 0.0
    if amount <= 0:
        raise SceneError(f"{name}: {text!r} is not an amount: use one such as 4, 500m or 16Gi")
    return amount
