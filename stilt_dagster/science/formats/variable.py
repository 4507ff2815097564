"""One column of a table, or variable of a NetCDF file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One column of a table, or variable of a NetCDF file.

    Attributes
    ----------
    name : str
        Its name; with the group of a NetCDF file before it, ``utc/foot``.
    kind : str
        How it is stored: a type of Arrow, or of NumPy for NetCDF.
    meaning : str
        What it is, in a few words.
    units : str
        Units as UDUNITS writes them; ``1`` of shares and counts; empty where there are none.
    dims : tuple of str
        Dimensions of a NetCDF variable; none of a column. On projected grids ``lat, lon`` are ``y, x``.
    optional : str
        When it is there; empty if always.
    """

    name: str
    kind: str
    meaning: str
    units: str = ""
    dims: tuple[str, ...] = ()
    optional: str = ""
