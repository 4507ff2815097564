"""Random numbers of a particle: a counter-based generator, so that a particle's are its own.

They follow from the receptor's seed and the particle's number alone: no order in which particles are followed, and no
number of threads, changes them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.transport.native.compiled import compiled

# Philox4x32-10: multipliers and the constants that a key grows by in each round (Salmon et al. 2011, table 2).
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10

#: Normals drawn at a time; four a block.
_AHEAD = 64


class RandomState(NamedTuple):
    """The random numbers of one particle after another; compiled loops take its two arrays.

    Attributes
    ----------
    words : ndarray of uint64, shape (7,)
        Blocks drawn, the particle, and two that are free; the receptor's key of two; how many normals were taken.
    normals : ndarray of float64, shape (64,)
        The next normals of the particle.
    """

    words: NDArray[np.uint64]
    normals: NDArray[np.float64]


def random_state(seed: int) -> RandomState:
    """Return the random numbers of a receptor.

    Parameters
    ----------
    seed : int
        Of the receptor; its lowest 64 bits count.
    """
    words = np.array([0, 0, 0, 0, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, _AHEAD], np.uint64)
    return RandomState(words, np.zeros(_AHEAD))


@compiled
def begin_particle(words: NDArray[np.uint64], particle: int) -> None:
    """Go to the first random number of a particle."""
    words[0] = 0
    words[1] = particle
    words[6] = _AHEAD


@compiled
def philox(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return four 32-bit random words of a counter and a key.

    Philox4x32-10 of Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3",
    doi:10.1145/2063384.2063405, section 4.3.
    """
    for _ in range(_ROUNDS):
        a, b = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@compiled
def _uniform(word: np.uint64) -> float:
    """Return a word as a number between 0 and 1, neither of which it is."""
    return (float(np.int64(word)) + 0.5) * 2.3283064365386963e-10


@compiled
def normal_quantile(p: float) -> float:
    """Return the standard normal deviate that *p* of all are below, to 1e-7.

    Algorithm AS 241 (PPND7) of Wichura (1988), "The percentage points of the normal distribution", Appl. Stat. 37,
    doi:10.2307/2347330.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return (
            q
            * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)
            / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
        )
    r = np.sqrt(-np.log(p if q < 0 else 1.0 - p))
    if r <= 5.0:
        r -= 1.6
        value = (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) / (
            (0.12021132975 * r + 0.73700164250) * r + 1.0
        )
    else:
        r -= 5.0
        value = (((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150) / (
            (0.012258202635 * r + 0.24197894225) * r + 1.0
        )
    return float(-value if q < 0 else value)


@compiled
def _draw(words: NDArray[np.uint64], normals: NDArray[np.float64]) -> None:
    """Draw the next normals of the particle."""
    first = words[0]
    for block in range(_AHEAD // 4):
        drawn = philox(first + np.uint64(block), words[1], words[2], words[3], words[4], words[5])
        normals[4 * block] = normal_quantile(_uniform(drawn[0]))
        normals[4 * block + 1] = normal_quantile(_uniform(drawn[1]))
        normals[4 * block + 2] = normal_quantile(_uniform(drawn[2]))
        normals[4 * block + 3] = normal_quantile(_uniform(drawn[3]))
    words[0] = first + np.uint64(_AHEAD // 4)


@compiled
def next_normal(words: NDArray[np.uint64], normals: NDArray[np.float64]) -> float:
    """Return the particle's next random number: mean 0, variance 1."""
    if words[6] == _AHEAD:
        _draw(words, normals)
        words[6] = 0
    value = normals[np.int64(words[6])]
    words[6] += np.uint64(1)
    return float(value)


@compiled
def next_uniform(words: NDArray[np.uint64]) -> float:
    """Return a random number between 0 and 1, made of a block of its own."""
    word, _, _, _ = philox(words[0], words[1], words[2], words[3], words[4], words[5])
    words[0] += np.uint64(1)
    return float(_uniform(word))
