"""What a jacobian of a store was made of, and what was recorded when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5netcdf
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.files.format_numbers import JACOBIAN_FORMAT, require_format
from stilt_dagster.science.outcomes import Meter, Outcome, PartSummary, Report
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import Source, size_of

#: Entries of the matrix read at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Stored:
    """A jacobian as it is in a store.

    Attributes
    ----------
    version : str
        What it was made of.
    report : Report
        Of all receptors, as who made it had it, but for what that took.
    errors : dict of str to ndarray
        ``transport_error`` and ``transport_error_covered``, if it has them.
    """

    version: str
    report: Report
    errors: dict[str, NDArray[np.float64]]


def read_origin(source: Source, ids: Sequence[str]) -> tuple[str, str | None, list[Outcome]]:
    """Return what a jacobian was made of, its key and version, and, of *ids*, how its observations ended.

    Raises
    ------
    OSError, KeyError
        If the file is not a whole jacobian.
    FormatError
        If it is of a later format.
    """
    with h5netcdf.File(source, "r") as file:
        require_format(file.attrs.get("format"), JACOBIAN_FORMAT, source)
        outcomes: list[Outcome] = []
        if ids and file.dimensions["obs"].size == len(ids):
            from stilt_dagster.science.footprints.footprint_files import read_outcomes

            outcomes = read_outcomes(file, ids)
        return str(file.attrs["stilt_key"]), file.attrs.get("stilt_version"), outcomes


def read_stored(source: Source, scene: Scene) -> Stored:
    """Read what was recorded when a jacobian was made, in memory that does not grow with its entries.

    Raises
    ------
    OSError, KeyError
        If the file is not a whole jacobian.
    """
    from stilt_dagster.science.footprints.footprint_files import read_outcomes

    meter, ids = Meter(), scene.receptor_ids
    ny, nx = scene.footprint.grid.ny, scene.footprint.grid.nx
    influence = np.zeros(ny * nx)
    size = size_of(source)
    with h5netcdf.File(source, "r") as file:
        outcomes = read_outcomes(file, ids)
        n = int(file["indptr"][-1])
        for start in range(0, n, _BLOCK):
            cells = file["indices"][start : start + _BLOCK] % (ny * nx)
            influence += np.bincount(cells, weights=file["data"][start : start + _BLOCK], minlength=ny * nx)
        names = [name for name in ("transport_error", "transport_error_covered") if name in file]
        errors = {name: np.asarray(file[name][:], np.float64) for name in names}
        version = str(file.attrs.get("stilt_version", ""))
    report = Report(influence=influence.reshape(ny, nx))
    report.add_part(PartSummary.of("", outcomes, size, n))
    report.kept = len(ids)
    meter.add_to(report)
    return Stored(version, report, errors)
