"""Random numbers: Philox's published answers, the normal distribution, and a particle's own stream."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stilt_dagster.science.transport.native.random_numbers import (
    begin_particle,
    next_normal,
    next_uniform,
    normal_quantile,
    philox,
    random_state,
)


@numba.njit
def _normals(words: NDArray[np.uint64], normals: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    out = np.empty(n)
    for i in range(n):
        out[i] = next_normal(words, normals)
    return out


def draw(seed: int, particle: int, n: int) -> NDArray[np.float64]:
    state = random_state(seed)
    begin_particle(state.words, particle)
    return np.asarray(_normals(*state, n))


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_words_are_those_published_with_the_generator(
    counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    """Random123's known answers of philox4x32-10."""
    assert tuple(int(w) for w in philox(*map(np.uint64, counter), *map(np.uint64, key))) == answer


def test_quantiles_are_those_of_the_normal_distribution() -> None:
    p = np.concatenate([np.logspace(-9.6, -1), np.linspace(0.1, 0.9, 81), 1 - np.logspace(-9.6, -1)])
    found = np.array([normal_quantile(v) for v in p])
    np.testing.assert_allclose(found, stats.norm.ppf(p), rtol=3e-7, atol=1e-7)


def test_draws_are_normal_and_do_not_depend_on_each_other() -> None:
    drawn = draw(1234, 7, 400_000)
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    for lag in (1, 2, 4, 64):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 5 / np.sqrt(len(drawn))


def test_a_particle_has_its_own_whatever_was_drawn_before() -> None:
    state = random_state(99)
    begin_particle(state.words, 5)
    next_uniform(state.words)
    _normals(*state, 1001)
    begin_particle(state.words, 3)
    np.testing.assert_array_equal(_normals(*state, 100), draw(99, 3, 100))
    streams = np.array([draw(seed, particle, 1000) for seed in (1, 2, 2**31 - 1) for particle in (0, 1, 200)])
    assert np.abs(np.corrcoef(streams) - np.eye(len(streams))).max() < 0.2
