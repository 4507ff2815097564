"""What a meteorology aggregate is made of, kept beside it as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Description:
    """What a meteorology aggregate is made of; stored beside it as JSON.

    Attributes
    ----------
    key : str
        Hash of the settings that made it.
    sha256 : str
        Checksum of the aggregate: what trajectories record as their meteorology.
    sources : list of dict
        ``name`` and ``sha256`` of each source file.
    extent : list of float
        West, south, east, north of the grid's corners, degrees.
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

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)
