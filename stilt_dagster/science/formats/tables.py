"""The Parquet files: receptors, particles, backgrounds."""

from __future__ import annotations

from stilt_dagster.science.formats.variable import Variable
from stilt_dagster.science.observations.soundings import SOUNDING_COLUMNS
from stilt_dagster.science.scenes.receptor_table import RECEPTOR_COLUMNS
from stilt_dagster.science.transport.particles import COLUMN_ATTRIBUTES

_RETRIEVAL = "of a retrieval's scene"

_RECEPTOR_KINDS = {"receptor": "string", "shard": "string", "time": "timestamp[us, UTC]"}

#: How columns of soundings are stored that are not numbers: profiles and corners are lists of a fixed length.
_SOUNDING_KINDS = {
    "sounding": "string",
    "pixels": "list<string>",
    "n_pixels": "int64",
    **dict.fromkeys(("pressure", "altitude", "averaging_kernel", "pressure_weight", "prior"), "list<double>"),
    **dict.fromkeys(("corner_longitude", "corner_latitude"), "list<double>"),
}

RECEPTORS = (
    *(Variable(name, _RECEPTOR_KINDS.get(name, "double"), text) for name, text in RECEPTOR_COLUMNS.items()),
    *(
        Variable(name, _SOUNDING_KINDS.get(name, "double"), text, optional=_RETRIEVAL)
        for name, text in SOUNDING_COLUMNS.items()
        if name not in RECEPTOR_COLUMNS
    ),
)

_WANTED = "as transport.varsiwant asks"

#: Columns of particles that do not depend on what a scene asks of HYSPLIT, and how they are stored.
_ALWAYS = {
    "receptor": "dictionary<string>",
    "particle": "int32",
    "age": "int32",
    "lon": "float",
    "lat": "float",
    "zagl": "decimal",
    "foot": "float",
}

#: Columns of some scenes, how they are stored, and of which.
_SOMETIMES = {"xhgt": ("double", "of columns"), "error": ("bool", "of scenes with siguverr or sigzierr")}

PARTICLES = tuple(
    Variable(
        name,
        _ALWAYS.get(name) or _SOMETIMES.get(name, ("decimal", _WANTED))[0],
        text,
        optional="" if name in _ALWAYS else _SOMETIMES.get(name, ("decimal", _WANTED))[1],
    )
    for name, text in COLUMN_ATTRIBUTES.items()
)

_FIELD = "of a scene that names a field"
_BOUNDARY = "of a scene that names a boundary"

BACKGROUND = (
    Variable("receptor", "string", "receptor id"),
    Variable("background", "double", "mole fraction where particles end, weighted as the row is", "ppm", (), _FIELD),
    Variable("background_sd", "double", "standard deviation over particles", "ppm", (), _FIELD),
    Variable("background_sampled", "double", "share of particles that ended inside the field", "1", (), _FIELD),
    Variable("hbc_weight", "double", "what the particles stand for of the column", "1", (), _BOUNDARY),
    Variable("hbc_inside", "double", "share of their weight that never left the grid's box", "1", (), _BOUNDARY),
    Variable("boundary_cell", "list<int32>", "cells of the boundary that particles left by", "", (), _BOUNDARY),
    Variable("boundary_share", "list<float>", "share of their weight that left by each", "1", (), _BOUNDARY),
)
