"""What is in each file of the store, as the code declares it and tests hold the files to it."""

from __future__ import annotations

from generate.tables import code, table
from stilt_dagster.science.formats import FORMATS


def columns(asset: str) -> str:
    """Return the columns of an asset's table."""
    rows = [(code(v.name), v.kind, v.units, _meaning(v.meaning, v.optional)) for v in FORMATS[asset]]
    return table(("column", "type", "units", "meaning"), rows)


def variables(asset: str) -> str:
    """Return the variables of an asset's NetCDF file."""
    rows = [
        (code(v.name), code(", ".join(v.dims)), v.kind, v.units, _meaning(v.meaning, v.optional))
        for v in FORMATS[asset]
    ]
    return table(("variable", "dimensions", "type", "units", "meaning"), rows)


def _meaning(meaning: str, optional: str) -> str:
    return f"{meaning} (*{optional}*)" if optional else meaning
