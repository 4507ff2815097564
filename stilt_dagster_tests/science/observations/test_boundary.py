"""By which side particles leave the box above a grid: against a search a particle at a time, and what must add up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.observations.boundary import SIDES, Box
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster_tests.conftest import SHARED

#: A plain grid, one across the antimeridian, one around the Earth, a projected one; where receptors of each are.
GRIDS = {
    "plain": (Grid(-113, -111, 0.25, 40, 41.5, 0.1), (-112.0, 40.7)),
    "antimeridian": (Grid(178, -179, 0.5, -3, 1, 0.5), (179.6, -1.0)),
    "global": (Grid(-180, 180, 5, -60, 80, 4), (179.0, 70.0)),
    "projected": (
        Grid(-113, -111, 2500, 40, 41.5, 4000, "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=40 +lon_0=-97 +R=6371229"),
        (-112.0, 40.7),
    ),
}

HEIGHTS = (0.0, 500.0, 1500.0, 4000.0)

walks = st.tuples(
    st.sampled_from(sorted(GRIDS)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.floats(0.01, 3),
    st.floats(-8, 8),
)


def walk(name: str, seed: int, n: int, stride: float, away: float) -> tuple[Box, tuple[np.ndarray, ...]]:
    """Return a box, and particles that wander from a place in or far outside of it; numbers may be missing."""
    grid, (lon0, lat0) = GRIDS[name]
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 40, n)
    particle = np.repeat(np.sort(rng.choice(np.arange(1, 3 * n + 1), n, replace=False)), rows)
    steps = rng.normal(0, stride, (3, rows.sum())) * np.array([[1.0], [0.5], [400.0]])
    first = np.append(0, np.cumsum(rows)[:-1])
    path = np.cumsum(steps, axis=1)
    path -= np.repeat(path[:, first], rows, axis=1)
    lon = (lon0 + away + path[0] + 180) % 360 - 180
    lat = np.clip(lat0 + away / 4 + path[1], -89.9, 89.9)
    return Box(grid, HEIGHTS), (particle, np.round(lon, 4), np.round(lat, 4), np.abs(path[2]))


@given(walks)
def test_every_particle_is_in_one_cell_and_shares_sum_to_one(made: tuple) -> None:
    box, particles = walk(*made)
    exits = box.exits(*particles)
    cells = box.cells(exits)
    assert len(cells) == len(np.unique(particles[0]))
    assert (cells >= box.offsets[exits.side]).all()
    assert (cells < box.offsets[exits.side + 1]).all()
    weights = np.random.default_rng(made[1]).uniform(0.1, 1.0, len(cells))
    found, shares = box.shares(cells, weights)
    assert (np.diff(found) > 0).all()
    assert shares.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    by_side = np.bincount(box.by_side(found), shares, len(SIDES) * box.n_heights).reshape(len(SIDES), -1)
    expected = np.bincount(exits.side, weights, len(SIDES)) / weights.sum()
    np.testing.assert_allclose(by_side.sum(axis=1), expected, atol=1e-6)
    assert not by_side[SIDES.index("top"), :-1].any(), "what leaves by the top is at the top"


def look_at_each(box: Box, particle: np.ndarray, lon: np.ndarray, lat: np.ndarray, height: np.ndarray) -> None:
    """A particle at a time, in the grid's coordinates from the last row inside on: the crossing lies on the face."""
    grid, top = box.grid, box.heights[-1]
    exits = box.exits(particle, lon, lat, height)
    x, y = (lon % 360 if grid.wraps else lon), lat
    if not grid.is_longlat:
        x, y = grid.transformer.transform(lon, lat)
    x0, x1, y0, y1 = grid.x_edges[0], grid.x_edges[-1], grid.y_edges[0], grid.y_edges[-1]
    for k, number in enumerate(np.unique(particle)):
        rows = np.flatnonzero(particle == number)
        inside = [r for r in rows if y0 <= y[r] < y1 and height[r] < top and (grid.is_global or x0 <= x[r] < x1)]
        side = SIDES[exits.side[k]]
        if not inside:
            assert side != "inside"
            assert exits.row[k] == rows[0]
        elif inside[-1] == rows[-1]:
            assert side == "inside"
            assert (exits.x[k], exits.y[k], exits.height[k]) == (x[rows[-1]], y[rows[-1]], height[rows[-1]])
        else:
            assert exits.row[k] == inside[-1] + 1
            on = {"north": exits.y[k] - y1, "east": exits.x[k] - x1, "south": exits.y[k] - y0, "west": exits.x[k] - x0}
            on["top"] = exits.height[k] - top
            scale = 1e-9 * (1 + abs(x0) + abs(y0) + top)
            assert abs(on[side]) < scale
            # No face was passed on the way there.
            assert max(on["north"], -on["south"], on["top"]) < scale
            if not grid.is_global:
                assert max(on["east"], -on["west"]) < scale
            else:
                assert side not in ("east", "west")


