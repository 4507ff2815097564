"""What the native engine takes the air to be at places and minutes, by the kernels its particle loop is made of."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.native.advection import place_at, surface_at, time_step
from stilt_dagster.science.transport.native.columns import column_at, layer, layer_at, value_at
from stilt_dagster.science.transport.native.dispersion import flux_depth
from stilt_dagster.science.transport.native.meteorology.fields import read_fields
from stilt_dagster.science.transport.native.meteorology.levels import squeeze
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology, prepare
from stilt_dagster.science.transport.native.meteorology.projection import to_grid
from stilt_dagster.science.transport.native.particle_loop import footprint_at

Floats = NDArray[np.float64]


def diagnose(
    meteorology: Path, times: Floats, lon: Floats, lat: Floats, zagl: Floats, settings: TransportSettings
) -> dict[str, Floats]:
    """Return values by the names of ``varsiwant``, in the shape of the places; ``foot`` is of a whole minute.

    Parameters
    ----------
    meteorology : Path
        An ARL file.
    times, lon, lat, zagl : ndarray
        Minutes since 1970 UTC, degrees, m above ground.
    settings : TransportSettings
        The scene's.
    """
    met, fields = prepare(meteorology, settings, float(times.max())), read_fields(meteorology, settings.z_top)
    zsfc, mlht, dens, temz, pres, sigw, tlgr, foot = _diagnose(
        met, fields.temp, fields.pres, settings.veght, times, lon, lat, zagl
    )
    return {
        "zsfc": zsfc, "mlht": mlht, "dens": dens, "temz": temz, "pres": pres, "sigw": sigw, "tlgr": tlgr, "foot": foot
    }  # fmt: skip


@numba.njit
def _diagnose(
    met: Meteorology,
    temp: NDArray[np.float32],
    pres: NDArray[np.float32],
    veght: float,
    times: Floats,
    lon: Floats,
    lat: Floats,
    zagl: Floats,
) -> Floats:
    level, density, out = met.level, np.empty(met.level.size), np.empty((8, times.size))
    for n in range(times.size):
        x, y = to_grid(met.projection, lon[n], lat[n])
        here = place_at(met.wind, time_step(met.wind.times, times[n]), x, y)
        out[0, n] = surface_at(met.terrain, here)
        shrink = squeeze(out[0, n], met.top)
        column = column_at(met, here, shrink)
        for row, field in ((2, met.dens), (3, temp), (4, pres)):
            out[row, n] = value_at(level, field, here, zagl[n] / shrink)
        air = layer(met, column, layer_at(level, column, zagl[n], 0))
        out[5, n], out[6, n] = air.sigma_w, air.timescale
        # A minute's first half is in the air of its beginning, which back in time is later.
        start = place_at(met.wind, time_step(met.wind.times, times[n] + 1.0), x, y)
        before = column_at(met, start, shrink).height
        depth0, depth1 = flux_depth(veght, before), flux_depth(veght, column.height)
        out[7, n] = footprint_at(level, met.dens, start, shrink, depth0, 30.0, density)
        out[7, n] += footprint_at(level, met.second_half_dens, here, shrink, depth1, 30.0, density)
        out[1, n] = 0.5 * (before + column.height)
    return out
