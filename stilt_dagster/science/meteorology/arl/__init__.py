"""ARL meteorology files: their index, fields and records read by range, cut and joined to one, and new ones written.

The only folder that knows arlmet, whose codecs it is built on. Nothing is read but what is asked for, and memory does
not grow with files.
"""

from stilt_dagster.science.meteorology.arl.fields import read_fields
from stilt_dagster.science.meteorology.arl.grids import Box, Window, grid_box, grid_lonlat, lambert, readable, subset
from stilt_dagster.science.meteorology.arl.index import Header, Record, Step, read_header
from stilt_dagster.science.meteorology.arl.joining import Selection, join, require_one_grid
from stilt_dagster.science.meteorology.arl.writing import create

__all__ = [
    "Box",
    "Header",
    "Record",
    "Selection",
    "Step",
    "Window",
    "create",
    "grid_box",
    "grid_lonlat",
    "join",
    "lambert",
    "read_fields",
    "read_header",
    "readable",
    "require_one_grid",
    "subset",
]
