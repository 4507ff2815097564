"""Footprints: R STILT's rules, against pystilt's port of them, and what must hold by construction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import stilt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stilt_dagster.science.footprints.gridding import Footprint, calculate_footprint, sparse_row
from stilt_dagster.science.scenes.grid import EARTH_RADIUS, Grid

UTM = "+proj=utm +zone=12 +datum=WGS84 +units=m"


def particles(seed: int, n: int, minutes: int, step: float = 0.004, lon: float = -111.9, lat: float = 40.7) -> dict:
    rng = np.random.default_rng(seed)
    lives = rng.integers(max(2, minutes // 2), minutes + 1, n)
    out: dict[str, list] = {k: [] for k in ("particle", "age", "lon", "lat", "foot")}
    for k in range(n):
        m = lives[k]
        out["particle"].append(np.full(m, k + 1, np.int32))
        out["age"].append(-np.arange(1, m + 1, dtype=np.int32))
        out["lon"].append(np.round(lon + rng.normal(-step / 4, step, m).cumsum(), 4))
        out["lat"].append(np.round(lat + rng.normal(step / 8, step, m).cumsum(), 4))
        out["foot"].append(np.round(np.maximum(rng.normal(0.01, 0.02, m), 0), 7))
    return {k: np.concatenate(v) for k, v in out.items()}


def ours(p: dict, grid: Grid, **options) -> Footprint:
    return calculate_footprint(p["particle"], p["age"], p["lon"], p["lat"], p["foot"], grid, **options)


class FiveColumns(BaseModel):
    """What pystilt must be given: other columns silently switch its interpolation off."""

    def apply(self, particles: pd.DataFrame, receptor: object = None, directory: object = None) -> pd.DataFrame:
        return particles[["particle", "age", "lon", "lat", "foot"]]


def theirs(p: dict, grid: Grid, **options) -> np.ndarray:
    """Return pystilt's footprint, hour -1 first, zeros where it leaves hours out."""
    frame = pd.DataFrame(p).astype(float).assign(zagl=0.0)
    receptor = stilt.PointReceptor(time="2019-05-30 04:00", longitude=-111.9, latitude=40.7, altitude=5)
    box = {k: getattr(grid, k) for k in ("xmin", "xmax", "xres", "ymin", "ymax", "yres", "projection")}
    foot = stilt.calc_footprint(frame, receptor, stilt.Grid(**box), transforms=[FiveColumns()], **options)
    hours = ((foot.time.values - np.datetime64("2019-05-30T04:00")) / np.timedelta64(1, "h")).astype(int)
    n = 1 if options.get("time_integrate") else int(np.ceil(-p["age"].min() / 60))
    out = np.zeros((n, grid.ny, grid.nx))
    for k, hour in enumerate(hours):
        out[0 if options.get("time_integrate") else -1 - hour] = foot.values[k]
    return out


GRIDS = {
    "coarse": Grid(-112.3, -111.5, 0.02, 40.4, 41.0, 0.02),
    "fine": Grid(-112.0, -111.8, 0.002, 40.6, 40.8, 0.002),
    "oblong": Grid(-112.3, -111.5, 0.05, 40.4, 41.0, 0.01),
    "tall": Grid(-112.3, -111.5, 0.01, 40.4, 41.0, 0.05),
    "offset": Grid(-112.1, -111.92, 0.01, 40.705, 40.905, 0.01),
    "projected": Grid(-112.2, -111.6, 1500.0, 40.5, 40.9, 1500.0, UTM),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("seed", "n", "minutes"), [(1, 30, 150), (2, 5, 300), (3, 2, 90)])
@pytest.mark.parametrize("options", [{}, {"smooth_factor": 0.0}, {"smooth_factor": 2.5}, {"time_integrate": True}])
def test_footprints_equal_pystilts(name: str, seed: int, n: int, minutes: int, options: dict) -> None:
    p = particles(seed, n, minutes, step=0.0005 if name == "fine" and seed == 3 else 0.004)
    grid = GRIDS[name]
    expected = theirs(p, grid, **options)
    found = ours(p, grid, **options).dense(grid, len(expected))
    assert np.abs(found - expected).max() <= 1e-6 * expected.max()


