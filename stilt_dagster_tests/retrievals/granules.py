"""Granules as each product lays them out: groups, dimension order, orientation, fill values, attributes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
from netCDF4 import Dataset

FILL = np.float32(9.96921e36)
START = dt.datetime(2023, 7, 15, 9, 20)


def tropomi_name(
    stream: str = "OFFL",
    orbit: int = 29801,
    collection: str = "03",
    processor: str = "020400",
    made: str = "20230717T010203",
    start: dt.datetime = START,
) -> str:
    end = start + dt.timedelta(minutes=100)
    times = f"{start:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}"
    return f"S5P_{stream}_L2__CH4____{times}_{orbit:05d}_{collection}_{processor}_{made}.nc"


def write_tropomi(
    path: Path,
    *,
    lon: float = -112.05,
    lat: float = 40.45,
    step: float = 0.05,
    scanlines: int = 3,
    pixels: int = 4,
    time: dt.datetime = START,
    kernel: float | np.ndarray = 1.0,
    prior_ppb: float = 1850.0,
    value_ppb: float = 1900.0,
    qa: float = 1.0,
    missing: float = 0.0,
    zenith: float = 20.0,
    surface_pressure: float = 880.0,
    units: str = "1e-9",
    without: str = "",
    seed: int = 0,
    untimed: int = 0,
    **name: Any,
) -> None:
    """Write an operational L2 methane orbit; *kernel* is of the 12 layers, surface first, or one for all.

    The first *untimed* scanlines are lost ones, whose time is an empty text.
    """
    rng = np.random.default_rng(seed)
    shape = (1, scanlines, pixels)
    y, x = np.meshgrid(np.arange(scanlines) * step, np.arange(pixels) * step, indexing="ij")
    lost = rng.uniform(size=shape) < missing
    with Dataset(path, "w") as file:
        file.id = tropomi_name(start=time, **name).removesuffix(".nc")
        file.orbit = np.int32(name.get("orbit", 29801))
        file.processor_version = "2.4.0"
        product = file.createGroup("PRODUCT")
        sizes = {"time": 1, "scanline": scanlines, "ground_pixel": pixels, "corner": 4, "layer": 12, "level": 13}
        for dim, size in sizes.items():
            product.createDimension(dim, size)

        def put(where: str, dims: str, values: Any, unit: str = "", kind: str = "f4") -> None:
            if where.rsplit("/", 1)[-1] == without:
                return
            variable = file.createVariable(f"PRODUCT/{where}", kind, tuple(dims.split()), fill_value=FILL, zlib=True)
            if unit:
                variable.units = unit
            variable[:] = values

        at = "time scanline ground_pixel"
        put("latitude", at, (lat + y)[None], "degrees_north")
        put("longitude", at, (lon + x)[None], "degrees_east")
        for k, dim in enumerate(("scanline", "ground_pixel")):
            numbers = file.createVariable(f"PRODUCT/{dim}", "i4", (dim,))
            numbers[:] = np.arange(shape[k + 1])
        stamps = file.createVariable("PRODUCT/time_utc", str, ("time", "scanline"))
        for k in range(scanlines):
            stamp = (time + dt.timedelta(seconds=0.84 * k)).isoformat(timespec="microseconds") + "Z"
            stamps[0, k] = "" if k < untimed else stamp
        flags = file.createVariable("PRODUCT/qa_value", "u1", tuple(at.split()), fill_value=255)
        flags.scale_factor, flags.add_offset, flags.units = np.float32(0.01), np.float32(0), "1"
        flags[:] = np.full(shape, qa)
        values = np.ma.array(value_ppb + rng.normal(0, 5, shape), mask=lost)
        put("methane_mixing_ratio_bias_corrected", at, values, units)
        put("methane_mixing_ratio", at, values - 2, units)
        put("methane_mixing_ratio_precision", at, np.ma.array(np.full(shape, 2.0), mask=lost), units)
        support = "SUPPORT_DATA"
        for angle, value in (("viewing_zenith", zenith), ("viewing_azimuth", -80), ("solar_zenith", 30)):
            put(f"{support}/GEOLOCATIONS/{angle}_angle", at, np.full(shape, value), "degree")
        put(f"{support}/GEOLOCATIONS/solar_azimuth_angle", at, np.full(shape, 120.0), "degree")
        corner = np.array([-0.5, 0.5, 0.5, -0.5]) * step
        put(
            f"{support}/GEOLOCATIONS/longitude_bounds",
            f"{at} corner",
            (lon + x)[None, ..., None] + corner,
            "degrees_east",
        )
        put(
            f"{support}/GEOLOCATIONS/latitude_bounds",
            f"{at} corner",
            (lat + y)[None, ..., None] + corner,
            "degrees_north",
        )
        ground = surface_pressure * 100 + rng.uniform(0, 100, shape)
        put(f"{support}/INPUT_DATA/surface_pressure", at, ground, "Pa")
        put(f"{support}/INPUT_DATA/pressure_interval", at, ground / 12, "Pa")
        put(f"{support}/INPUT_DATA/surface_altitude", at, np.full(shape, 1200.0), "m")
        edges = np.arange(13) / 12
        heights = 1200 + 8000 * -np.log(np.maximum(1 - edges, 1e-4))
        put(f"{support}/INPUT_DATA/altitude_levels", f"{at} level", np.broadcast_to(heights[::-1], (*shape, 13)), "m")
        dry = ground[..., None] / 12 / 9.81 / 0.02896 * np.linspace(1.0, 0.99, 12)  # top first, drier there
        put(f"{support}/INPUT_DATA/dry_air_subcolumns", f"{at} layer", dry, "mol m-2")
        prior = prior_ppb * 1e-9 * np.linspace(0.9, 1.0, 12)
        put(f"{support}/INPUT_DATA/methane_profile_apriori", f"{at} layer", dry * prior, "mol m-2")
        kernels = np.broadcast_to(np.broadcast_to(kernel, 12)[::-1], (*shape, 12))
        mask = np.broadcast_to(lost[..., None], kernels.shape)
        put(f"{support}/DETAILED_RESULTS/column_averaging_kernel", f"{at} layer", np.ma.array(kernels, mask=mask), "1")


def write_blended(path: Path, **orbit: Any) -> None:
    """Write a blended TROPOMI+GOSAT file of an orbit as :func:`write_tropomi` makes it.

    It holds the pixels of the best quality in one dimension, without groups, viewing angles, heights, or any attribute
    that says what it is; the blended values are 7 ppb below the operational ones.
    """
    whole = path.with_suffix(".orbit")
    write_tropomi(whole, **orbit)
    with Dataset(whole) as file, Dataset(path, "w") as blended:
        blended.Title = "Blended TROPOMI+GOSAT Methane Product"
        product = file["PRODUCT"]
        good = (product["qa_value"][:] == 1) & ~np.ma.getmaskarray(product["methane_mixing_ratio"][:])
        for dim, size in (("nobs", int(good.sum())), ("layer", 12), ("corner", 4)):
            blended.createDimension(dim, size)
        support = product["SUPPORT_DATA"]
        groups = (product, *(support[g] for g in ("GEOLOCATIONS", "INPUT_DATA", "DETAILED_RESULTS")))
        for name, source in ((n, v) for g in groups for n, v in g.variables.items()):
            if name.endswith("_angle") or name == "altitude_levels" or "ground_pixel" not in source.dimensions[2:3]:
                continue
            kept = {k: source.getncattr(k) for k in source.ncattrs()}
            put = blended.createVariable(
                name, source.dtype, ("nobs", *source.dimensions[3:]), fill_value=kept.pop("_FillValue")
            )
            put.setncatts(kept)
            put[:] = source[:][good]
            if name == "methane_mixing_ratio_bias_corrected":
                best = blended.createVariable("methane_mixing_ratio_blended", "f4", ("nobs",), fill_value=FILL)
                best.setncatts(kept)
                best[:] = source[:][good] - 7
        stamps = blended.createVariable("time_utc", str, ("nobs",))
        lines = np.broadcast_to(product["time_utc"][:][0][None, :, None], good.shape)[good]
        for k, stamp in enumerate(lines):
            stamps[k] = stamp
    whole.unlink()


def write_oco(
    path: Path, *, lon: float = -112.05, lat: float = 40.45, n: int = 12, time: dt.datetime = START, seed: int = 0
) -> None:
    """Write an OCO-2 Lite file."""
    rng = np.random.default_rng(seed)
    with Dataset(path, "w") as file:
        for dim, size in (("sounding_id", n), ("levels", 20), ("vertices", 4)):
            file.createDimension(dim, size)

        def put(name: str, values: Any, unit: str = "", dims: tuple[str, ...] = (), kind: str = "f4") -> None:
            fill = None if kind == "i8" else -999999 if kind == "f4" else None
            variable = file.createVariable(name, kind, ("sounding_id", *dims), fill_value=fill)
            if unit:
                variable.units = unit
            variable[:] = values

        seconds = np.arange(n) / 3
        put("sounding_id", [int(f"{time:%Y%m%d%H%M%S}{k:02d}") for k in range(n)], kind="i8")
        put("latitude", lat + 0.01 * np.arange(n), "degrees_north")
        put("longitude", lon + 0.012 * np.arange(n), "degrees_east")
        start = (time - dt.datetime(1970, 1, 1)).total_seconds()
        put("time", start + seconds, "seconds since 1970-01-01 00:00:00", kind="f8")
        put("xco2", 410 + rng.normal(0, 1, n), "ppm")
        put("xco2_uncertainty", np.full(n, 0.5), "ppm")
        put("xco2_apriori", np.full(n, 409.0), "ppm")
        put("xco2_quality_flag", np.arange(n) % 4 == 0, kind="i1")
        put("sensor_zenith_angle", np.full(n, 10.0), "Degrees")
        put("solar_zenith_angle", np.full(n, 30.0), "Degrees")
        put("Sounding/sensor_azimuth_angle", np.full(n, 200.0), "Degrees")
        put("Sounding/solar_azimuth_angle", np.full(n, 150.0), "Degrees")
        put("Sounding/altitude", np.full(n, 1300.0), "m")
        for name in ("operation_mode", "land_fraction", "orbit"):
            put(f"Sounding/{name}", np.ones(n))
        put("Retrieval/psurf", np.full(n, 870.0), "hPa")
        sigma = np.linspace(0, 1, 20)
        sigma[0] = 1e-4
        put("pressure_levels", np.broadcast_to(870 * sigma, (n, 20)), "hPa", ("levels",))
        weight = np.gradient(sigma)
        weight[[0, -1]] /= 2
        put("pressure_weight", np.broadcast_to(weight / weight.sum(), (n, 20)), "1", ("levels",))
        put("xco2_averaging_kernel", np.broadcast_to(np.linspace(0.5, 1.0, 20), (n, 20)), "1", ("levels",))
        put("co2_profile_apriori", np.broadcast_to(np.linspace(395, 412, 20), (n, 20)), "ppm", ("levels",))
        put("vertex_longitude", np.zeros((n, 4)) + lon, "degrees_east", ("vertices",))
        put("vertex_latitude", np.zeros((n, 4)) + lat, "degrees_north", ("vertices",))


def write_grid(
    path: Path, *, km: float = 1.0, n: int = 5, time: dt.datetime = START, unit: str = "ppb"
) -> dict[str, str]:
    """Write a gridded product of one profile grid; return the mapping that reads it."""
    with Dataset(path, "w") as file:
        for dim, size in (("lat", n), ("lon", n), ("layer", 4), ("edge", 5)):
            file.createDimension(dim, size)

        def put(name: str, dims: str, values: Any, units: str = "") -> None:
            variable = file.createVariable(name, "f8", tuple(dims.split()), fill_value=-1e30)
            if units:
                variable.units = units
            variable[:] = values

        step = km / 111.0
        put("lat", "lat", 40.45 + step * np.arange(n), "degrees_north")
        put("lon", "lon", -112.05 + step * np.arange(n), "degrees_east")
        put("time", "lat lon", np.zeros((n, n)), f"seconds since {time:%Y-%m-%d %H:%M:%S}")
        values = 1900.0 + np.arange(n * n).reshape(n, n)
        put("x", "lat lon", np.ma.array(values, mask=values % 7 == 0), unit)
        put("sd", "lat lon", np.full((n, n), 20.0), unit)
        put("psurf", "lat lon", np.full((n, n), 900.0), "hPa")
        put("edges", "edge lat lon", np.broadcast_to(np.linspace(900, 0, 5)[:, None, None], (5, n, n)), "hPa")
        put("ak", "layer", [1.0, 0.9, 0.8, 0.7])
        put("profile", "layer", [1900.0, 1880, 1850, 1800], "ppb")
    return {
        "longitude": "lon", "latitude": "lat", "time": "time", "value": "x", "uncertainty": "sd",
        "surface_pressure": "psurf", "pressure": "edges", "averaging_kernel": "ak", "prior": "profile",
    }  # fmt: skip


def write_methanesat(
    path: Path, *, level: int = 3, n: int = 6, kernel: float = 0.95, time: dt.datetime = START
) -> None:
    """Write a post-processed L2 swath or an L3 grid of MethaneSAT, as far as its layout is known."""
    dims = ("along_track", "across_track") if level == 2 else ("lat", "lon")
    with Dataset(path, "w") as file:
        for dim, size in ((dims[0], n), (dims[1], n + 1), ("vertical", 19)):
            file.createDimension(dim, size)

        def put(name: str, values: Any, units: str = "", on: tuple[str, ...] = dims) -> None:
            variable = file.createVariable(name, "f8", on, fill_value=9.96921e36)
            if units:
                variable.units = units
            variable[:] = values

        lat, lon = 40.40 + 0.01 * np.arange(n), -112.1 + 0.01 * np.arange(n + 1)
        shape, seconds = (n, n + 1), (time - dt.datetime(1970, 1, 1)).total_seconds()
        put("apriori_data/surface_pressure", np.full(shape, 870.0), "hPa")
        put("apriori_data/tropopause_pressure", np.full(shape, 120.0), "hPa")
        values = np.ma.array(np.full(shape, 1920.0), mask=np.arange(n * (n + 1)).reshape(shape) % 5 == 0)
        if level == 3:
            put("lat", lat, "degrees_north", dims[:1])
            put("lon", lon, "degrees_east", dims[1:])
            put("time", np.full(shape, seconds))
            put("xch4", values, "ppb")
            put("geolocation/terrain_height", np.full(shape, 1.3), "km")
            put("co2proxy_fit_diagnostics/ch4_averaging_kernel_mean", np.full(shape, kernel), "1")
            put("apriori_data/xch4", np.full(shape, 1860.0), "ppb")
            return
        y, x = np.meshgrid(lat, lon, indexing="ij")
        put("geolocation/latitude", y, "degrees_north")
        put("geolocation/longitude", x, "degrees_east")
        put("geolocation/time", np.full(shape, seconds), "seconds since 1970-01-01")
        put("product_co2proxy/xch4_co2proxy", values, "ppb")
        put("product_co2proxy/main_quality_flag", np.arange(n * (n + 1)).reshape(shape) % 3 == 1)
        top_first = np.linspace(0.3, 1.05, 19)[:, None, None] * np.ones(shape)
        put("co2proxy_fit_diagnostics/ch4_averaging_kernel", top_first, "1", ("vertical", *dims))
        put("apriori_data/ch4_profile", 1900.0 * top_first, "ppb", ("vertical", *dims))
