"""Receptors from CSV and Parquet files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.receptors import (
    MAX_RECEPTORS,
    ReceptorError,
    Receptors,
    checked_receptors,
    coordinate,
    release_time,
)

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

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

_ISO = "an ISO 8601 time such as 2019-05-30T04:00:00Z, which no country reads another way"


def read_receptor_file(base: Path, name: Any, where: str, time: dt.datetime | None) -> Receptors:
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
    time : datetime, optional
        Release time of rows that have none.

    Returns
    -------
    Receptors
        In the order of the rows.

    Raises
    ------
    SceneError
        Naming the file and the column or row in error.
    """
    if not isinstance(name, str):
        raise SceneError(f"{where}: receptors.file must be a path (got {name!r})")
    path = base / Path(name).expanduser()
    table = _read_table(path, f"{where}: receptors.file", name)
    here = f"{where}: {path.name}"
    table = table.rename(columns=lambda c: _ALIASES.get(str(c).strip(), str(c).strip()))
    if unknown := [c for c in table.columns if c not in _COLUMNS]:
        raise SceneError(f"{here}: unknown column {unknown[0]!r}; allowed are {', '.join(_COLUMNS)}")
    if table.columns.duplicated().any():
        raise SceneError(f"{here}: column {table.columns[table.columns.duplicated()][0]!r} appears twice")
    if missing := [c for c in ("longitude", "latitude") if c not in table]:
        raise SceneError(f"{here}: column {missing[0]!r} is missing")
    if table.empty:
        raise SceneError(f"{here}: holds no receptors")
    values = {c: _numbers(table[c], here, c not in ("longitude", "latitude")) for c in table.columns if c != "time"}
    ends = _ends(values, here)
    minutes = _minutes(table.get("time"), len(table), time, here)
    try:
        return checked_receptors(minutes, *ends).require_distinct()
    except ReceptorError as error:
        raise SceneError(f"{here}: row {error.row + 1}: {error}") from None
    except SceneError as error:
        raise SceneError(f"{here}: {error}") from None


def _read_table(path: Path, where: str, name: str) -> pd.DataFrame:
    """Return a file's rows."""
    try:
        if path.suffix == ".csv":
            _refuse_other_separators(path, where)
            table, rows = pd.read_csv(path, float_precision="round_trip", nrows=MAX_RECEPTORS + 1), 0
        elif path.suffix in (".parquet", ".pq"):
            rows = pq.read_metadata(path).num_rows  # a small file can say that it has any number of equal ones
            table = pd.read_parquet(path) if rows <= MAX_RECEPTORS else pd.DataFrame()
        else:
            raise SceneError(f"{where} must end in .csv or .parquet (got {name})")
    except FileNotFoundError:
        raise SceneError(f"{where}: {path} does not exist") from None
    except pd.errors.EmptyDataError:
        raise SceneError(f"{where}: {path} is empty") from None
    except (OSError, ValueError) as error:
        raise SceneError(f"{where}: {path} cannot be read: {error}") from None
    if max(rows, len(table)) > MAX_RECEPTORS:
        raise SceneError(f"{where}: {path} has more than the {MAX_RECEPTORS} receptors of a scene")
    return table


def _refuse_other_separators(path: Path, where: str) -> None:
    """Recognise what spreadsheets write where decimals have a comma."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(10_000)
    for separator, kind in _SEPARATORS.items():
        if separator in header and "," not in header:
            raise SceneError(
                f"{where}: {path} separates its columns by {kind}: save it with commas between columns and points in "
                "decimals (in R write.csv, not write.csv2; in a spreadsheet CSV with the locale English), or as Parquet"
            )


def _numbers(values: pd.Series[Any], here: str, optional: bool) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where there is none, if it may be missing."""
    if not pd.api.types.is_numeric_dtype(values):
        bad = pd.to_numeric(values, errors="coerce").isna()
        row = int(np.flatnonzero(bad)[0]) if bad.any() else 0
        got = values.iloc[row]
        hint = ": write decimals with a point" if isinstance(got, str) and "," in got else ""
        raise SceneError(f"{here}: row {row + 1}: {values.name} must be a number (got {got!r}){hint}")
    numbers = values.to_numpy(float, na_value=np.nan)
    bad = ~np.isfinite(numbers)
    if optional:
        bad &= ~values.isna().to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SceneError(f"{here}: row {row + 1}: {values.name} must be a finite number (got {values.iloc[row]!r})")
    if values.dtype == np.float32:  # to what the float32 stands for, before it widens
        return np.array([coordinate(v) if np.isfinite(v) else np.nan for v in values.to_numpy()])
    return numbers


def _ends(values: dict[str, NDArray[np.float64]], here: str) -> list[NDArray[np.float64]]:
    """Return longitude, latitude and height of the first and the last point of each row, shape ``(n, 2)``."""
    n = len(values["longitude"])
    given = {name: values.get(name, np.full(n, np.nan)) for name in _COLUMNS if name != "time"}
    there = {name: ~np.isnan(column) for name, column in given.items()}
    for wrong, why in (
        (there["bottom"] != there["top"], "a column needs both bottom and top"),
        (there["height"] & there["bottom"], "give height, or bottom and top, not both"),
        (there["bottom"] & (given["bottom"] == given["top"]), "a column needs two different heights"),
    ):
        if wrong.any():
            raise SceneError(f"{here}: row {int(np.flatnonzero(wrong)[0]) + 1}: {why}")
    height = np.where(there["height"], given["height"], 1.0)
    column = there["bottom"]
    pairs = [
        (given[axis], np.where(there[f"{axis}_top"], given[f"{axis}_top"], given[axis]))
        for axis in ("longitude", "latitude")
    ]
    pairs.append((np.where(column, given["bottom"], height), np.where(column, given["top"], height)))
    return [np.column_stack(pair) for pair in pairs]


def _minutes(column: pd.Series[Any] | None, n: int, default: dt.datetime | None, here: str) -> NDArray[np.int64]:
    """Return release times, minutes since 1970 UTC."""
    values = [None] * n if column is None else [None if pd.isna(v) else v for v in column.tolist()]
    known: dict[Any, int] = {}
    for row, value in enumerate(values):
        if value in known:
            continue
        try:
            known[value] = int(_time(value, default).timestamp()) // 60
        except ValueError as error:
            raise SceneError(f"{here}: row {row + 1}: time {error}") from None
    return np.array([known[value] for value in values], np.int64)


def _time(value: Any, default: dt.datetime | None) -> dt.datetime:
    if value is None:
        if default is None:
            raise ValueError("is missing: give it in the file, or a time to the scene")
        return default
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value!r} is ambiguous, or no time: write {_ISO}") from None
    if not isinstance(value, dt.datetime):
        raise ValueError(f"{value!r} is a number: write {_ISO}")
    return release_time(value)
