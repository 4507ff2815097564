"""Jacobian files made of arrays: any shape and layout, without running a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from stilt_dagster.science.footprints.footprint_files import FOOT_UNITS, TEXT, write_grid
from stilt_dagster.science.jacobian.jacobian_files import create_entries, create_file
from stilt_dagster.science.scenes.settings import FootprintSettings

#: 2023-07-15 00:00, hours since 1970.
DAY = 469_272

GRID = {"xmin": -112.0, "xmax": -111.4, "xres": 0.1, "ymin": 40.0, "ymax": 40.4, "yres": 0.1}


@dataclass(frozen=True)
class Sample:
    """What a file is made of.

    Attributes
    ----------
    scene : str
        The scene; observations are ``<scene>-0`` and so on.
    matrix : csr_matrix
        The matrix, float32.
    first, hours : int
        First hour of flux and how many there are; of an integrated one, how long its only step is.
    grid : dict
        Of the footprint.
    """

    scene: str
    matrix: scipy.sparse.csr_matrix
    first: int = DAY
    hours: int = 6
    grid: dict[str, Any] = field(default_factory=lambda: dict(GRID))
    integrated: bool = False
    failed: Sequence[int] = ()
    compressed: bool = False
    attrs: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Sample:
        """Return another one that differs in something."""
        return replace(self, **changes)

    @property
    def ids(self) -> list[str]:
        return [f"{self.scene}-{k}" for k in range(self.matrix.shape[0])]

    def write(self, path: Path) -> Path:
        """Write it as ``stilt-jacobian/1``."""
        settings = FootprintSettings.model_validate(self.grid)
        n, m = self.matrix.shape[0], self.matrix
        status = np.where(np.isin(np.arange(n), self.failed), 2, np.where(np.diff(m.indptr) == 0, 1, 0))
        steps = np.array([[self.first, self.first + self.hours]])
        if not self.integrated:
            steps = self.first + np.arange(self.hours)[:, None] + [0, 1]
        path.parent.mkdir(parents=True, exist_ok=True)
        with create_file(path) as f:
            f.dimensions.update({"obs": n, "obs_bound": n + 1, "nnz": m.nnz or None, "flux_time": len(steps)})
            y, x = write_grid(f, settings)
            for name, dims, values, units in (
                ("flux_time", ("flux_time",), steps[:, 0].astype("f8"), "hours since 1970-01-01 00:00:00"),
                ("flux_time_bnds", ("flux_time", "bnds"), steps.astype("f8"), ""),
                ("cell_area", (y, x), settings.grid.cell_area, "m2"),
                (
                    "time",
                    ("obs",),
                    60.0 * (self.first + self.hours) + np.arange(n),
                    "minutes since 1970-01-01 00:00:00",
                ),
                ("longitude", ("obs",), np.linspace(-111.9, -111.5, n), "degrees_east"),
                ("latitude", ("obs",), np.linspace(40.1, 40.3, n), "degrees_north"),
                ("status", ("obs",), status.astype("i1"), ""),
                ("row_sum", ("obs",), np.asarray(m.astype("f8").sum(axis=1)).ravel(), FOOT_UNITS),
                ("indptr", ("obs_bound",), m.indptr.astype("i8"), ""),
                *((name, ("obs",), np.asarray(values), "ppm") for name, values in self.rows.items()),
            ):
                variable = f.create_variable(name, dims, values.dtype, data=values)
                if units:
                    variable.attrs["units"] = units
            f.create_variable("obs_id", ("obs",), TEXT)[:] = np.array(self.ids, dtype=object)
            if self.compressed:  # as versions before did
                how = {"chunks": (max(m.nnz // 3, 1),), "compression": "gzip", "compression_opts": 1, "shuffle": True}
                indices = f.create_variable("indices", ("nnz",), m.indices.dtype, **how)
                data = f.create_variable("data", ("nnz",), "f4", **how)
                data.attrs["units"] = FOOT_UNITS
            else:
                indices, data = create_entries(f, m.indices.dtype)
            if m.nnz:
                indices[:], data[:] = m.indices, m.data
            known = {"format": "stilt-jacobian/1", "Conventions": "CF-1.9", "sparse_format": "csr", "scene": self.scene}
            shape = np.array([n, len(steps) * settings.grid.ny * settings.grid.nx], "i8")
            f.attrs.update({**known, "shape": shape, "column_order": f"flux_time {y} {x}", **self.attrs})
        return path


def sample(scene: str = "a", rows: int = 4, seed: int = 0, density: float = 0.3, **how: Any) -> Sample:
    """Return a matrix of random entries on the hours and cells of *how*; failed rows hold none."""
    made = Sample(scene, scipy.sparse.csr_matrix((rows, 1), dtype="f4"), **how)
    grid = FootprintSettings.model_validate(made.grid).grid
    n_columns = (1 if made.integrated else made.hours) * grid.ny * grid.nx
    matrix = scipy.sparse.random(rows, n_columns, density, "csr", "f4", np.random.default_rng(seed))
    kept = ~np.isin(np.arange(rows), made.failed)
    matrix = (scipy.sparse.diags(kept.astype("f4")) @ matrix).tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return made.but(matrix=matrix)
