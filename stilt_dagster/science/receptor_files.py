"""Receptors from CSV and Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.receptors import MAX_RECEPTORS, coordinate

#: R STILT's and pystilt's names of the columns.
_ALIASES = {
    "run_time": "time",
    "long": "longitude",
    "lon": "longitude",
    "lati": "latitude",
    "lat": "latitude",
    "zagl": "height",
    "altitude": "height",
}

#: Columns a file may have; those with an end in ``_top`` make columns.
_COLUMNS = ("time", "longitude", "latitude", "height", "bottom", "top", "longitude_top", "latitude_top")


def read_points(base: Path, name: Any, where: str) -> list[dict[str, Any]]:
    """Read receptors from a file.

    Parameters
    ----------
    base : Path
        Directory a relative name starts at.
    name : str
        A ``.csv`` or ``.parquet`` file with the columns ``longitude``, ``latitude`` (degrees), ``height`` (m) or
        ``bottom`` and ``top``, optionally ``time`` (UTC) and ``longitude_top``, ``latitude_top``; R STILT's ``long``,
        ``lati``, ``zagl``, ``run_time`` mean the same.
    where : str
        The scene file, for errors.

    Returns
    -------
    list of dict
        The points of a scene's spec.

    Raises
    ------
    SceneError
        Naming the file and the column or row in error.
    """
    if not isinstance(name, str):
        raise SceneError(f"{where}: receptors.file must be a path (got {name!r})")
    path = base / Path(name).expanduser()
    try:
        if path.suffix == ".csv":
            table, rows = pd.read_csv(path, float_precision="round_trip", nrows=MAX_RECEPTORS + 1), 0
        elif path.suffix in (".parquet", ".pq"):
            rows = pq.read_metadata(path).num_rows  # a small file can say that it has any number of equal ones
            table = pd.read_parquet(path) if rows <= MAX_RECEPTORS else pd.DataFrame()
        else:
            raise SceneError(f"{where}: receptors.file must end in .csv or .parquet (got {name})")
    except FileNotFoundError:
        raise SceneError(f"{where}: receptors.file: {path} does not exist") from None
    except pd.errors.EmptyDataError:
        raise SceneError(f"{where}: receptors.file: {path} is empty") from None
    except (OSError, ValueError) as error:
        raise SceneError(f"{where}: receptors.file: {path} cannot be read: {error}") from None
    if max(rows, len(table)) > MAX_RECEPTORS:
        raise SceneError(f"{where}: receptors.file: {path} has more than the {MAX_RECEPTORS} receptors of a scene")
    table = table.rename(columns=lambda c: _ALIASES.get(str(c).strip(), str(c).strip()))
    here = f"{where}: {path.name}"
    if unknown := [c for c in table.columns if c not in _COLUMNS]:
        raise SceneError(f"{here}: unknown column {unknown[0]!r}; allowed are {', '.join(_COLUMNS)}")
    if table.columns.duplicated().any():
        raise SceneError(f"{here}: column {table.columns[table.columns.duplicated()][0]!r} appears twice")
    if missing := [c for c in ("longitude", "latitude") if c not in table]:
        raise SceneError(f"{here}: column {missing[0]!r} is missing")
    if table.empty:
        raise SceneError(f"{here}: holds no receptors")
    for column in table.columns.drop("time", errors="ignore"):
        _check_numbers(table[column], here, optional=column not in ("longitude", "latitude"))
    for column in table.columns[table.dtypes == np.float32]:  # to what the float32 stands for, before it widens
        table[column] = [coordinate(v) if np.isfinite(v) else np.nan for v in table[column].to_numpy()]
    return [_point(dict(zip(table.columns, row, strict=True)), n, here) for n, row in enumerate(table.values, start=1)]


def _check_numbers(values: pd.Series[Any], here: str, optional: bool) -> None:
    """Refuse a column that is not numbers, or a missing one where each row needs its own."""
    if not pd.api.types.is_numeric_dtype(values):
        bad = pd.to_numeric(values, errors="coerce").isna()
        row = int(np.flatnonzero(bad)[0]) if bad.any() else 0
        raise SceneError(f"{here}: row {row + 1}: {values.name} must be a number (got {values.iloc[row]!r})")
    bad = ~np.isfinite(values.to_numpy(float, na_value=np.nan))
    if optional:
        bad &= ~values.isna().to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SceneError(f"{here}: row {row + 1}: {values.name} must be a finite number (got {values.iloc[row]!r})")


def _point(row: dict[str, Any], number: int, here: str) -> dict[str, Any]:
    """Return a row as a point of a spec."""
    value = {k: coordinate(v) for k, v in row.items() if k != "time" and not pd.isna(v)}
    if ("bottom" in value) != ("top" in value):
        raise SceneError(f"{here}: row {number}: a column needs both bottom and top")
    if "height" in value and "bottom" in value:
        raise SceneError(f"{here}: row {number}: give height, or bottom and top, not both")
    point: dict[str, Any] = {"longitude": value["longitude"], "latitude": value["latitude"]}
    if "bottom" in value:
        point["height"] = [value["bottom"], value["top"]]
    elif "height" in value:
        point["height"] = value["height"]
    for axis in ("longitude", "latitude"):
        if f"{axis}_top" in value:
            point[axis] = [point[axis], value[f"{axis}_top"]]
    if "time" in row and not pd.isna(row["time"]):
        try:
            point["time"] = pd.Timestamp(row["time"]).isoformat()
        except ValueError:
            raise SceneError(f"{here}: row {number}: time {row['time']!r} is not a time") from None
    return point
