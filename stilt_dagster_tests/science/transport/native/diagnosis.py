"""What the native engine takes the air to be at places and minutes, by the kernels its particle loop is made of."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.native.advection import surface_at
from stilt_dagster.science.transport.native.dispersion import flux_depth, layer_at
from stilt_dagster.science.transport.native.meteorology.fields import read_fields
from stilt_dagster.science.transport.native.meteorology.levels import squeeze
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology, prepare
from stilt_dagster.science.transport.native.meteorology.projection import to_grid
from stilt_dagster.science.transport.native.particle_loop import (
    Column,
    fill_column,
    footprint_at,
    mixing_height_at,
    value_at,
)

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
    nz = met.level.size
    column, density = Column(np.empty(nz), np.empty(nz), np.empty(nz), np.empty(nz)), np.empty(nz)
    out = np.empty((8, times.size))
    for n in range(times.size):
        t, (x, y) = times[n], to_grid(met.projection, lon[n], lat[n])
        out[0, n] = surface_at(met.wind, met.terrain, t, x, y)
        out[1, n] = mixing_height_at(met, t, x, y)
        shrink = squeeze(out[0, n], met.top)
        fill_column(met, t, x, y, shrink, column)
        layer = layer_at(zagl[n], column.bound)
        out[2, n] = value_at(met, met.dens, t, x, y, zagl[n], shrink)
        out[3, n] = value_at(met, temp, t, x, y, zagl[n], shrink)
        out[4, n] = value_at(met, pres, t, x, y, zagl[n], shrink)
        out[5, n], out[6, n] = column.sigma_w[layer], column.timescale[layer]
        # A minute's first half is in the air of its beginning, which back in time is later.
        before = mixing_height_at(met, t + 1.0, x, y)
        first = footprint_at(met, met.dens, t + 1.0, x, y, shrink, flux_depth(veght, before), 30.0, density)
        depth = flux_depth(veght, out[1, n])
        out[7, n] = first + footprint_at(met, met.second_half_dens, t, x, y, shrink, depth, 30.0, density)
        out[1, n] = 0.5 * (before + out[1, n])
    return out
