"""Readers of satellite retrievals: one module a product, each a table of where its variables are.

Every product gives the same :class:`~stilt_dagster.science.observations.soundings.Soundings`. A user overrides any part
of a table, or gives a whole one for the product ``netcdf``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stilt_dagster.retrievals import methaneair, methanesat, netcdf, oco, tropomi
from stilt_dagster.retrievals.granule import Granule, read
from stilt_dagster.retrievals.table import Product
from stilt_dagster.science.errors import RetrievalError
from stilt_dagster.science.scenes.observation_settings import Area

__all__ = ["PRODUCTS", "Granule", "read_granule"]

PRODUCTS: dict[str, Product] = {
    "tropomi_ch4": tropomi.OPERATIONAL,
    "tropomi_ch4_blended": tropomi.BLENDED,
    "oco2_xco2": oco.LITE,
    "oco3_xco2": oco.LITE,
    "methanesat_l2": methanesat.LEVEL_2,
    "methanesat_l3": methanesat.LEVEL_3,
    "methaneair": methaneair.LEVEL_2,
    "netcdf": netcdf.GENERIC,
}


def read_granule(
    path: Path, product: str, *, mapping: Mapping[str, Any] | None = None, area: Area | None = None
) -> Granule:
    """Read a retrieval's file.

    Parameters
    ----------
    path : Path
        A file of this machine.
    product : str
        One of :data:`PRODUCTS`.
    mapping : mapping, optional
        What to read otherwise than the product's table says; names are those of
        :class:`~stilt_dagster.retrievals.table.Table`.
    area : Area, optional
        Return only what lies in it.

    Returns
    -------
    Granule
        What was measured, in which version, and its soundings.

    Raises
    ------
    UnreadableError
        If the file cannot be opened, or breaks off.
    RetrievalError
        Naming the file, the variable, what was found and what is expected.
    """
    if product not in PRODUCTS:
        raise RetrievalError(f"unknown product {product!r}; known are {', '.join(PRODUCTS)}")
    return read(path, PRODUCTS[product], product, mapping or {}, area)
