"""New ARL files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arlmet import File, Grid, SigmaAxis

from stilt_dagster.science.meteorology.arl.index import RECORD_HEADER
from stilt_dagster.science.meteorology.arl.packing import with_thousands


def create(
    path: Path,
    source: str,
    grid: Grid,
    sigma: list[float],
    steps: Iterable[tuple[pd.Timestamp, Mapping[tuple[str, int, str | None], Any]]],
) -> None:
    """Write an ARL file on sigma levels.

    Parameters
    ----------
    path : Path
        The file.
    source : str
        Model id of four letters.
    grid : arlmet.Grid
        Horizontal grid.
    sigma : list of float
        Levels, 1 (the surface) first.
    steps : iterable of (Timestamp, mapping)
        Each time and its fields by ``(name, level, name of a difference record or None)``, shape ``(ny, nx)``.
    """
    with File(path, mode="w", source=source, grid=grid, vertical_axis=SigmaAxis(levels=sigma)) as file:
        for time, fields in steps:
            step = file.create_recordset(time, forecast=0)
            for (name, level, diff), values in fields.items():
                data = np.broadcast_to(np.asarray(values, np.float32), (grid.ny, grid.nx)).copy()
                step.create_datarecord(name, level=level, forecast=0, data=data, diff=diff)
            file.flush()
    _write_thousands(path, grid)


def _write_thousands(path: Path, grid: Grid) -> None:
    """Write a grid's thousands anew where HYSPLIT reads them otherwise than arlmet writes them."""
    length = RECORD_HEADER + grid.nx * grid.ny
    with path.open("r+b") as file:
        for position in range(0, path.stat().st_size, length):
            file.seek(position)
            text = file.read(RECORD_HEADER)
            if with_thousands(text) == text:
                return
            file.seek(position)
            file.write(with_thousands(text))
