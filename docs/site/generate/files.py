"""What is in each file of the store, read from a small scene that is run for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from generate.tables import code, table

_ROOT = Path(__file__).parents[3]


@cache
def _store() -> Path:
    """Return the store of a retrieval's scene with a background, two soundings and an hour, run once a build."""
    work = tempfile.TemporaryDirectory(prefix="stilt-docs-")
    _KEPT.append(work)
    here = Path(work.name)
    home = here / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((_ROOT / "dagster.yaml").read_text())
    env = {**os.environ, "STILT_STORE": str(here / "store"), "DAGSTER_HOME": str(home)}

    def run(*args: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "stilt_dagster.cli", *args], env=env, check=True, stdout=subprocess.DEVNULL
        )

    run("demo", "--granule", str(here))
    scene = yaml.safe_load((here / "scene.yaml").read_text())
    scene["receptors"]["retrieval"]["area"] = {"xmin": -112.2, "xmax": -111.9, "ymin": 40.5, "ymax": 40.6}
    scene["transport"] = {"n_hours": -1, "numpar": 20}
    scene["background"] = {"uri": "field.nc", "variable": "ch4"}
    _write_field(here / "field.nc")
    (here / "scene.yaml").write_text(yaml.safe_dump(scene))
    run("scene", "add", str(here / "scene.yaml"))
    run("scene", "run", "plume*", "--workers", "1")
    return here / "store"


#: The directory of the example, as long as the build lasts.
_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _write_field(path: Path) -> None:
    """Write a concentration field around the example."""
    import numpy as np
    import pandas as pd
    import xarray as xr

    coords = {
        "time": pd.date_range("2023-07-15T12:00", periods=4, freq="3h"),
        "level": ("level", [1000.0, 500.0, 100.0], {"units": "hPa"}),
        "latitude": [35.0, 45.0],
        "longitude": [-120.0, -100.0],
    }
    values = np.full((4, 3, 2, 2), 1890.0)
    xr.DataArray(values, coords, tuple(coords), name="ch4", attrs={"units": "ppb"}).to_netcdf(path)


def _one(pattern: str) -> Path:
    return sorted(_store().glob(pattern))[0]


def receptors() -> str:
    """Return the columns of a receptors file."""
    return _columns(_one("receptors/*.parquet"))


def particles() -> str:
    """Return the columns of a part of trajectories."""
    return _columns(_one("trajectories/*/*/part-*.parquet"))


def background() -> str:
    """Return the columns of a background file."""
    return _columns(_one("background/*.parquet"))


def footprints() -> str:
    """Return the variables of a part of footprints."""
    return _variables(_one("footprints/*/*/part-*.nc"))


def jacobian() -> str:
    """Return the variables of a jacobian."""
    return _variables(_one("jacobian/*.nc"))


def aggregate() -> str:
    """Return an aggregate's description, its long lists cut short."""
    text = _one("meteorology_aggregate/*.json").read_text()
    return f"```json\n{json.dumps(_shortened(json.loads(text)), indent=1)}\n```\n"


def _shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [_shortened(v) for v in value[:2]] + (["..."] if len(value) > 4 else value[2:])
    return {k: _shortened(v) for k, v in value.items()} if isinstance(value, dict) else value


def _columns(path: Path) -> str:
    """Return the columns of a Parquet file, as its schema tells of them."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    rows = [(code(f.name), _plain(str(f.type)), (f.metadata or {}).get(b"description", b"").decode()) for f in schema]
    names = ", ".join(code(name.decode()) for name in schema.metadata or {} if name.startswith(b"stilt:"))
    said = f"\nThe file's metadata: {names}.\n" if names else ""
    return table(("column", "type", "meaning, unit"), rows) + said


def _plain(kind: str) -> str:
    """Return a type without how Arrow keeps it."""
    return kind.replace("dictionary<values=string, indices=int32, ordered=0>", "string, as a dictionary").replace(
        "fixed_size_list<element: ", "list<"
    )


def _variables(path: Path) -> str:
    """Return the dimensions, variables and attributes of a NetCDF file, group by group."""
    from netCDF4 import Dataset

    with Dataset(path) as file:
        parts = [_group(file)]
        for name, group in (file.groups or {}).items():
            parts.append(f"The group `{name}`:\n\n{_group(group)}")
        attributes = ", ".join(code(name) for name in file.ncattrs())
    return "\n".join(parts) + f"\nAttributes of the file: {attributes}.\n"


def _group(group: Any) -> str:
    rows = []
    for name, variable in group.variables.items():
        said = {k: str(variable.getncattr(k)) for k in variable.ncattrs()}
        meaning = said.get("long_name") or said.get("standard_name") or said.get("description", "")
        kind = getattr(variable.dtype, "name", "text")
        rows.append((code(name), code(", ".join(variable.dimensions)), kind, said.get("units", ""), meaning))
    return table(("variable", "dimensions", "type", "units", "meaning"), rows)