def test_a_single_particle_is_not_smoothed() -> None:
    p = particles(4, 1, 60)
    grid = GRIDS["coarse"]
    assert np.allclose(ours(p, grid).dense(grid, 1), theirs(p, grid), rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 20), minutes=st.integers(2, 200), smooth=st.sampled_from([0, 1, 3])
)
def test_influence_is_conserved(seed: int, n: int, minutes: int, smooth: float) -> None:
    """A grid that holds every particle and its kernel holds all their influence, and nothing else."""
    p = particles(seed, n, minutes, step=0.001)
    grid = Grid(-116, -108, 0.05, 37, 44, 0.05)
    foot = ours(p, grid, smooth_factor=smooth)
    inside = sum(layer.values.sum(dtype=float) for layer in foot.layers)
    assert inside == pytest.approx(p["foot"].sum() / n, rel=1e-5)
    assert foot.total == pytest.approx(p["foot"].sum() / n)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), minute=st.integers(0, 59), n=st.integers(1, 10), minutes=st.integers(2, 400))
def test_hours_of_utc_hold_what_hours_of_release_hold(seed: int, minute: int, n: int, minutes: int) -> None:
    p = particles(seed, n, minutes)
    grid = GRIDS["coarse"]
    foot = ours(p, grid, minute=minute)
    dense = foot.dense(grid, int(np.ceil(minutes / 60)) + 1).sum(0)
    again = np.zeros_like(dense, float)
    for layer in foot.utc_layers:
        rows, columns = layer.values.shape
        again[layer.y : layer.y + rows, layer.x : layer.x + columns] += layer.values
    np.testing.assert_allclose(again, dense, rtol=1e-5, atol=1e-12)
    hours = [layer.hour for layer in foot.utc_layers]
    assert hours == sorted(hours)
    if minute == 0:
        assert {layer.hour for layer in foot.layers} == set(hours)


def test_a_step_falls_into_its_own_hour_of_utc() -> None:
    """Released at 12:15: 15 minutes back is still 12 h, 16 minutes back is 11 h."""
    grid = Grid(-112.3, -111.5, 0.1, 40.4, 41.0, 0.1)
    one = np.ones(4)
    age = np.array([-1, -15, -16, -75], np.int32)
    foot = calculate_footprint(
        np.ones(4, np.int32), age, one * -111.95, one * 40.65, np.array([1.0, 2.0, 4.0, 8.0]), grid, minute=15
    )
    assert {layer.hour: float(layer.values.sum()) for layer in foot.utc_layers} == {0: 3.0, -1: 12.0}
    assert {layer.hour: float(layer.values.sum()) for layer in foot.layers} == {-1: 7.0, -2: 8.0}


def test_the_antimeridian_is_no_edge() -> None:
    """Particles across 180 degrees give what the same particles give elsewhere."""
    p = particles(7, 20, 120, lon=-111.9)
    there = dict(p, lon=np.round((p["lon"] + 291.9 + 180) % 360 - 180, 4))
    here = ours(p, Grid(-112.9, -110.9, 0.02, 40.4, 41.0, 0.02))
    for xmin, xmax in ((179.0, -179.0), (179.0, 181.0)):
        grid = Grid(xmin, xmax, 0.02, 40.4, 41.0, 0.02)
        foot = ours(there, grid)
        assert grid.nx == 100
        assert grid.x[0] == pytest.approx(179.01)
        assert grid.x[-1] == pytest.approx(180.99)
        for a, b in zip(here.layers, foot.layers, strict=True):
            np.testing.assert_allclose(a.values, b.values, rtol=1e-4, atol=1e-9)


def test_no_influence_is_empty() -> None:
    p = particles(8, 5, 60)
    far = Grid(-100, -99, 0.1, 40, 41, 0.1)
    assert ours(p, far).is_empty
    assert ours(dict(p, foot=np.zeros(len(p["foot"]))), GRIDS["coarse"]).is_empty


def test_rows_are_ascending_and_complete() -> None:
    p = particles(9, 10, 200)
    grid = GRIDS["coarse"]
    foot = ours(p, grid, minute=40)
    columns, values = sparse_row(foot, grid.ny, grid.nx, 5)
    assert (np.diff(columns) > 0).all()
    assert values.sum(dtype=float) == pytest.approx(
        sum(layer.values.sum(dtype=float) for layer in foot.layers), rel=1e-6
    )


def test_cells_of_the_whole_earth_cover_it() -> None:
    grid = Grid(-180, 180, 1.0, -90, 90, 1.0)
    assert (grid.nx, grid.ny) == (360, 180)
    assert grid.cell_area.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2)


@given(
    k=st.integers(-1700, 1700), n=st.integers(1, 400), step=st.sampled_from([0.002, 0.01, 0.05, 0.1, 0.25, 1 / 3])
)  # fmt: skip
def test_decimal_bounds_lose_no_cell(k: int, n: int, step: float) -> None:
    xmin = k / 10
    assert Grid(xmin, min(xmin + n * step, 360), step, 0, 1, 1).nx >= min(n, int((360 - xmin) / step))
