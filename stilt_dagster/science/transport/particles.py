"""The particle table of one receptor: one row a particle a minute, sorted by particle, then by time since release."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: HYSPLIT's names of the columns a particle table names otherwise.
COLUMN_NAMES = {"indx": "particle", "time": "age", "long": "lon", "lati": "lat"}


#: Units and meaning of the columns, written into each part file.
COLUMN_ATTRIBUTES = {
    "receptor": "receptor id",
    "error": "whether it is of the receptor's error run, and not of the particles its footprint is made of",
    "particle": "particle number, from 1",
    "age": "minutes since release, negative backward in time",
    "lon": "degrees_east",
    "lat": "degrees_north",
    "zagl": "m above ground",
    "foot": "ppm (umol m-2 s-1)-1, near-field corrected where hnf_plume is on",
    "foot_no_hnf_dilution": "ppm (umol m-2 s-1)-1, as HYSPLIT printed it",
    "xhgt": "release height in the column, m",
    "mlht": "mixing height, m",
    "dens": "air density, kg m-3",
    "pres": "air pressure, hPa",
    "samt": "share of the step below veght, 1",
    "sigw": "standard deviation of vertical velocity, m s-1",
    "tlgr": "Lagrangian timescale, s",
}


@dataclass
class Particles:
    """The particle table of one receptor.

    Attributes
    ----------
    columns : dict of str to ndarray
        Equal-length columns by name, sorted by particle, then by time since release.
    decimals : dict of str to int
        Decimals HYSPLIT printed of each column it printed.
    """

    columns: dict[str, NDArray[Any]]
    decimals: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["age"])

    @property
    def n_particles(self) -> int:
        """Number of particles that have a row."""
        return int(np.count_nonzero(np.diff(self.columns["particle"]))) + bool(len(self))

    def coverage(self, n_hours: int) -> tuple[float, float]:
        """Return the hours covered and the share of particles that left the domain before *n_hours*."""
        return float(np.abs(self.columns["age"]).max()) / 60, float(np.mean(self.ended_early(n_hours)))

    def ended_early(self, n_hours: int) -> NDArray[np.bool_]:
        """Return of each particle whether it left the domain before *n_hours*."""
        last = np.abs(self.columns["age"])[np.append(np.diff(self.columns["particle"]) != 0, True)]
        # The last step of a run may be printed one time step early.
        return np.asarray(last < abs(n_hours) * 60 - 1)
