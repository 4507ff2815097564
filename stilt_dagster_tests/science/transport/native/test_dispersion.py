"""Particles moved by turbulence, beside those of hycs_std: where they are, and what they take up, in distribution."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native import columns, dispersion
from stilt_dagster.science.transport.native.advection import Place, place_at, time_step, velocity_at
from stilt_dagster.science.transport.native.meteorology.fields import read_fields
from stilt_dagster.science.transport.native.meteorology.levels import second_half_density
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology, prepare
from stilt_dagster.science.transport.native.meteorology.projection import MapProjection, cells_per_metre, to_grid
from stilt_dagster.science.transport.native.random_numbers import (
    RandomState,
    begin_particle,
    next_normal,
    random_state,
)
from stilt_dagster_tests.science.transport.native.weather import START, Weather

Floats = NDArray[np.float64]

LON, LAT, MINUTES, EACH = -112.0, 40.7, 60, 500
#: Of horizontal velocities after a minute.
KEPT = float(np.exp(-60.0 / 10800.0))
HEIGHTS = (12.0, 120.0, 500.0)
SETTINGS = TransportSettings(
    n_hours=-1, numpar=EACH, seed=7, hnf_plume=False,
    varsiwant=["time", "indx", "long", "lati", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr"],
)  # fmt: skip

#: Weather that stays, the same everywhere over flat land.
STEADY = {
    "day": Weather("sigma", wind=4.0, steady=13.0, hours=4),
    "night": Weather("sigma", wind=4.0, steady=2.0, hours=4),
}


@dataclass
class Column:
    """The column of steady weather, and particles of hycs_std in it, shape ``(places, EACH, MINUTES)``."""

    met: Meteorology
    place: Place
    layers: columns.Column
    wind: Floats
    projection: MapProjection
    level: Floats
    bound: Floats
    sigma: Floats
    timescale: Floats
    dens: Floats
    second_dens: Floats
    mixing_height: float
    time: dt.datetime
    printed: dict[str, Floats]


@pytest.fixture(scope="module", params=list(STEADY))
def column(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Column:
    path = STEADY[request.param].write(tmp_path_factory.mktemp("dispersion") / "weather.arl")
    time = (START.tz_localize("UTC") + np.timedelta64(2, "h")).to_pydatetime()
    runs = [Hysplit().run(Receptor(time, (LON,), (LAT,), (z,)), SETTINGS, path).columns for z in HEIGHTS]
    printed = {name: np.stack([run[name].reshape(EACH, MINUTES) for run in runs]) for name in runs[0]}
    met, fields = prepare(path, SETTINGS, time.timestamp() / 60), read_fields(path, SETTINGS.z_top)
    x, y = to_grid(met.projection, LON, LAT)
    place = place_at(met.wind, time_step(met.wind.times, time.timestamp() / 60), x, y)
    layers, here = columns.column_at(met, place, 1.0), (1, round(y), round(x))
    mixing_height = float(met.height[here])
    bound = np.array([columns.bound(met.level, layers, k) for k in range(met.level.size)])
    dry, temp, pres = met.dens[here], fields.temp[here], fields.pres[here]
    return Column(
        met=met,
        place=place,
        layers=layers,
        wind=np.array([velocity_at(met.wind, place, z)[:2] for z in met.level]),
        projection=met.projection,
        level=met.level,
        bound=bound,
        sigma=met.sigma_w[here].astype(np.float64),
        timescale=met.timescale[here].astype(np.float64),
        dens=dry.astype(np.float64),
        second_dens=second_half_density(dry, temp, pres).astype(np.float64),
        mixing_height=mixing_height,
        time=time,
        printed=printed,
    )


@numba.njit
def follow(
    met: Meteorology,
    here: Place,
    layers: columns.Column,
    wind: Floats,
    depth: float,
    starts: Floats,
    random: RandomState,
    track: Floats,
) -> None:
    """Fill in x, y, height and seconds below *depth* of particles, shape ``(particles, minutes, 4)``."""
    words, normals, share = random.words, random.normals, np.empty(met.level.size)
    for p in range(starts.shape[0]):
        begin_particle(words, p)
        x, y, z = starts[p]
        w = next_normal(words, normals)
        spread = dispersion.horizontal_sigma(met, here, z)
        u, v = spread * next_normal(words, normals), spread * next_normal(words, normals)
        for m in range(track.shape[1]):
            share[:] = 0.0
            spread = dispersion.horizontal_sigma(met, here, z)
            first = dispersion.disperse(met, layers, z, w, 0, 30.0, 0.1, depth, share, words, normals)
            last = dispersion.disperse(
                met, layers, first.height, first.velocity, first.layer, 30.0, 0.1, depth, share, words, normals
            )
            x -= (share * wind[:, 0]).sum() / 60.0
            y -= (share * wind[:, 1]).sum() / 60.0
            z, w = last.height, last.velocity
            u = dispersion.next_horizontal(u, spread, KEPT, next_normal(words, normals))
            v = dispersion.next_horizontal(v, spread, KEPT, next_normal(words, normals))
            cells_x, cells_y = cells_per_metre(met.projection, x, y)
            x += u * 60.0 * cells_x
            y += v * 60.0 * cells_y
            track[p, m, 0], track[p, m, 1], track[p, m, 2], track[p, m, 3] = x, y, z, first.inside + last.inside


def own_track(column: Column, starts: Floats, minutes: int = MINUTES) -> Floats:
    track = np.empty((len(starts), minutes, 4))
    depth = dispersion.flux_depth(0.5, column.mixing_height)
    follow(column.met, column.place, column.layers, column.wind, depth, starts, random_state(1), track)
    return track


def test_particles_are_where_those_of_hycs_std_are(column: Column) -> None:
    """At no height and time can the two be told apart, upright or along either axis."""
    for place, height in enumerate(HEIGHTS):
        start = (*to_grid(column.projection, LON, LAT), height)
        track = own_track(column, np.tile(start, (4 * EACH, 1)))
        for minute in (1, 5, 20, 60):
            rows = {name: column.printed[name][place, :, minute - 1] for name in ("lon", "lat", "zagl", "samt")}
            there = np.array([to_grid(column.projection, *p) for p in zip(rows["lon"], rows["lat"], strict=True)])
            assert stats.ks_2samp(rows["zagl"], track[:, minute - 1, 2]).pvalue > 1e-3, (height, minute)
            for axis in (0, 1):
                # Printed places are steps of a hundredth of a cell; in the first minutes these are what is seen.
                own = track[:, minute - 1, axis]
                if minute >= 20:
                    assert stats.ks_2samp(there[:, axis], own).pvalue > 1e-3, (height, minute, axis)
                assert there[:, axis].std() == pytest.approx(own.std(), rel=0.12, abs=2e-3), (height, minute, axis)
        theirs, own = column.printed["samt"][place].mean(axis=1), track[:, :, 3].mean(axis=1) / 60
        assert theirs.mean() == pytest.approx(own.mean(), abs=4 * theirs.std() / np.sqrt(EACH) + 1e-4), height


def test_turbulence_printed_is_that_of_the_layer_a_particle_ends_in(column: Column) -> None:
    zagl, tlgr, sigw = (column.printed[name].ravel()[::20] for name in ("zagl", "tlgr", "sigw"))
    edge = np.abs(zagl[:, None] - column.bound).min(axis=1) < 0.1
    layer = np.array([columns.layer_at(column.level, column.layers, z, 0) for z in zagl[~edge]])
    assert tlgr[~edge] == pytest.approx(column.timescale[layer], rel=2e-3)
    assert sigw[~edge] == pytest.approx(column.sigma[layer], rel=2e-3, abs=1.1e-3)


@pytest.mark.parametrize("veght", [0.2, 0.5, 1.0, 40.0, 700.0])
def test_foot_is_what_hycs_std_prints(
    column: Column, veght: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """For depths in and between layers; of a part of a minute it is that of one half, of the other, or of both."""
    path = STEADY[request.node.callspec.params["column"]].write(tmp_path / "weather.arl")
    settings = SETTINGS.model_copy(update={"numpar": 10, "veght": veght})
    printed = Hysplit().run(Receptor(column.time, (LON,), (LAT,), (15.0,)), settings, path).columns
    depth = dispersion.flux_depth(veght, column.mixing_height)
    first, second = (
        dispersion.footprint(30.0, depth, column.level, 1.0, density) for density in (column.dens, column.second_dens)
    )
    whole = printed["samt"] == 1
    assert whole.any()
    assert printed["foot"][whole] == pytest.approx(first + second, rel=1e-3, abs=5.1e-8)
    part = printed["samt"][~whole] * 60
    early, late = np.minimum(part, 30), np.maximum(part - 30, 0)
    least, most = (early * a + late * b for a, b in ((first / 30, second / 30), (second / 30, first / 30)))
    slack = 2e-3 * most + 3e-3 * second / 30 + 5.1e-8
    assert np.all((printed["foot"][~whole] >= least - slack) & (printed["foot"][~whole] <= most + slack))


def test_air_stays_well_mixed(column: Column) -> None:
    """Particles as dense as the air of their layer stay so for 12 hours, within 3 % and what chance adds."""
    n, layers = 8_000, 9
    edges = np.append(column.bound[:layers], column.bound[layers])
    mass = column.dens[:layers] * np.diff(edges)
    rng = np.random.default_rng(2)
    layer = rng.choice(layers, n, p=mass / mass.sum())
    heights, velocity = edges[layer] + rng.random(n) * np.diff(edges)[layer], rng.standard_normal(n)
    lidded = np.where(np.arange(column.level.size) < layers, column.met.sigma_w, np.float32(1e-9))
    before = np.histogram(heights, edges)[0]
    mix(heights, velocity, 12 * 60, column.met._replace(sigma_w=lidded), column.layers, random_state(3))
    after = np.histogram(heights, edges)[0]
    assert np.all(np.abs(after - before) < 0.03 * before + 4 * np.sqrt(before)), (before, after)


@numba.njit
def mix(
    heights: Floats,
    velocity: Floats,
    minutes: int,
    met: Meteorology,
    layers: columns.Column,
    random: RandomState,
) -> None:
    """Move particles up and down for some minutes, in place."""
    share = np.zeros(met.level.size)
    for p in range(heights.size):
        begin_particle(random.words, p)
        for _ in range(2 * minutes):
            moved = dispersion.disperse(
                met, layers, heights[p], velocity[p], 0, 30.0, 0.1, 0.0, share, random.words, random.normals
            )
            heights[p], velocity[p] = moved.height, moved.velocity
