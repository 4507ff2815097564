"""Small matrices as adapters take them, without a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse


@dataclass
class Small:
    """A matrix in memory, two rows a block."""

    matrix: scipy.sparse.csr_matrix
    obs: pd.DataFrame
    flux_time_bounds: np.ndarray
    cells: Any

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def iter_blocks(self) -> Iterator[tuple[slice, scipy.sparse.csr_matrix]]:
        for start in range(0, self.shape[0], 2):
            rows = slice(start, min(start + 2, self.shape[0]))
            yield rows, self.matrix[rows]


def small(*, n_hours: int = 5, ny: int = 4, nx: int = 3, seed: int = 0) -> Small:
    """Return observations of two scenes, two minutes past the hour and one on it, each feeling the hours before it."""
    rng = np.random.default_rng(seed)
    times = pd.to_datetime(["2023-07-15T12:20", "2023-07-15T12:20", "2023-07-15T11:00", "2023-07-15T12:59"])
    bounds = np.datetime64("2023-07-15T08", "ns") + np.arange(n_hours + 1).astype("timedelta64[h]")
    dense = rng.random((len(times), n_hours, ny, nx)).astype(np.float32) * (rng.random((len(times), n_hours, ny, nx)) < 0.4)
    dense[bounds[None, :-1] >= times.to_numpy()[:, None]] = 0  # nothing after the release is felt
    places = [(-112.0, 40.5), (-112.0, 40.55), (-111.95, 40.5), (-111.9, 40.5)]
    ids = [f"{t:%Y%m%d%H%M}_{x:g}_{y:g}_5" for t, (x, y) in zip(times, places, strict=True)]
    obs = pd.DataFrame(
        {
            "scene": ["a", "a", "b", "b"],
            "time": times,
            "longitude": [p[0] for p in places],
            "latitude": [p[1] for p in places],
            "status": "ok",
            "value": 1.9 + rng.random(4) / 10,
            "uncertainty": 0.01,
            "prior_term": 0.2,
            "background": 1.65,
            "n_pixels": [1, 4, 2, 1],
        },
        index=pd.Index(ids, name="obs_id"),
    )
    y_edges, x_edges = 40.3 + 0.1 * np.arange(ny + 1), -112.2 + 0.2 * np.arange(nx + 1)
    cells = SimpleNamespace(
        y=np.round((y_edges[1:] + y_edges[:-1]) / 2, 10),
        x=np.round((x_edges[1:] + x_edges[:-1]) / 2, 10),
        y_edges=np.round(y_edges, 10),
        x_edges=np.round(x_edges, 10),
        names=("lat", "lon"),
        shape=(ny, nx),
        size=ny * nx,
        crs={},
    )
    matrix = scipy.sparse.csr_matrix(dense.reshape(len(times), -1))
    return Small(matrix, obs, np.column_stack([bounds[:-1], bounds[1:]]), cells)
