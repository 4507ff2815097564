"""The NetCDF files: footprints and jacobians."""

from __future__ import annotations

from stilt_dagster.science.footprints.footprint_files import FOOT_UNITS
from stilt_dagster.science.formats.variable import Variable
from stilt_dagster.science.observations.boundary import SIDES

_MINUTES, _HOURS = "minutes since 1970-01-01 00:00:00", "hours since 1970-01-01 00:00:00"


def _grid() -> tuple[Variable, ...]:
    """Return the axes of the footprint's grid."""
    return (
        Variable("lat", "f8", "centres of cells", "degrees_north", ("lat",)),
        Variable("lon", "f8", "centres of cells", "degrees_east", ("lon",)),
        Variable("lat_bnds", "f8", "edges of cells", "", ("lat", "bnds")),
        Variable("lon_bnds", "f8", "edges of cells", "", ("lon", "bnds")),
        Variable("crs", "i4", "coordinate system, by its attributes"),
    )


def _outcomes(dim: str) -> tuple[Variable, ...]:
    """Return how receptors ended, along a dimension."""
    return (
        Variable("status", "i1", "outcome: 0 ok, 1 empty, 2 failed", "", (dim,)),
        Variable("n_particles", "i4", "particles that moved", "1", (dim,)),
        Variable("hours_covered", "f4", "time back to which particles were followed", "h", (dim,)),
        Variable("escaped_fraction", "f4", "share of particles that left the meteorology", "1", (dim,)),
        Variable("outside_fraction", "f4", "share of the influence that lies outside the grid", "1", (dim,)),
        Variable("foot_sum", "f8", "sum of the footprint over hours before release and cells", FOOT_UNITS, (dim,)),
        Variable("row_sum_error", "f4", "Monte-Carlo standard error of the sum", FOOT_UNITS, (dim,)),
        Variable("imbalance", "f4", "share of the influence neither on the grid nor outside it", "1", (dim,)),
        Variable("reason", "string", "why it failed", "", (dim,)),
        Variable("message", "string", "what was wrong", "", (dim,)),
    )


FOOTPRINTS = (
    Variable(
        "foot",
        "f4",
        "surface influence: change of the mole fraction at the receptor with surface flux",
        FOOT_UNITS,
        ("receptor", "hour", "lat", "lon"),
    ),
    Variable("hour", "i4", "hour before release: -1 is the last hour before it", "h", ("hour",)),
    Variable("receptor", "string", "receptor id", "", ("receptor",)),
    Variable("receptor_time", "i4", "release time, UTC", _MINUTES, ("receptor",)),
    Variable("receptor_longitude", "f8", "of the point or the bottom of the column", "degrees_east", ("receptor",)),
    Variable("receptor_latitude", "f8", "of the point or the bottom of the column", "degrees_north", ("receptor",)),
    *_outcomes("receptor"),
    *_grid(),
    Variable("utc/foot", "f4", "the same influence by hours of UTC, sparse", FOOT_UNITS, ("nnz",)),
    Variable("utc/column", "i8", "(utc hour - first_hour) * ny * nx + iy * nx + ix", "", ("nnz",)),
    Variable("utc/indptr", "i8", "where each receptor's entries begin and the last end", "", ("row_bound",)),
)

_RETRIEVAL = "of a retrieval's scene"
_FIELD = "of a scene that names a field"
_BOUNDARY = "of a scene that names a boundary"
_ERRORS = "of a scene with transport_error"

