"""Any other retrieval in NetCDF-4: the user's ``mapping`` is the whole table."""

from __future__ import annotations

from stilt_dagster.retrievals.table import Product, by_start

GENERIC = Product({}, by_start)
