"""A field of surface fluxes that the user names, and what particles pick up of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.errors import FluxError
from stilt_dagster.science.files.hdf5_checks import find_hostile_part
from stilt_dagster.science.scenes.observation_settings import FluxSource

Floats = NDArray[np.float64]

#: Most bytes of a field that are held, unpacked.
_MAX_BYTES = 4 * 2**30

#: What a field's units are times umol m-2 s-1, by how people write them without blanks, dots, stars and carets.
_SCALES = {
    **{f"{micro}mol{area}": 1.0 for micro in ("u", "µ", "μ", "micro") for area in ("m-2s-1", "/m2/s", "/(m2s)")},
    **{f"mol{area}": 1e6 for area in ("m-2s-1", "/m2/s", "/(m2s)")},
    **{f"nmol{area}": 1e-3 for area in ("m-2s-1", "/m2/s", "/(m2s)")},
}
_NAMES = {"lat": ("lat", "latitude"), "lon": ("lon", "longitude"), "time": ("time", "valid_time")}


@dataclass(frozen=True)
class FluxField:
    """Surface fluxes in memory, as far as a scene's particles reach in time.

    Attributes
    ----------
    values : ndarray, shape (time, lat, lon)
        umol m-2 s-1; 0 where the field has none.
    minutes : ndarray, shape (time + 1,)
        Where its steps begin and the last ends, minutes since 1970, UTC; infinite of a field without time.
    lat, lon : ndarray, shape (lat + 1,), (lon + 1,)
        Edges of its cells, degrees, ascending.
    """

    values: Floats
    minutes: Floats
    lat: Floats
    lon: Floats

    def pick_up(
        self, particle: NDArray[np.int64], minute: Floats, lon: Floats, lat: Floats, foot: Floats
    ) -> tuple[Floats, float]:
        """Return what each particle picks up of the field: its influence times the flux, summed along its track.

        ``s_i = sum_t foot_i(t) F(lon_i(t), lat_i(t), t)``: Lin et al. 2003 (doi:10.1029/2002JD003161), X-STILT's
        ``ff.trajfoot.r``. Fluxes are those of the cell and the step a particle is in, and none beside the field.

        Parameters
        ----------
        particle : ndarray of int, shape (rows,)
            Place of each row's particle, from 0, ascending.
        minute, lon, lat, foot : ndarray, shape (rows,)
            Minutes since 1970, degrees, ppm (umol m-2 s-1)-1.

        Returns
        -------
        signals : ndarray, shape (particles,)
            ppm.
        covered : float
            Share of the influence that lies inside the field, 0 to 1; 1 where there is no influence.
        """
        signals, inside, total = _pick_up(
            particle, minute, lon, lat, foot, self.values, self.minutes, self.lat, self.lon
        )
        return signals, float(inside / total) if total > 0 else 1.0


@kernel()
def _pick_up(
    particle: NDArray[np.int64],
    minute: Floats,
    lon: Floats,
    lat: Floats,
    foot: Floats,
    values: Floats,
    minutes: Floats,
    lat_edges: Floats,
    lon_edges: Floats,
) -> tuple[Floats, float, float]:
    n_times, n_lat, n_lon = values.shape
    signals = np.zeros(particle[-1] + 1)
    inside, total = 0.0, 0.0
    for i in range(len(foot)):
        if foot[i] == 0.0:
            continue
        total += abs(foot[i])
        east = (lon[i] - lon_edges[0]) % 360.0 + lon_edges[0]
        x = np.searchsorted(lon_edges, east, side="right") - 1
        y = np.searchsorted(lat_edges, lat[i], side="right") - 1
        k = np.searchsorted(minutes, minute[i], side="right") - 1
        if 0 <= x < n_lon and 0 <= y < n_lat and 0 <= k < n_times:
            signals[particle[i]] += foot[i] * values[k, y, x]
            inside += abs(foot[i])
    return signals, inside, total


def open_flux(source: Path, settings: FluxSource, first: pd.Timestamp, last: pd.Timestamp) -> FluxField:
    """Read the part of a field of fluxes that lies around *first* to *last*, naive UTC.

    Raises
    ------
    FluxError
        Naming the file and what of it cannot be used: the variable, its axes, units, or times.
    """
    where = f"fluxes {source.name}"
    try:
        if hostile := find_hostile_part(source):
            raise FluxError(f"{where} is not read: {hostile}")
        with xr.open_dataset(source) as file:
            if settings.variable not in file:
                raise FluxError(
                    f"{where} has no variable {settings.variable}; it has {', '.join(map(str, file.data_vars))}"
                )
            flux = _ordered(file[settings.variable], where)
            scale = _scale(settings.units or str(flux.attrs.get("units", "")), where, settings.variable)
            minutes = _step_edges(file, flux)
            if minutes[0] > _minutes(first) or minutes[-1] < _minutes(last):
                span = [pd.Timestamp(m * 60, unit="s") for m in (minutes[0], minutes[-1])]
                raise FluxError(
                    f"{where} covers {span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M} UTC, and the scene needs "
                    f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
                )
            lowest = int(minutes.searchsorted(_minutes(first), side="right")) - 1
            highest = int(minutes.searchsorted(_minutes(last), side="left"))
            flux = flux.isel(time=slice(lowest, highest))
            if flux.size * 8 > _MAX_BYTES:
                raise FluxError(
                    f"{where}: what lies around the scene's hours takes {flux.size * 8 / 2**30:.1f} GiB, and at most "
                    f"{_MAX_BYTES / 2**30:g} are read: cut it in area"
                )
            values = np.nan_to_num(flux.to_numpy().astype("f8"), nan=0.0) * scale
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise FluxError(f"{where} cannot be read: {error}") from error
    if not np.isfinite(values).all():
        raise FluxError(f"{where}: {settings.variable} is infinite in places: mark what is missing as NaN")
    return FluxField(values, minutes[lowest : highest + 1], _edges(flux["lat"]), _edges(flux["lon"]))


def _minutes(time: pd.Timestamp) -> float:
    return float(time.timestamp()) / 60


def _scale(units: str, where: str, variable: str) -> float:
    plain = units.replace(" ", "").replace(".", "").replace("*", "").replace("^", "").lower()
    if plain not in _SCALES:
        raise FluxError(
            f"{where}: {variable} has units {units!r}: set transport_error.flux.units to umol m-2 s-1, mol m-2 s-1 or "
            "nmol m-2 s-1, or convert it (a mass flux by the molar mass of the gas)"
        )
    return _SCALES[plain]


def _ordered(flux: xr.DataArray, where: str) -> xr.DataArray:
    """Return a field on ``(time, lat, lon)``, each ascending; one without time with a step of that name."""
    names: dict[Any, str] = {}
    for ours, theirs in _NAMES.items():
        found = [d for d in flux.dims if str(d).lower() in theirs and d in flux.coords]
        if len(found) > 1 or (not found and ours != "time"):
            raise FluxError(f"{where}: {flux.name} has no axis {' or '.join(theirs)} of its own; it has {flux.dims}")
        names.update(dict.fromkeys(found, ours))
    if left := [str(d) for d in flux.dims if d not in names]:
        raise FluxError(f"{where}: {flux.name} has the dimension {left[0]} beside time, latitude and longitude")
    flux = flux.rename(names)
    if "time" not in flux.dims:
        flux = flux.expand_dims("time")
    axes = ["lat", "lon", *(["time"] if "time" in flux.coords else [])]
    for axis in axes:
        values = flux[axis].to_numpy()
        if len(set(values.tolist())) < len(values) or pd.isna(values).any():
            raise FluxError(f"{where}: {axis} of {flux.name} has a value twice, or none")
    for axis in ("lat", "lon"):
        if flux.sizes[axis] < 2:
            raise FluxError(f"{where}: {flux.name} needs two cells or more in {axis}, to know how large they are")
    return flux.sortby(axes).transpose("time", "lat", "lon")


def _step_edges(file: xr.Dataset, flux: xr.DataArray) -> Floats:
    """Return where a field's steps begin and the last ends, minutes since 1970.

    By the bounds of its time, where it has some; else a step begins at its time, as in a jacobian, and the last is as
    long as the one before. A field of one time without bounds, or of none, is that of all times.
    """
    always = np.array([-np.inf, np.inf])
    if "time" not in flux.coords:
        return always
    bounds = flux["time"].attrs.get("bounds") or flux["time"].encoding.get("bounds")
    starts = _as_minutes(flux["time"].to_numpy())
    if bounds in file.variables and file[bounds].shape == (len(starts), 2):
        pairs = np.sort(_as_minutes(file[bounds].to_numpy()), axis=0)
        if np.any(pairs[1:, 0] != pairs[:-1, 1]):
            raise ValueError(f"steps of time have gaps, by {bounds}")
        return np.append(pairs[:, 0], pairs[-1, 1])
    if len(starts) == 1:
        return always
    return np.append(starts, 2 * starts[-1] - starts[-2])


def _as_minutes(times: NDArray[Any]) -> Floats:
    return np.asarray(times).astype("datetime64[s]").astype(np.int64) / 60


def _edges(centres: xr.DataArray) -> Floats:
    """Return the edges of cells that meet halfway between their centres."""
    c = centres.to_numpy().astype("f8")
    middle = (c[1:] + c[:-1]) / 2
    return np.concatenate([[c[0] - (middle[0] - c[0])], middle, [c[-1] + (c[-1] - middle[-1])]])
