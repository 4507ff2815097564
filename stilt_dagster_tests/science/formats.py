"""NetCDF files held to what is declared of them."""

from __future__ import annotations

from pathlib import Path

import h5netcdf
import numpy as np

from stilt_dagster.science.formats import FORMATS


def hold_what_is_declared(path: Path, asset: str) -> None:
    """Assert that every variable of a file is declared, with its dimensions, type and units, and none is missing."""
    declared = {v.name: v for v in FORMATS[asset]}
    with h5netcdf.File(path, "r") as file:
        found = dict(file.variables)
        for group in file.groups.values():
            found |= {f"{group.name.strip('/')}/{n}": v for n, v in group.variables.items()}
        for name, variable in found.items():
            said = declared[name]
            # Profiles lie on levels, or on the edges of layers, one more.
            dims = tuple(d.replace("level_bound", "level") for d in variable.dimensions)
            assert dims == said.dims, name
            assert _kind(variable) in said.kind.split(" or "), name
            assert variable.attrs.get("units", "") == said.units, name
        assert {n for n, v in declared.items() if not v.optional} <= set(found)


def _kind(variable: h5netcdf.Variable) -> str:
    return "string" if variable.dtype == object else np.dtype(variable.dtype).str[1:]
