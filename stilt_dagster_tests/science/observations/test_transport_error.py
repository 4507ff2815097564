"""What errors of winds add to the variance of signals, of points and columns, and the fluxes these are signals of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import stilt.particles
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stilt_dagster.science.errors import FluxError
from stilt_dagster.science.observations.flux_field import FluxField, open_flux
from stilt_dagster.science.observations.transport_error import (
    added_variance,
    column_error,
    levels_of,
    levels_of_particles,
)
from stilt_dagster.science.scenes.observation_settings import FluxSource
from stilt_dagster.science.scenes.receptors import make_receptor

NOW = pd.Timestamp("2023-07-15T09:20")
EARLIER = NOW - pd.Timedelta(hours=2)

columns = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, n, elements=st.floats(-1e3, 1e3)), hnp.arrays(float, n, elements=st.floats(-1, 1))
    )
)


@given(columns, st.floats(10, 1e4))
def test_errors_grow_as_fluxes_do_and_nothing_added_is_no_error(
    levels: tuple[np.ndarray, np.ndarray], length: float
) -> None:
    added, weights = levels
    heights = 100.0 * np.arange(len(added))
    error = column_error(added, weights, heights, length)
    assert np.isfinite(error)
    # Twice the flux is four times the variance, of all levels.
    assert column_error(4 * added, weights, heights, length) == pytest.approx(2 * error, rel=1e-9, abs=1e-12)
    assert column_error(np.minimum(added, 0), weights, heights, length) == 0
    assert column_error(np.full(len(added), np.nan), weights, heights, length) == 0


@given(columns)
def test_levels_that_are_alike_add_and_others_add_in_squares(levels: tuple[np.ndarray, np.ndarray]) -> None:
    added, weights = levels[0], np.abs(levels[1])
    sd, heights = np.sqrt(np.maximum(added, 0)), 1000.0 * np.arange(len(added))
    alike, apart = (weights * sd).sum(), np.sqrt(((weights * sd) ** 2).sum())
    assert column_error(added, weights, heights, 1e12) == pytest.approx(alike)
    assert column_error(added, weights, heights, 1e-3) == pytest.approx(apart)
    assert apart * (1 - 1e-9) <= column_error(added, weights, heights, 356) <= alike * (1 + 1e-9)


@given(st.integers(1, 2000), st.integers(2, 6000))
def test_levels_hold_all_particles_and_enough_of_each(numpar: int, top: int) -> None:
    column, point = (make_receptor(NOW.to_pydatetime(), -112, 40, height) for height in ([0, top], 5))
    n = levels_of(column, numpar)
    held = np.bincount(levels_of_particles(np.arange(1, numpar + 1), numpar, n))
    assert (np.bincount(levels_of_particles(np.arange(1, 3 * numpar + 1), numpar, n)) == 3 * held).all()
    assert len(held) == n
    assert held.sum() == numpar
    assert n == 1 or held.min() >= 10
    assert levels_of(point, numpar) == 1


def uniform(value: float = 2.0) -> FluxField:
    return FluxField(
        np.full((1, 2, 3), value), np.array([-np.inf, np.inf]), np.arange(40.0, 43), np.arange(-113.0, -109)
    )


def walks(seed: int, n: int = 40, minutes: int = 30, spread: float = 0.01) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (n, minutes)
    return {
        "particle": np.repeat(np.arange(n), minutes),
        "minute": np.tile(-np.arange(1.0, minutes + 1), n),
        "lon": (-112.0 + np.cumsum(rng.normal(0, spread, shape), 1)).ravel(),
        "lat": (41.0 + np.cumsum(rng.normal(0, spread, shape), 1)).ravel(),
        "foot": np.abs(rng.normal(0, 0.02, n * minutes)),
    }


def test_signals_are_influence_times_flux_inside_the_field() -> None:
    p = walks(1)
    signals, covered = uniform(2.0).pick_up(**p)
    np.testing.assert_allclose(signals, 2.0 * p["foot"].reshape(40, -1).sum(1))
    assert covered == 1
    p["lon"] = np.where(p["particle"] < 10, p["lon"] + 30, p["lon"] + 360)  # beside it, and once around
    signals, covered = uniform(2.0).pick_up(**p)
    assert not signals[:10].any()
    np.testing.assert_allclose(signals[10:], 2.0 * p["foot"].reshape(40, -1).sum(1)[10:])
    assert covered == pytest.approx(p["foot"][p["particle"] >= 10].sum() / p["foot"].sum())


def test_a_point_is_what_pystilt_finds() -> None:
    lat, lon = np.arange(40.0, 42.0, 0.1), np.arange(-113.0, -111.0, 0.1)
    flux = xr.DataArray(
        np.random.default_rng(0).gamma(1.0, 5.0, (20, 20)), {"lat": lat, "lon": lon}, ("lat", "lon"), "flux"
    )
    field = FluxField(
        flux.to_numpy()[None], np.array([-np.inf, np.inf]), np.append(lat, 42.0) - 0.05, np.append(lon, -111.0) - 0.05
    )
    runs = [walks(1), walks(2, spread=0.05)]
    own, perturbed = (field.pick_up(**p)[0] for p in runs)
    theirs = stilt.particles.transport_error(*(pd.DataFrame(p) for p in runs), flux, length_scale=None)
    assert theirs.variance > 0
    assert added_variance(own, perturbed) == pytest.approx(theirs.variance * 40 / 39)  # they divide by n
    assert added_variance(own, own) == 0
    assert np.isnan(added_variance(own[:1], own))


def flux_file(path: Path, times: Any = None, units: str = "umol m-2 s-1", **more: Any) -> Path:
    """Write a field that is 1 in its first step, 2 in the next."""
    lat, lon = np.arange(44.0, 38, -1), np.arange(240.0, 252)
    axes: dict[str, Any] = {"latitude": lat, "longitude": lon}
    if times is not None:
        axes = {"time": pd.DatetimeIndex(times), **axes}
    shape = tuple(len(v) for v in axes.values())
    values = np.ones(shape) if times is None else np.ones(shape) * (1 + np.arange(shape[0]))[:, None, None]
    values[..., -1, -1] = np.nan
    data = xr.Dataset({"co2": (tuple(axes), values, {"units": units})}, axes)
    data.assign(more).to_netcdf(path)
    return path


HOURS = ["2023-07-15T06:00", "2023-07-15T08:00"]


@pytest.mark.parametrize(
    ("times", "more", "expected"),
    [
        (None, {}, [1, 1, 1]),
        (["2023-01-01"], {}, [1, 1, 1]),  # one time is that of all
        (HOURS, {}, [1, 1, 2]),  # a time is where a step begins, and the last is as long as the one before
        (
            ["2023-07-15T07:00", "2023-07-15T10:00"],  # the middle of steps, by bounds
            {"b": (("time", "bnds"), np.array([["06:00", "08:30"], ["08:30", "11:30"]]))},
            [1, 1, 2],
        ),
    ],
    ids=["no time", "one time", "starts", "bounds"],
)
def test_particles_feel_the_step_they_are_in(
    tmp_path: Path, times: Any, more: dict[str, Any], expected: list[int]
) -> None:
    path = flux_file(tmp_path / "f.nc", times)
    if more:
        dims, clock = more["b"]
        bounds = np.vectorize(lambda t: np.datetime64(f"2023-07-15T{t}", "ns"))(clock)
        data = xr.load_dataset(path).assign(time_bnds=(dims, bounds))
        data["time"].attrs["bounds"] = "time_bnds"
        data["time"].encoding["units"] = "minutes since 2023-07-15"
        data.to_netcdf(path)
    field = open_flux(path, FluxSource(uri="f.nc", variable="co2"), EARLIER, NOW)
    minute = np.array([t.timestamp() / 60 for t in (EARLIER, pd.Timestamp("2023-07-15T07:59"), NOW)])
    here = (np.full(3, -112.0), np.full(3, 40.5), np.ones(3))
    assert field.pick_up(np.arange(3), minute, *here)[0].tolist() == expected
    signals, covered = field.pick_up(np.arange(1), minute[:1], np.array([-109.0]), np.array([39.0]), np.ones(1))
    assert (signals[0], covered) == (0, 1)  # a cell without a value has no flux


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"variable": "ch4"}, "has no variable ch4; it has co2"),
        ({"units": "kg m-2 s-1"}, "units 'kg m-2 s-1': set transport_error.flux.units"),
        ({"times": ["2023-07-15T06:00", "2023-07-15T07:00"]}, "covers 2023-07-15 06:00 to 2023-07-15 08:00 UTC"),
        ({"times": ["2023-07-15T06:00", "2023-07-15T06:00"]}, "time of co2 has a value twice"),
        ({"variable": "deep"}, "has the dimension depth beside time"),
        ({"variable": "flat"}, "has no axis lon or longitude"),
    ],
    ids=str,
)
def test_fluxes_that_cannot_be_used_are_one_line(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    more = {"deep": (("depth", "latitude", "longitude"), np.ones((2, 6, 12))), "flat": (("latitude",), np.ones(6))}
    path = flux_file(tmp_path / "f.nc", change.get("times", HOURS), change.get("units", "umol m-2 s-1"), **more)
    source = FluxSource(uri="f.nc", variable=change.get("variable", "co2"))
    with pytest.raises(FluxError, match=r"^fluxes f\.nc") as refusal:
        open_flux(path, source, EARLIER, NOW)
    assert says in str(refusal.value)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FluxError, match="cannot be read"):
        open_flux(path, source, EARLIER, NOW)


@pytest.mark.parametrize(("units", "scale"), [("micromol/m2/s", 1), ("mol m^-2 s^-1", 1e6), ("nmol m-2 s-1", 1e-3)])
def test_units_are_read_as_people_write_them(tmp_path: Path, units: str, scale: float) -> None:
    field = open_flux(flux_file(tmp_path / "f.nc", units=units), FluxSource(uri="f.nc", variable="co2"), EARLIER, NOW)
    assert field.values[0, 0, 0] == pytest.approx(scale)
