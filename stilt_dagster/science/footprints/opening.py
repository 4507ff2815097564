"""Footprints of a scene as one dataset, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.science.errors import IncompleteError

if TYPE_CHECKING:
    import xarray as xr


def open_footprints(folder: Path | str) -> xr.Dataset:
    """Open the footprints of a scene, all parts as one dataset, read as they are used.

    Parameters
    ----------
    folder : path
        The scene's folder, ``<store>/footprints/<scene>``; that of one shard opens that shard's.

    Returns
    -------
    xarray.Dataset
        ``foot(receptor, hour, lat, lon)``, ppm (umol m-2 s-1)-1, and how each receptor ended.

    Raises
    ------
    IncompleteError
        If there are no footprints in the folder.
    FormatError
        If a later version wrote them.
    """
    import xarray as xr

    from stilt_dagster.science.files.format_numbers import FOOTPRINTS_FORMAT, require_format

    root = Path(folder)
    parts = sorted([*root.glob("part-*.nc"), *root.glob("*/part-*.nc")])
    if not parts:
        raise IncompleteError(f"there are no footprints in {root}: run the scene first, or name its folder")
    opened = xr.open_mfdataset(parts, combine="nested", concat_dim="receptor")
    require_format(opened.attrs.get("format"), FOOTPRINTS_FORMAT, root)
    return opened
