"""NetCDF files held to what is declared of them, and to the conventions they name."""

from __future__ import annotations

import subprocess
import sys
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


def pass_the_cf_checker(path: Path, version: str) -> None:
    """Assert that the compliance checker has nothing to say of a file."""
    checker = [Path(sys.executable).with_name("compliance-checker"), f"--test=cf:{version}", "--format=text"]
    done = subprocess.run([*checker, path], capture_output=True, text=True, timeout=300)
    assert (done.returncode, "All tests passed!" in done.stdout) == (0, True), done.stdout + done.stderr


def _kind(variable: h5netcdf.Variable) -> str:
    return "string" if variable.dtype == object else np.dtype(variable.dtype).str[1:]
