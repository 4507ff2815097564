"""A map on a footprint's grid as a cloud-optimized GeoTIFF, for GIS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import UserError
from stilt_dagster.science.footprints.footprint_files import FOOT_UNITS
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scratch import require_space, writing


def require_rasterio() -> None:
    """Make sure that GeoTIFFs can be written, before anything is read for one.

    Raises
    ------
    UserError
        Naming what to install.
    """
    try:
        import rasterio  # noqa: F401
    except ImportError:
        raise UserError("a GeoTIFF needs rasterio, which is not installed: pip install 'stilt_dagster[gis]'") from None


def write_geotiff(
    values: NDArray[np.float64], grid: Grid, description: str, tags: Mapping[str, str], path: Path
) -> None:
    """Write one band of influence, float32, north up.

    The band has its units and its description; NaN is nodata, and 0 is a cell that nothing was felt of. Longitude and
    latitude are WGS 84's (EPSG:4326), which receptors and projections are given in; a grid across the antimeridian
    keeps its longitudes past 180 degrees, so that it stays in one piece.

    Parameters
    ----------
    values : ndarray
        Shape ``(y, x)``, south and west first.
    grid : Grid
        Its grid.
    description : str
        What the band is.
    tags : mapping of str to str
        What else is to be known of it.
    path : Path
        A file of this machine, complete only once this returns.
    """
    import rasterio

    west, north = float(grid.x_edges[0]), float(grid.y_edges[-1])
    if grid.is_longlat and west >= 180:
        west -= 360
    profile = {
        "driver": "COG",
        "dtype": "float32",
        "count": 1,
        "height": grid.ny,
        "width": grid.nx,
        "crs": rasterio.CRS.from_user_input("EPSG:4326" if grid.is_longlat else grid.projection),
        "transform": rasterio.Affine(grid.xres, 0, west, 0, -grid.yres, north),
        "nodata": np.nan,
        "compress": "DEFLATE",
        "predictor": "YES",
        "overview_resampling": "average",
    }
    with writing(path):
        require_space(path, 8 * grid.ny * grid.nx + (1 << 20))
        with rasterio.open(path, "w", **profile) as file:
            file.write(values[::-1].astype(np.float32), 1)
            file.set_band_description(1, description)
            file.units = (FOOT_UNITS,)
            file.update_tags(**tags)
