"""How large the pod of each asset is: the one place sizes are written down.

A pod's size follows from what is known of a scene when it is registered (:class:`Load`), for the share of its shards
the run covers. The figures are measured, see ``docs/explanation/measurements.md``; run tags and a scene's own
``tags`` override them: ``stilt/cpu``, ``stilt/memory``, ``stilt/ephemeral-storage``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from stilt_dagster.science.errors import SceneError

MIB = 1 << 20

#: Wall time a run of trajectories should take, s: long against a pod's start, short against a spot node's life.
TARGET_SECONDS = 1800.0

#: Most cores of a pod: those of a large node.
MAX_CORES = 32

#: Share of a pod's cores that it requests. A cloud keeps some of each node for its own pods: one of 32 cores lends some
#: 31, and a pod that requested 32 would never find room. This way a node holds pods of as many cores as it has.
REQUESTED = 0.9

#: Text hycs_std writes and reads back of each particle and minute, bytes (377 MB a run of 1000 particles and 24 h,
#: halved: the copy nobody reads goes to /dev/null).
TEXT_BYTES = 131

#: A parsed particle table in memory, a row, bytes: columns, their sorted copy, and the Parquet being made.
TABLE_BYTES = 160

#: Particle rows of a part file, bytes.
PART_BYTES = 9

#: Run tags that override a size, and the size they override.
OVERRIDES = {"stilt/cpu": "cpu", "stilt/memory": "memory", "stilt/ephemeral-storage": "disk"}


@dataclass(frozen=True)
class Load:
    """What a scene asks of a cluster, as recorded when it is registered.

    Attributes
    ----------
    receptors : int
        Receptors.
    numpar : int
        Particles of each, in all its runs.
    hours : int
        Hours each is followed.
    cpu_seconds : float
        CPU hycs_std is expected to need for all of them, s.
    cells : int
        Cells of the footprint grid times its layers.
    meteorology : int
        Bytes of its meteorology aggregate at most.
    background : bool
        Whether it names a field to sample a background in.
    transport_error : bool
        Whether its jacobian reads particles, for the error of transport.
    """

    receptors: int = 100
    numpar: int = 200
    hours: int = 24
    cpu_seconds: float = 960.0
    cells: int = 2_000_000
    meteorology: int = 4_000_000_000
    background: bool = False
    transport_error: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Load:
        """Read what :meth:`to_dict` gave; names it does not know are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})

    @property
    def rows(self) -> int:
        """Particle rows of a receptor: one a particle and minute."""
        return self.numpar * self.hours * 60


@dataclass(frozen=True)
class Size:
    """How large a pod is: its limits, and, but for a tenth of the cores, its requests.

    Attributes
    ----------
    cpu : float
        Cores.
    memory : int
        Bytes.
    disk : int
        Ephemeral storage, bytes.
    """

    cpu: float
    memory: int
    disk: int

    def resources(self) -> dict[str, dict[str, str]]:
        """Return it as a container's ``resources``.

        The limit on CPU is also what tells the pool how many simulations to run: without, it would be as many as the
        node has cores, in memory for fewer.
        """
        rest = {"memory": f"{_mib(self.memory)}Mi", "ephemeral-storage": f"{_mib(self.disk)}Mi"}
        return {
            "requests": {"cpu": f"{math.ceil(self.cpu * 1000 * REQUESTED)}m", **rest},
            "limits": {"cpu": f"{math.ceil(self.cpu * 1000)}m", **rest},
        }


def _mib(amount: int) -> int:
    return math.ceil(amount / MIB)


def cores_for(cpu_seconds: float) -> int:
    """Return how many cores do *cpu_seconds* of simulation in about :data:`TARGET_SECONDS`: a power of two."""
    wanted = max(cpu_seconds / TARGET_SECONDS, 1.0)
    return int(min(2 ** math.ceil(math.log2(wanted)), MAX_CORES))


def pods_for(load: Load, shards: int = 16) -> int:
    """Return over how many pods a scene's trajectories spread: the fewest that are not larger than they may be.

    Parameters
    ----------
    load : Load
        The scene.
    shards : int
        Shards it has, so most pods.

    Returns
    -------
    int
        A power of two, so that shards come out even.
    """
    wanted = load.cpu_seconds / (TARGET_SECONDS * MAX_CORES)
    return int(min(2 ** math.ceil(math.log2(max(wanted, 1.0))), shards))


def size_of(asset: str, load: Load, share: float = 1.0, attempt: int = 0) -> Size:
    """Return the size of the pod that materializes an asset of a scene.

    Parameters
    ----------
    asset : str
        The asset; any other name gets a small pod.
    load : Load
        The scene.
    share : float
        Share of the scene's shards the run covers.
    attempt : int
        How often the run was tried before: each time it gets half as much memory again, in case that was why.

    Returns
    -------
    Size
    """
    n = load.receptors * share
    table = load.rows * TABLE_BYTES
    if asset == "receptors":
        size = Size(1, 600 * MIB + load.receptors * 4096, 1024 * MIB)
    elif asset == "meteorology_aggregate":
        size = Size(1, 1024 * MIB, 2048 * MIB + load.meteorology)
    elif asset == "trajectories":
        cores = cores_for(load.cpu_seconds * share)
        text = load.rows * TEXT_BYTES
        files = load.meteorology + cores * text + min(n, 24.0 * cores) * load.rows * PART_BYTES
        size = Size(cores, 700 * MIB + cores * (128 * MIB + table), int(3072 * MIB + files))
    elif asset == "footprints":
        # One thread compresses NetCDF, so that more cores than this would wait for it.
        cores = min(4, cores_for(load.cpu_seconds * share))
        size = Size(
            cores,
            900 * MIB + cores * (table + 16 * load.cells),
            int(3072 * MIB + 64 * load.rows * PART_BYTES),
        )
    elif asset == "background":
        size = Size(1, 2500 * MIB + table, int(3072 * MIB + 64 * load.rows * PART_BYTES))
    elif asset == "jacobian":
        entries = load.receptors * min(load.cells, 100_000) * 8
        memory, disk = 1200 * MIB + load.receptors * 4096, 2048 * MIB + 3 * entries
        if load.transport_error:
            memory, disk = memory + 1300 * MIB + 2 * table, disk + int(64 * load.rows * PART_BYTES)
        size = Size(1, memory, disk)
    elif asset == "report":
        entries = load.receptors * min(load.cells, 100_000) * 8
        size = Size(1, 1200 * MIB + load.receptors * 4096, 1024 * MIB + entries)
    else:
        size = Size(1, 1024 * MIB, 1024 * MIB)
    return Size(size.cpu, int(size.memory * 1.5**attempt), size.disk)


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
