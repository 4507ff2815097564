"""What a meteorology aggregate is made of, kept beside it as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: The ARL file of a simulation, or those of nested grids, the finest first: a particle that leaves one goes on in the
#: next.
Meteorology = Path | Sequence[Path]


def file_name(stem: str, number: int) -> str:
    """Return the name of an aggregate's file by its place: ``stem.arl``, then ``stem.2.arl``, ``stem.3.arl``."""
    return f"{stem}.arl" if number == 1 else f"{stem}.{number}.arl"


def stored_name(scene: str, number: int) -> str:
    """Return that name in the store: ``scene.arl``, then ``scene~2.arl``.

    Another scene may be called ``scene.2``; no scene's name has a ``~``.
    """
    return f"{scene}.arl" if number == 1 else f"{scene}~{number}.arl"


@dataclass(frozen=True)
class GridDescription:
    """One grid of a nested aggregate: an ARL file.

    Attributes
    ----------
    sha256 : str
        Checksum of the file.
    sources, extent, nx, ny, times, levels, model, kept
        As of a :class:`Description`.
    """

    sha256: str
    sources: list[dict[str, str]]
    extent: list[float]
    nx: int
    ny: int
    times: list[str]
    levels: list[float]
    model: str
    kept: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What a meteorology aggregate is made of; stored beside it as JSON.

    It tells of the first grid, the finest, and ``nested`` of those around it, which a particle that leaves the first
    goes on in.

    Attributes
    ----------
    key : str
        Hash of the settings that made it.
    sha256 : str
        Checksum of the aggregate: what trajectories record as their meteorology. Of several grids :func:`joint_digest`.
    sources : list of dict
        ``name`` of each source file, ``sha256`` of its index, which has the checksum of every record, and its
        ``state``, such as an entity tag.
    extent : list of float
        West, south, east, north of the grid's points, degrees; west over east crosses the antimeridian.
    nx, ny : int
        Grid size.
    times : list of str
        Valid times, UTC.
    levels : list of float
        Heights of the levels, in the file's vertical coordinate.
    model : str
        Model id, such as ``HRRR``.
    outside : list of str
        Receptors that lie outside the source files' grid.
    kept : dict
        What was kept and why: ``source``, ``crop``, ``levels``; ``records_packed_anew``, ``bytes_read``,
        ``bytes_of_files``.
    nested : list of GridDescription
        Of several grids those after the first, in the order hycs_std is given them.
    first_sha256 : str
        Of several grids the checksum of the first's file.
    """

    key: str
    sha256: str
    sources: list[dict[str, str]]
    extent: list[float]
    nx: int
    ny: int
    times: list[str]
    levels: list[float]
    model: str
    outside: list[str]
    kept: dict[str, str | int] = field(default_factory=dict)
    nested: list[GridDescription] = field(default_factory=list)
    first_sha256: str = ""

    @classmethod
    def of(cls, key: str, grids: list[GridDescription], outside: list[str]) -> Description:
        """Describe an aggregate of one grid or several, the finest first."""
        first, *nested = grids
        shared = asdict(first)
        if nested:
            shared |= {"sha256": joint_digest([g.sha256 for g in grids]), "first_sha256": first.sha256}
        return cls(key=key, outside=outside, nested=nested, **shared)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Description:
        """Return what :meth:`to_dict` gave, by this version or an earlier one.

        Raises
        ------
        TypeError
            If it lacks something, or holds something unknown.
        """
        known = {**data}
        return cls(**{**known, "nested": [GridDescription(**grid) for grid in known.get("nested", [])]})

    @property
    def grids(self) -> list[GridDescription]:
        """Every grid, the finest first."""
        first = GridDescription(
            self.first_sha256 or self.sha256,
            self.sources,
            self.extent,
            self.nx,
            self.ny,
            self.times,
            self.levels,
            self.model,
            self.kept,
        )
        return [first, *self.nested]

    def stored_names(self, scene: str) -> list[str]:
        """Return the names of a scene's files in the store, in the order of the grids."""
        return [stored_name(scene, number) for number in range(1, len(self.nested) + 2)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: of one grid without what only several have."""
        data = asdict(self)
        left_out = () if self.nested else ("nested", "first_sha256")
        return {k: v for k, v in data.items() if k not in left_out and (k != "kept" or v)}


def joint_digest(checksums: list[str]) -> str:
    """Return the checksum of several files from theirs; it depends on their order, as what is made of them does."""
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()
