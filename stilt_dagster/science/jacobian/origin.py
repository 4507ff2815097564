"""What a jacobian was made of, without reading its matrix."""

from __future__ import annotations

from collections.abc import Sequence

import h5netcdf

from stilt_dagster.science.files.format_numbers import JACOBIAN_FORMAT, require_format
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scratch import Source


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
