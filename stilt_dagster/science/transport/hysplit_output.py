"""HYSPLIT's ``PARTICLE_STILT.DAT``: text, parsed by a compiled loop to the doubles nearest to what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.compiled.kernel import kernel
from stilt_dagster.science.errors import Reason, SimulationFailed
from stilt_dagster.science.transport.particles import COLUMN_NAMES, Particles


@kernel()
def _parse(text: NDArray[np.uint8], n_columns: int) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Parse white-space separated numbers, skipping the first line.

    Returns the values (columns, rows), the most decimals printed in each column (-1 where one was printed with an
    exponent), and the 1-based line of the first bad row, or 0. A decimal is its digits as an integer divided by a
    power of ten, both exact in binary up to 2^53 and 10^22, so each value is the double nearest to what is printed.
    """
    n_rows = 0
    for byte in text:
        n_rows += byte == 10
    values = np.empty((n_columns, n_rows))
    decimals = np.zeros(n_columns, np.int64)
    i, n = 0, len(text)
    while i < n and text[i] != 10:
        i += 1
    i += 1
    row, line = 0, 2
    while i < n:
        column = 0
        while i < n and text[i] != 10:
            if text[i] == 32 or text[i] == 9 or text[i] == 13:
                i += 1
                continue
            start = i
            negative = text[i] == 45
            if text[i] == 45 or text[i] == 43:
                i += 1
            mantissa, scale, exponent, digits, point = np.int64(0), 0, 0, 0, False
            while i < n and (48 <= text[i] <= 57 or (text[i] == 46 and not point)):
                if text[i] == 46:
                    point = True
                else:
                    if mantissa < 100_000_000_000_000_000:
                        mantissa = mantissa * 10 + (text[i] - 48)
                        scale += point
                    else:
                        exponent += not point
                    digits += 1
                i += 1
            printed = scale
            if digits and i < n and (text[i] == 69 or text[i] == 101 or text[i] == 68 or text[i] == 100):
                i += 1
                down = i < n and text[i] == 45
                if i < n and (text[i] == 45 or text[i] == 43):
                    i += 1
                power = 0
                while i < n and 48 <= text[i] <= 57:
                    power = power * 10 + (text[i] - 48)
                    i += 1
                exponent += -power if down else power
                printed = -1
            if column >= n_columns:
                return values, decimals, line
            if digits and (i == n or text[i] == 32 or text[i] == 10 or text[i] == 13 or text[i] == 9):
                net = exponent - scale
                value = float(mantissa)
                if net < -300:
                    value = 0.0
                elif net < 0:
                    value /= 10.0 ** (-net)
                elif net > 0:
                    value *= 10.0**net
                values[column, row] = -value if negative else value
                if printed < 0 or decimals[column] < 0:
                    decimals[column] = -1
                elif printed > decimals[column]:
                    decimals[column] = printed
            else:
                # Fortran prints stars where a number does not fit its field, and NaN or Infinity by name.
                first = text[start + 1] if negative and start + 1 < n else text[start]
                if not (first == 42 or first == 78 or first == 110 or first == 73 or first == 105):
                    return values, decimals, line
                while i < n and text[i] != 32 and text[i] != 10 and text[i] != 9:
                    i += 1
                values[column, row] = np.nan
            column += 1
        i += 1
        if column:
            if column != n_columns:
                return values, decimals, line
            row += 1
        line += 1
    return values[:, :row], decimals, 0


@kernel()
def _by_particle(
    values: NDArray[np.float64], particle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Sort rows by particle, keeping their order otherwise (HYSPLIT writes minute by minute)."""
    n_columns, n_rows = values.shape
    last = int(particle.max())
    start = np.zeros(last + 2, np.int64)
    for p in particle:
        start[int(p) + 1] += 1
    for k in range(1, last + 2):
        start[k] += start[k - 1]
    out = np.empty_like(values)
    number = np.empty(n_rows, np.int32)
    for row in range(n_rows):
        p = int(particle[row])
        to = start[p]
        start[p] = to + 1
        number[to] = p
        for column in range(n_columns):
            out[column, to] = values[column, row]
    return out, number


def parse_particle_dat(path: Path, varsiwant: Sequence[str]) -> Particles:
    """Read HYSPLIT's ``PARTICLE_STILT.DAT``.

    Parameters
    ----------
    path : Path
        The file.
    varsiwant : sequence of str
        Its columns, the ``varsiwant`` of the run, in order.

    Returns
    -------
    Particles
        Sorted by particle; values are the doubles nearest to the printed decimals.

    Raises
    ------
    SimulationFailed
        ``NO_PARTICLE_DATA`` for a missing or empty file, ``HYSPLIT_ERROR`` for a row that cannot be read.
    """
    if not path.exists():
        raise SimulationFailed(Reason.NO_PARTICLE_DATA, "HYSPLIT wrote no particle file")
    values, decimals, bad_line = _parse(np.fromfile(path, np.uint8), len(varsiwant))
    if bad_line:
        raise SimulationFailed(
            Reason.HYSPLIT_ERROR, f"line {bad_line} of {path.name} does not hold the {len(varsiwant)} varsiwant columns"
        )
    if not values.shape[1]:
        raise SimulationFailed(Reason.NO_PARTICLE_DATA, "HYSPLIT wrote no particles")
    names = [COLUMN_NAMES.get(name, name) for name in varsiwant]
    particle = values[names.index("particle")]
    if not np.all(particle >= 1) or particle.max() > 10_000_000:
        raise SimulationFailed(Reason.HYSPLIT_ERROR, f"{path.name} has a particle without a number")
    ordered, number = _by_particle(values, particle)
    columns: dict[str, NDArray[Any]] = dict(zip(names, ordered, strict=True))
    columns["particle"] = number
    if np.array_equal(columns["age"], np.rint(columns["age"])):
        columns["age"] = columns["age"].astype(np.int32)
    return Particles(columns, {n: int(d) for n, d in zip(names, decimals, strict=True) if n not in ("particle", "age")})
