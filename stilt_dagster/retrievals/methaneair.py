"""MethaneAIR methane, the airborne instrument: laid out as MethaneSAT's L2.

Not checked against a file: override what differs with ``mapping``.
"""

from __future__ import annotations

from stilt_dagster.retrievals.methanesat import LEVEL_2 as _METHANESAT
from stilt_dagster.retrievals.table import Product, by_start

LEVEL_2 = Product(_METHANESAT.table, by_start, _METHANESAT.units)