JACOBIAN = (
    Variable("data", "f4", "influence of a flux on an observation", FOOT_UNITS, ("nnz",)),
    Variable("indices", "i4 or i8", "column, (flux_time * ny + iy) * nx + ix, ascending in a row", "", ("nnz",)),
    Variable("indptr", "i8", "where each row begins and the last ends", "", ("obs_bound",)),
    Variable("obs_id", "string", "receptor id", "", ("obs",)),
    Variable("time", "f8", "release time, UTC", _MINUTES, ("obs",)),
    Variable("longitude", "f8", "of the point or the bottom of the column", "degrees_east", ("obs",)),
    Variable("latitude", "f8", "of the point or the bottom of the column", "degrees_north", ("obs",)),
    Variable("row_sum", "f8", "sum of the row", FOOT_UNITS, ("obs",)),
    Variable("scene", "string", "scene of the observation", "", ("obs",), "of several scenes as one"),
    *_outcomes("obs"),
    Variable("flux_time", "f8", "start of the hour of flux, UTC", _HOURS, ("flux_time",)),
    Variable("flux_time_bnds", "f8", "start and end of the hour of flux", "", ("flux_time", "bnds")),
    Variable("cell_area", "f8", "area of each cell", "m2", ("lat", "lon")),
    *_grid(),
    Variable("value", "f8", "retrieved column-average dry-air mole fraction", "ppm", ("obs",), _RETRIEVAL),
    Variable("uncertainty", "f8", "one standard deviation of value", "ppm", ("obs",), _RETRIEVAL),
    Variable("quality", "f8", "from 0, not to be used, to 1", "1", ("obs",), _RETRIEVAL),
    Variable(
        "prior_term", "f8", "of the prior: value is H flux + background + prior_term", "ppm", ("obs",), _RETRIEVAL
    ),
    Variable("top", "f8", "top of the column of particles", "m", ("obs",), _RETRIEVAL),
    Variable("surface_pressure", "f8", "surface pressure of the retrieval", "hPa", ("obs",), _RETRIEVAL),
    Variable("pressure", "f4", "levels, or edges of layers (level_bound)", "hPa", ("obs", "level"), _RETRIEVAL),
    Variable("averaging_kernel", "f4", "averaging kernel, surface first", "1", ("obs", "level"), _RETRIEVAL),
    Variable("pressure_weight", "f4", "share of the dry column", "1", ("obs", "level"), _RETRIEVAL),
    Variable("prior", "f4", "prior profile", "ppm", ("obs", "level"), _RETRIEVAL),
    Variable("sounding", "string", "sounding id, of the product", "", ("obs",), _RETRIEVAL),
    Variable("n_pixels", "i4", "pixels that went into the observation", "1", ("obs",), f"{_RETRIEVAL}, aggregated"),
    Variable("background", "f8", "mole fraction where particles end, weighted as the row is", "ppm", ("obs",), _FIELD),
    Variable("background_sd", "f8", "standard deviation over particles", "ppm", ("obs",), _FIELD),
    Variable("background_sampled", "f8", "share of particles that ended inside the field", "1", ("obs",), _FIELD),
    Variable(
        "hbc",
        "f4",
        "share of the particles' weight that left the grid's box by a side, at a height",
        "1",
        ("obs", "side", "boundary_height"),
        _BOUNDARY,
    ),
    Variable("hbc_weight", "f8", "what the particles stand for of the column", "1", ("obs",), _BOUNDARY),
    Variable("hbc_inside", "f8", "hbc of inside, all heights", "1", ("obs",), _BOUNDARY),
    Variable("side_name", "string", f"one of {', '.join(SIDES)}", "", ("side",), _BOUNDARY),
    Variable("boundary_height", "f8", "middle of the bin of height", "m", ("boundary_height",), _BOUNDARY),
    Variable("boundary_height_bnds", "f8", "edges of the bin of height", "", ("boundary_height", "bnds"), _BOUNDARY),
    Variable("boundary/share", "f4", "the same along the sides, sparse", "1", ("nnz",), _BOUNDARY),
    Variable("boundary/cell", "i4", "cell of the boundary, ascending in a row", "", ("nnz",), _BOUNDARY),
    Variable("boundary/indptr", "i8", "where each row begins and the last ends", "", ("row_bound",), _BOUNDARY),
    Variable(
        "transport_error", "f8", "one standard deviation by errors of transport, of fluxes", "ppm", ("obs",), _ERRORS
    ),
    Variable("transport_error_covered", "f8", "share of influence inside these fluxes", "1", ("obs",), _ERRORS),
)
