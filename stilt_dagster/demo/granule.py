"""A satellite granule over the demo's meteorology, whose methane comes from one known flux.

The wind is the same everywhere and at all times, so that a steady plume has a formula: air that has been over the
source for the time ``t`` holds ``flux t`` more methane below each square metre.
"""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.science.errors import StoreError

#: West, south, east, north of the source, degrees, and its flux, umol m-2 s-1.
SOURCE = (-112.20, 40.50, -112.00, 40.75)
FLUX = 0.5

_TIME = dt.datetime(2023, 7, 15, 20, 12)
_WEATHER = Weather(speed=5.0, direction=270.0)
_BACKGROUND = 1890.0  # ppb
_PRECISION = 1.0  # ppb
_LAYERS = 12
_DRY_AIR = 0.02896  # kg mol-1
_GRAVITY = 9.80665  # m s-2


def write_granule_example(directory: Path) -> Path:
    """Write meteorology, a granule and a scene's YAML, so that a retrieval's scene runs without a network.

    Parameters
    ----------
    directory : Path
        Where to write ``meteorology/``, ``granule.nc`` and ``scene.yaml``. Files that are there are kept.

    Returns
    -------
    Path
        The YAML.

    Raises
    ------
    StoreError
        If they cannot be written.
    """
    scene, granule = directory / "scene.yaml", directory / "granule.nc"
    try:
        make_meteorology(directory / "meteorology", "2023-07-15T12:00", 12, (-114.6, 38.8, -110.4, 42.4), _WEATHER)
        if not granule.exists():
            part = directory / ".granule.part"
            _write_granule(part)
            part.replace(granule)
        if not scene.exists():
            scene.write_text(files(__package__).joinpath("granule_scene.yaml").read_text())
    except OSError as error:
        raise StoreError(f"cannot write {directory}: {error.strerror}; name a directory with room") from error
    return scene


def _plume(longitude: NDArray[np.float64], latitude: NDArray[np.float64], dry_air: float) -> NDArray[np.float64]:
    """Return the enhancement of the column above the background, ppb.

    Parameters
    ----------
    longitude, latitude : ndarray
        Where, degrees.
    dry_air : float
        Air of the column, mol m-2.

    Returns
    -------
    ndarray
        ``flux t / dry_air`` with the seconds ``t`` that air, on its way from the west, has been over the source.
    """
    west, south, east, north = SOURCE
    metres = np.radians(np.clip(longitude, west, east) - west) * 6_371_000 * np.cos(np.radians(latitude))
    below = (latitude >= south) & (latitude <= north)
    return np.where(below, 1e3 * FLUX * metres / _WEATHER.speed / dry_air, 0.0)


def _write_granule(path: Path) -> None:
    """Write 4 x 5 soundings, two of them of poor quality, as TROPOMI's operational product lays out methane."""
    from netCDF4 import Dataset

    rng = np.random.default_rng(1)
    latitude, longitude = np.meshgrid(np.linspace(40.40, 40.85, 4), np.linspace(-112.30, -111.60, 5), indexing="ij")
    shape = (1, *latitude.shape)
    pressure = np.full(shape, 101_000.0)
    dry_air = pressure[0, 0, 0] / _GRAVITY / _DRY_AIR
    value = _BACKGROUND + _plume(longitude, latitude, dry_air) + rng.normal(0, _PRECISION, shape[1:])
    quality = np.full(shape, 1.0)
    quality[0, 0, 0] = quality[0, 3, 4] = 0.2
    with Dataset(path, "w") as file:
        # The product's name says which orbit it is of; a real one stands in the same attribute.
        file.id = "S5P_OFFL_L2__CH4____20230715T192200_20230715T210330_29807_03_020500_20230717T120000"
        file.title = f"Made from formulas: {FLUX} umol m-2 s-1 of methane within {SOURCE}"
        product = file.createGroup("PRODUCT")
        sizes = dict(zip(("time", "scanline", "ground_pixel"), shape, strict=True))
        for name, size in {**sizes, "corner": 4, "layer": _LAYERS, "level": _LAYERS + 1}.items():
            product.createDimension(name, size)

        def put(name: str, values: Any, units: str, *more: str) -> None:
            dims = ("time", "scanline", "ground_pixel", *more)
            variable = file.createVariable(f"PRODUCT/{name}", "f4", dims, fill_value=np.float32(9.96921e36))
            variable.units = units
            variable[:] = np.broadcast_to(values, [len(product.dimensions[dim]) for dim in dims])

        for axis, name in enumerate(("scanline", "ground_pixel"), start=1):
            product.createVariable(name, "i4", (name,))[:] = np.arange(shape[axis])
        stamps = product.createVariable("time_utc", str, ("time", "scanline"))
        for k in range(shape[1]):
            stamps[0, k] = (_TIME + dt.timedelta(seconds=0.84 * k)).isoformat(timespec="microseconds") + "Z"
        put("latitude", latitude, "degrees_north")
        put("longitude", longitude, "degrees_east")
        put("qa_value", quality, "1")
        put("methane_mixing_ratio_bias_corrected", value, "1e-9")
        put("methane_mixing_ratio_precision", _PRECISION, "1e-9")
        geometry, inputs = "SUPPORT_DATA/GEOLOCATIONS", "SUPPORT_DATA/INPUT_DATA"
        put(f"{geometry}/viewing_zenith_angle", 15.0, "degree")
        put(f"{geometry}/viewing_azimuth_angle", -80.0, "degree")
        put(f"{inputs}/surface_pressure", pressure, "Pa")
        put(f"{inputs}/surface_altitude", 0.0, "m")
        put(f"{inputs}/pressure_interval", pressure / _LAYERS, "Pa")
        # Profiles run from the top down.
        edges = np.maximum(1 - np.arange(_LAYERS + 1) / _LAYERS, 1e-3)
        put(f"{inputs}/altitude_levels", -8000 * np.log(edges[::-1]), "m", "level")
        put(f"{inputs}/dry_air_subcolumns", dry_air / _LAYERS, "mol m-2", "layer")
        prior = np.full(_LAYERS, _BACKGROUND * 1e-9)
        put(f"{inputs}/methane_profile_apriori", dry_air / _LAYERS * prior, "mol m-2", "layer")
        # 1 near the ground, so that the formula of the plume holds, and less above.
        kernel = np.minimum(np.linspace(0.7, 1.15, _LAYERS), 1.0)
        put("SUPPORT_DATA/DETAILED_RESULTS/column_averaging_kernel", kernel, "1", "layer")
        put(f"{geometry}/longitude_bounds", longitude[..., None] + [-0.04, 0.04, 0.04, -0.04], "degrees_east", "corner")
        put(f"{geometry}/latitude_bounds", latitude[..., None] + [-0.03, -0.03, 0.03, 0.03], "degrees_north", "corner")
