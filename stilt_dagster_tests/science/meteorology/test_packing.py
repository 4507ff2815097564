"""Fields cut to a window are the source's own values, whatever the field and the window."""

from __future__ import annotations

from dataclasses import replace

import arlmet
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stilt_dagster.science.meteorology.arl.index import RECORD_HEADER
from stilt_dagster.science.meteorology.arl.packing import Field, cut, repack, values

HEADER = arlmet.Header(
    year=2023, month=7, day=15, hour=6, forecast=0, level=1, grid=(0, 0), variable="UWND", exponent=0, precision=0.0,
    initial_value=0.0,
)  # fmt: skip


def packed(field: NDArray[np.float32], name: str = "UWND") -> Field:
    """Return a field as a record that was read."""
    data, precision, exponent, first = arlmet.pack(field)
    header = replace(HEADER, variable=name, precision=precision, exponent=exponent, initial_value=first)
    return Field.of(header.tobytes() + data.tobytes(), field.shape[1])


def rough(seed: int, ny: int, nx: int, scale: float, base: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(nx) / 5)[None, :] * np.cos(np.arange(ny) / 7)[:, None]
    return np.asarray(base + scale * (waves + 0.3 * rng.standard_normal((ny, nx))), np.float32)


FIELDS = st.builds(
    rough,
    st.integers(0, 10_000),
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from([1e-6, 0.01, 1.0, 15.0, 2e4]),
    st.sampled_from([0.0, -3.0, 281.0, 101_325.0]),
)


def windows(field: NDArray[np.float32], x: tuple[float, float], y: tuple[float, float]) -> tuple[int, int, int, int]:
    ny, nx = field.shape
    (a, b), (c, d) = sorted(x), sorted(y)
    return int(a * (nx - 2)), int(b * (nx - 2)) + 2, int(c * (ny - 2)), int(d * (ny - 2)) + 2


SHARE = st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=300, deadline=None)
@given(FIELDS, SHARE, SHARE)
def test_a_window_has_the_fields_own_values(
    field: NDArray[np.float32], x: tuple[float, float], y: tuple[float, float]
) -> None:
    source, window = packed(field), windows(field, x, y)
    made = cut(source, window)
    wanted = values(source, window)
    if made is None:  # rows differ by more than a byte holds: packed anew, to the new step
        (made,) = repack([source], window)
        tolerance = made.step
    else:
        assert made.step == source.step
        # Seven digits of the first value, and single precision of the sums.
        tolerance = 1e-6 * float(np.abs(wanted).max()) + float(source.header.precision)
    again = Field.of(made.tobytes(), wanted.shape[1])
    np.testing.assert_allclose(values(again, (0, wanted.shape[1], 0, wanted.shape[0])), wanted, rtol=0, atol=tolerance)
    assert len(made.tobytes()) == RECORD_HEADER + wanted.size
    assert again.checksum == made.checksum == arlmet.calculate_checksum(made.data.tobytes())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 35), st.integers(2, 36))
def test_a_window_may_cross_the_seam_of_a_global_grid(seed: int, first: int, width: int) -> None:
    field = rough(seed, 12, 36, 10.0, 0.0)
    source = packed(field)
    window = (first, first + width, 3, 9)
    made = cut(source, window)
    if made is None:
        (made,) = repack([source], window)
    turned = np.concatenate([values(source, (0, 36, 3, 9))] * 2, axis=1)[:, first : first + width]
    np.testing.assert_allclose(values(made, (0, width, 0, 6)), turned, rtol=0, atol=made.step)


def test_rows_north_of_the_window_are_not_needed() -> None:
    source = packed(rough(1, 30, 20, 10.0, 5.0))
    southern = Field.of(source.tobytes()[: RECORD_HEADER + 12 * 20], 20)
    whole, part = cut(source, (4, 15, 5, 12)), cut(southern, (4, 15, 5, 12))
    assert whole is not None
    assert part is not None
    assert whole.tobytes() == part.tobytes()


def test_a_step_between_rows_that_no_byte_holds_is_packed_anew_with_its_difference() -> None:
    """Rows that drift apart to the east: along each the steps are small, between them large."""
    field = np.asarray(np.arange(20) * np.where(np.arange(20) % 2, -1.0, 1.0)[:, None], np.float32)
    source, window = packed(field), (12, 20, 0, 20)
    assert cut(source, window) is None
    left = packed(field - values(source, (0, 20, 0, 20)), "DIFU")
    made = repack([source, left], window)
    assert [m.header.variable for m in made] == ["UWND", "DIFU"]
    total = np.sum([values(m, (0, 8, 0, 20)) for m in made], axis=0)
    np.testing.assert_allclose(total, field[:, 12:], atol=0.005)


def test_a_record_that_holds_nothing_stays_one() -> None:
    header = replace(HEADER, forecast=-1)
    source = Field.of(header.tobytes() + b" " * 99 + b"\r", 10)
    made = cut(source, (2, 7, 1, 6))
    assert made is not None
    assert made.is_missing
    assert made.checksum == 0
    assert np.isnan(values(made, (0, 5, 0, 5))).all()


@pytest.mark.parametrize("text", [b"", b"x" * 50, HEADER.tobytes()[:20]])
def test_text_that_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises((arlmet.ARLFormatError, ValueError)):
        Field.of(text, 1)
