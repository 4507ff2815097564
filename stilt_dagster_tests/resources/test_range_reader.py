"""An object as a file: what is read is what it holds, however it was fetched."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.resources.object_folders import RangeReader

DATA = np.random.default_rng(0).bytes(1_500_000)


@given(
    st.integers(0, len(DATA)),
    st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, 600_000)), max_size=3),
    st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, 600_000)), max_size=5),
)
def test_ranges_are_those_of_the_object(size: int, filled: list[tuple[int, int]], read: list[tuple[int, int]]) -> None:
    data = DATA[:size]

    def fetch(start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= size
        return data[start:stop]

    reader = RangeReader(size, fetch)
    for start, length in filled:
        reader.fill(start, start + length)
    for start, length in read:
        reader.seek(start)
        assert reader.read(length) == data[start : start + length]


def test_what_was_filled_is_not_fetched_again() -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return DATA[start:stop]

    reader = RangeReader(len(DATA), fetch)
    reader.fill(0, 500_000)
    reader.fill(len(DATA) - 1, len(DATA))
    assert len(asked) == 2
    for start in (0, 250_000, 499_000, len(DATA) - 1000):
        reader.seek(start)
        assert reader.read(1000) == DATA[start : start + 1000]
    assert len(asked) == 2
