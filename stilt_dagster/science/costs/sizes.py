"""How large the run of each asset is, whatever it runs on: the one place sizes are written down.

The size of a pod, or of a task of an array job, follows from what is known of a scene when it is registered
(:class:`Load`), for the share of its shards the run covers. The figures are measured, see
``docs/explanation/measurements.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stilt_dagster.science.scenes.spec import Scene

MIB = 1 << 20

#: Wall time a run of trajectories should take, s: long against a pod's start, short against a spot node's life.
TARGET_SECONDS = 1800.0

#: Most cores of a run: those of a large node.
MAX_CORES = 32

#: Most cores that grid footprints: one thread compresses NetCDF, so that more would wait for it.
GRIDDING_CORES = 4

#: Text hycs_std writes and reads back of each particle and minute, bytes (377 MB a run of 1000 particles and 24 h,
#: halved: the copy nobody reads goes to /dev/null).
TEXT_BYTES = 131

#: Bytes of an hour of an archive's files, whole: GFS's at a quarter of a degree.
_WHOLE_HOUR = 900 << 20

#: A parsed particle table in memory, a row, bytes: columns, their sorted copy, and the Parquet being made.
TABLE_BYTES = 160

#: Bytes in memory of a byte of meteorology, which is a number as ARL files pack it.
DECODED = 4

#: Particle rows of a part file, bytes.
PART_BYTES = 9


@dataclass(frozen=True)
class Load:
    """What a scene asks of a cluster.

    Attributes
    ----------
    receptors : int
        Receptors.
    numpar : int
        Particles of each, in all its runs.
    hours : int
        Hours each is followed.
    cpu_seconds : float
        CPU simulations are expected to need for all of them, s.
    cells : int
        Cells of the footprint grid times its layers.
    meteorology : int
        Bytes of its meteorology aggregate at most.
    background : bool
        Whether it names a field to sample a background in.
    transport_error : bool
        Whether its jacobian reads particles, for the error of transport.
    native : bool
        Whether the native engine simulates, which has all meteorology in memory.
    """

    receptors: int = 100
    numpar: int = 200
    hours: int = 24
    cpu_seconds: float = 960.0
    cells: int = 2_000_000
    meteorology: int = 4_000_000_000
    background: bool = False
    transport_error: bool = False
    native: bool = False

    @classmethod
    def of(cls, scene: Scene) -> Load:
        """Return what a scene asks for."""
        layers = 1 if scene.footprint.time_integrate else abs(scene.transport.n_hours)
        return cls(
            receptors=len(scene.receptor_list),
            numpar=scene.transport.at_most.released,
            hours=abs(scene.transport.n_hours),
            cpu_seconds=round(scene.predicted_cpu, 1),
            cells=layers * scene.footprint.grid.ny * scene.footprint.grid.nx,
            meteorology=_aggregate_bytes(scene),
            background=scene.background is not None,
            transport_error=scene.transport_error is not None,
            native=scene.transport.engine == "native",
        )

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
    """How large a run is.

    Attributes
    ----------
    cpu : float
        Cores.
    memory : int
        Bytes.
    disk : int
        Scratch, bytes.
    """

    cpu: float
    memory: int
    disk: int


def _aggregate_bytes(scene: Scene) -> int:
    """Return how large a scene's meteorology may become, bytes."""
    settings = scene.meteorology
    # Whole files hold the hours at both ends, and a day file more than those.
    whole = (abs(scene.transport.n_hours) + 24) * _WHOLE_HOUR
    return max(1, len(settings.sources)) * (settings.budget if settings.crop else whole)


def cores_for(cpu_seconds: float, most: int = MAX_CORES) -> int:
    """Return how many cores do so much simulation in about :data:`TARGET_SECONDS`: a power of two, or *most*."""
    wanted = max(cpu_seconds / TARGET_SECONDS, 1.0)
    return int(min(2 ** math.ceil(math.log2(wanted)), most))


def runs_for(load: Load, shards: int = 16, most: int = MAX_CORES) -> int:
    """Return over how many runs a scene's trajectories spread: the fewest that are not larger than they may be.

    Parameters
    ----------
    load : Load
        The scene.
    shards : int
        Shards it has, so most runs.
    most : int
        Most cores of each.

    Returns
    -------
    int
        A power of two, so that shards come out even.
    """
    wanted = load.cpu_seconds / (TARGET_SECONDS * most)
    return int(min(2 ** math.ceil(math.log2(max(wanted, 1.0))), shards))


def size_of(asset: str, load: Load, share: float = 1.0, attempt: int = 0, most: int = MAX_CORES) -> Size:
    """Return the size of the run that makes an asset of a scene.

    Parameters
    ----------
    asset : str
        The asset; any other name gets a small run.
    load : Load
        The scene.
    share : float
        Share of the scene's shards the run covers.
    attempt : int
        How often the run was tried before: each time it gets half as much memory again, in case that was why.

    most : int
        Most cores.

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
        cores = cores_for(load.cpu_seconds * share, most)
        text = load.rows * TEXT_BYTES
        files = load.meteorology + cores * text + min(n, 24.0 * cores) * load.rows * PART_BYTES
        decoded = DECODED * load.meteorology if load.native else 0
        size = Size(cores, 700 * MIB + cores * (128 * MIB + table) + decoded, int(3072 * MIB + files))
    elif asset == "footprints":
        cores = min(GRIDDING_CORES, cores_for(load.cpu_seconds * share, most))
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
