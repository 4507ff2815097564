"""For PYSTILT: rows as the sparse footprint files its readers take.

A file a receptor, ``date=<day>/<receptor>.parquet``: non-zero cells with their hour from the release, as
``stilt.footprint.write_footprint`` of pystilt 0.1.0a25 writes them; ``stilt.read_footprint``, ``stilt.footprint.
open_footprints`` and ``stilt.footprint.jacobian`` read them.

PYSTILT's layer k begins k hours after the release, in its minute; a row's hour is one of UTC. The layer written is the
one that begins in the row's hour, so PYSTILT's time bins of full hours hold exactly what the columns do.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.operator import (
    Operator,
    hours_since_1970,
    require_finished,
    require_grid,
    require_hours,
)
from stilt_dagster.science.jacobian.cells import GridCells
from stilt_dagster.science.pystilt import (
    FOOTPRINT_SCHEMA,
    ColumnReceptor,
    FootprintConfig,
    Grid,
    MultiPointReceptor,
    PointReceptor,
    footprint_settings,
)
from stilt_dagster.science.scratch import whole, writing

_NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"
_PLACE = re.compile(
    rf"\d{{12}}_{_NUMBER}_{_NUMBER}_(?:X{_NUMBER}-{_NUMBER}|{_NUMBER}(?:_to_{_NUMBER}_{_NUMBER}_{_NUMBER})?)"
)

#: Cells an axis may have: PYSTILT counts them in 16 bits.
_MOST_CELLS = np.iinfo(np.int16).max + 1


def write_footprints(operator: Operator, directory: Path, *, name: str = "stilt_dagster") -> dict[str, Path]:
    """Write each row as a footprint file of PYSTILT.

    Parameters
    ----------
    operator : Operator
        On a grid, of hours of flux or of one time step, without failed rows.
    directory : Path
        Where to write; it is made.
    name : str
        What PYSTILT calls the variant.

    Returns
    -------
    dict of str to Path
        The file of each observation. PYSTILT names receptors as they are named here, but for slanted columns.

    Raises
    ------
    JacobianError
        If observations failed or are not named as receptors are, columns are regions or longer steps than hours, or
        the grid is one PYSTILT has not.
    """
    require_finished(operator, "PYSTILT")
    cells = require_grid(operator, "PYSTILT")
    if unknown := next((i for i in operator.obs.index if not _PLACE.fullmatch(str(i))), None):
        raise JacobianError(
            f"observation {unknown} is not named as a receptor is, <time>_<longitude>_<latitude>_<height>"
        )
    bounds = operator.flux_time_bounds
    integrated = len(bounds) == 1 and bounds[0, 1] - bounds[0, 0] != np.timedelta64(1, "h")
    hours = np.zeros(1, np.int64) if integrated else require_hours(operator, "PYSTILT")
    config = _config(cells, time_integrate=integrated)
    settings = json.dumps(footprint_settings(config, None)).encode()
    times = pd.DatetimeIndex(operator.obs["time"])
    released = np.zeros(len(times), np.int64) if integrated else hours_since_1970(times)
    ny, nx = cells.shape
    paths = {}
    with writing(directory):
        for place, block in operator.iter_blocks():
            block.sum_duplicates()  # PYSTILT takes the last of entries of one cell
            for k, observation in enumerate(operator.obs.index[place].astype(str)):
                receptor = make_receptor(observation, times[place.start + k])
                entries = slice(int(block.indptr[k]), int(block.indptr[k + 1]))
                step, cell = np.divmod(block.indices[entries].astype(np.int64), ny * nx)
                hour = hours[step] - released[place.start + k]
                table = _table(str(receptor.id), hour, cell, nx, block.data[entries])
                empty = table.num_rows == 0
                layers = [] if empty else list(range(int(hour.min()), int(hour.max()) + 1))
                metadata = {
                    b"stilt:receptor": receptor.to_json().encode(),
                    b"stilt:name": name.encode(),
                    b"stilt:hours": json.dumps(layers).encode(),
                    b"stilt:empty": b"true" if empty else b"false",
                    b"stilt:footprint": settings,
                }
                path = directory / f"date={receptor.time:%Y-%m-%d}" / f"{receptor.id}.parquet"
                with whole(path) as part:
                    pq.write_table(table.replace_schema_metadata(metadata), part, compression="zstd")
                paths[observation] = path
    return paths


def _table(receptor: str, hour: NDArray[np.int64], cell: NDArray[np.int64], nx: int, foot: NDArray[Any]) -> pa.Table:
    """Return a footprint's cells as PYSTILT stores them."""
    y, x = np.divmod(cell, nx)
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(cell), np.int32)), pa.array([receptor]))
    columns = {"hour": hour.astype(np.int16), "y": y.astype(np.int16), "x": x.astype(np.int16)}
    return pa.table({"receptor": name, **columns, "foot": foot.astype(np.float32)}, schema=FOOTPRINT_SCHEMA)


def make_receptor(observation: str, time: pd.Timestamp) -> Any:
    """Return PYSTILT's receptor of an observation, whose id says where it is.

    Raises
    ------
    JacobianError
        If PYSTILT takes none there.
    """
    found = _PLACE.fullmatch(observation)
    assert found is not None
    x, y, bottom, top, z, *end = (None if v is None else float(v) for v in found.groups())
    released = time.to_pydatetime().replace(tzinfo=None)
    try:
        if bottom is not None:
            return ColumnReceptor(time=released, longitude=x, latitude=y, bottom=bottom, top=top)
        if end[0] is None:
            return PointReceptor(time=released, longitude=x, latitude=y, altitude=z)
        return MultiPointReceptor(time=released, longitudes=[x, end[0]], latitudes=[y, end[1]], altitudes=[z, end[2]])
    except ValidationError as error:
        raise JacobianError(f"PYSTILT has no receptor {observation}: {error.errors()[0]['msg']}") from error


def _config(cells: GridCells, *, time_integrate: bool) -> FootprintConfig:
    """Return PYSTILT's settings of footprints on a grid.

    Raises
    ------
    JacobianError
        If PYSTILT makes other cells of it.
    """
    if max(cells.shape) > _MOST_CELLS:
        raise JacobianError(f"the grid has {max(cells.shape)} cells along an axis, and PYSTILT at most {_MOST_CELLS}")
    (x0, x1), (y0, y1) = ((float(e[0]), float(e[-1])) for e in (cells.x_edges, cells.y_edges))
    steps = [float(e[-1] - e[0]) / (len(e) - 1) for e in (cells.x_edges, cells.y_edges)]
    xres, yres = (float(f"{s:.10g}") for s in steps)
    crs = "+proj=longlat"
    if not cells.is_longlat:
        from pyproj import CRS, Transformer

        crs = CRS.from_cf(dict(cells.crs)).to_wkt()
        back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        # PYSTILT projects the corners again: a millionth of a cell more, so that the last is not lost in rounding.
        (x0, x1), (y0, y1) = back.transform([x0, x1 + 1e-6 * xres], [y0, y1 + 1e-6 * yres])
    grid = Grid(xmin=x0, xmax=x1, ymin=y0, ymax=y1, xres=xres, yres=yres, crs=crs)
    axes = dict(zip("xy", grid.axes, strict=True))
    for axis, ours, step in (("x", cells.x, xres), ("y", cells.y, yres)):
        if len(axes[axis]) != len(ours) or np.abs(axes[axis] - ours).max() > 1e-4 * step:
            raise JacobianError(
                "PYSTILT's grids have cells of one size, from the corners of a box: this grid is not one of them"
            )
    return FootprintConfig(grid=grid, time_integrate=time_integrate)
