"""Small matrices as adapters take them, without a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse

from stilt_dagster.science.jacobian.cells import Cells, GridCells
from stilt_dagster.science.scenes.grid import Grid


@dataclass(frozen=True)
class Small:
    """A matrix in memory, two rows a block."""

    matrix: scipy.sparse.csr_matrix
    obs: pd.DataFrame
    flux_time_bounds: np.ndarray
    cells: Cells

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def iter_blocks(self) -> Iterator[tuple[slice, scipy.sparse.csr_matrix]]:
        for start in range(0, self.shape[0], 2):
            rows = slice(start, min(start + 2, self.shape[0]))
            yield rows, self.matrix[rows]

    def having(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def with_status(self, *status: str) -> Self:
        return self.having(obs=self.obs.assign(status=list(status)))


def cells_of(grid: Grid, crs: dict[str, Any] | None = None) -> GridCells:
    """Return a grid's cells as a matrix has them."""
    names = ("lat", "lon") if grid.is_longlat else ("y", "x")
    return GridCells(grid.y, grid.x, grid.y_edges, grid.x_edges, names, crs or {}, grid.cell_area)


def small(*, n_hours: int = 5, grid: Grid | None = None, start: str = "2023-07-01T08", seed: int = 0) -> Small:
    """Return observations of two scenes, two of one time, one on the hour, one empty; each feels hours before it."""
    rng = np.random.default_rng(seed)
    cells = cells_of(grid or Grid(-112.2, -111.6, 0.2, 40.3, 40.7, 0.1))
    bounds = np.datetime64(start, "ns") + np.arange(n_hours + 1).astype("timedelta64[h]")
    minutes = np.array([-40, -40, -120, -1, -30]) + 60 * n_hours
    times = bounds[0] + minutes.astype("timedelta64[m]")
    shape = (len(times), n_hours, *cells.shape)
    dense = (rng.random(shape) * (rng.random(shape) < 0.4)).astype(np.float32)
    dense[bounds[None, :-1] >= times[:, None]] = 0
    dense[4] = 0
    places = [(-112.0, 40.5), (-112.0, 40.55), (-111.95, 40.5), (-111.9, 40.5), (-111.9, 40.55)]
    ids = [f"{t:%Y%m%d%H%M}_{x:g}_{y:g}_5" for t, (x, y) in zip(pd.to_datetime(times), places, strict=True)]
    obs = pd.DataFrame(
        {
            "scene": ["a", "a", "b", "b", "b"],
            "time": times,
            "longitude": [p[0] for p in places],
            "latitude": [p[1] for p in places],
            "status": ["ok", "ok", "ok", "ok", "empty"],
            "value": 1.9 + rng.random(5) / 10,
            "uncertainty": 0.01,
            "prior_term": 0.2,
            "background": 1.65,
            "n_pixels": [1, 4, 2, 1, 1],
        },
        index=pd.Index(ids, name="obs_id"),
    )
    matrix = scipy.sparse.csr_matrix(dense.reshape(len(times), -1))
    return Small(matrix, obs, np.column_stack([bounds[:-1], bounds[1:]]), cells)
