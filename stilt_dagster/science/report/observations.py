"""What a retrieval observed, beside what its prior and the background say without fluxes on the grid."""

from __future__ import annotations

from dataclasses import dataclass

import h5netcdf
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Observations:
    """Observations of a retrieval's scene, all in ppm and of shape ``(obs,)``.

    Attributes
    ----------
    value, uncertainty : ndarray
        Column-average dry-air mole fraction, and its standard deviation.
    prior : ndarray
        The same of the retrieval's own prior: the sum over levels of ``pressure_weight * prior``.
    prior_term : ndarray
        What the prior adds to the model: ``value = H flux + background + prior_term``.
    background : ndarray or None
        What the air held where particles ended; None where the scene names no field.
    """

    value: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    prior: NDArray[np.float64]
    prior_term: NDArray[np.float64]
    background: NDArray[np.float64] | None

    @property
    def without_fluxes(self) -> NDArray[np.float64] | None:
        """What would be observed without fluxes on the grid: background and prior term."""
        return None if self.background is None else self.background + self.prior_term

    def table(self) -> list[tuple[str, int, float, float, float, float]]:
        """Return of each quantity its name, how many there are, mean, standard deviation, least and largest."""
        rows = [
            ("observed (value)", self.value),
            ("its uncertainty (uncertainty)", self.uncertainty),
            ("the retrieval's prior (sum of pressure_weight times prior)", self.prior),
            ("what the prior adds (prior_term)", self.prior_term),
        ]
        if self.background is not None and self.without_fluxes is not None:
            rows += [
                ("background (background)", self.background),
                ("left to fluxes on the grid (value - background - prior_term)", self.value - self.without_fluxes),
            ]
        return [(name, *_statistics(values)) for name, values in rows]


def read_observations(file: h5netcdf.File) -> Observations | None:
    """Read what a jacobian holds of a retrieval; None if it is of none."""
    if "value" not in file.variables:
        return None

    def column(name: str) -> NDArray[np.float64]:
        return np.asarray(file.variables[name][:], np.float64)

    prior = (column("pressure_weight") * column("prior")).sum(axis=1)
    background = column("background") if "background" in file.variables else None
    return Observations(column("value"), column("uncertainty"), prior, column("prior_term"), background)


def _statistics(values: NDArray[np.float64]) -> tuple[int, float, float, float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0, np.nan, np.nan, np.nan, np.nan
    return len(known), float(known.mean()), float(known.std()), float(known.min()), float(known.max())