@given(walks)
def test_a_particle_leaves_by_the_face_its_last_way_out_meets_first(made: tuple) -> None:
    box, particles = walk(*made)
    look_at_each(box, *particles)


def test_particles_of_real_winds_are_all_counted() -> None:
    """R STILT's, of a column on HRRR: some leave by each of three sides, some stay."""
    path = SHARED / "reference/rstilt/ref_column_k2_n1000/traj.parquet"
    if not path.is_file():
        pytest.skip("R STILT's particles of ../shared/reference are not here")
    table = pd.read_parquet(path).sort_values(["indx", "time"], ascending=[True, False])
    particles = tuple(table[name].to_numpy(np.float64) for name in ("indx", "long", "lati", "zagl"))
    box = Box(Grid(-111.86, -111.65, 0.01, 40.7, 40.75, 0.01), (0.0, 250.0, 1000.0, 2900.0))
    look_at_each(box, *particles)
    exits = box.exits(*particles)
    cells, shares = box.shares(box.cells(exits), np.ones(1000))
    assert shares.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert [SIDES[side] for side in np.unique(exits.side)] == ["north", "east", "south", "inside"]
    assert set(np.unique(box.by_side(cells) // box.n_heights)) == set(np.unique(exits.side))


@pytest.mark.parametrize(
    ("way", "side", "along", "level"),
    [
        (((-112.0, 40.7, 50), (-112.9, 40.7, 50), (-113.1, 40.7, 700)), "west", 7, 0),
        (((-112.0, 40.7, 50), (-113.5, 40.7, 50), (-112.5, 40.7, 50)), "inside", 0, 0),
        (((-112.0, 41.4, 600), (-112.0, 41.6, 600)), "north", 4, 1),
        (((-111.1, 41.45, 600), (-110.9, 41.55, 600)), "north", 7, 1),
        (((-112.0, 40.05, 3900), (-112.0, 39.95, 4050)), "south", 4, 2),
        (((-112.0, 40.05, 3990), (-112.0, 39.95, 4050)), "top", 0, 2),
        (((-110.0, 40.7, 50), (-109.0, 40.7, 50)), "east", 7, 0),
    ],
    ids=["west", "came back", "north", "corner", "south before top", "top before south", "never inside"],
)
def test_ways_out(way: tuple, side: str, along: int, level: int) -> None:
    box = Box(GRIDS["plain"][0], HEIGHTS)
    lon, lat, height = (np.array(v, float) for v in zip(*way, strict=True))
    exits = box.exits(np.ones(len(way), int), lon, lat, height)
    [cell] = box.cells(exits) - box.offsets[exits.side]
    assert SIDES[exits.side[0]] == side
    assert divmod(int(cell), box.widths[exits.side[0]]) == (level, along)


def test_weights_that_sum_to_nothing_have_no_boundary() -> None:
    box = Box(GRIDS["plain"][0], HEIGHTS)
    assert [len(part) for part in box.shares(np.array([3, 4]), np.zeros(2))] == [0, 0]
