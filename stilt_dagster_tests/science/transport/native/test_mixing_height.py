"""Mixing heights of the native engine against those that hycs_std prints, for each source that they may come from."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stilt_dagster.science.meteorology import arl
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.meteorology.fields import Fields, read_fields
from stilt_dagster.science.transport.native.meteorology.mixing_height import (
    least_heights,
    mixing_heights,
    scale_factors,
)
from stilt_dagster_tests.science.transport.native.weather import Weather

Floats = NDArray[np.float64]

NIGHT, DAY = (dt.datetime(2023, 7, 15, *at, tzinfo=dt.UTC) for at in ((10, 0), (21, 30)))
PLACES = 250

#: When, and what is set otherwise than by default: at night the default's heights are hardly ever over its 150 m.
CASES: dict[str, tuple[dt.datetime, dict[str, Any]]] = {
    "the meteorology's own": (DAY, {"kmixd": 0}),
    "temperature by night": (NIGHT, {"kmixd": 1}),
    "temperature by day": (DAY, {"kmixd": 1}),
    "kinetic energy by night": (NIGHT, {"kmixd": 2, "kmix0": 10}),
    "kinetic energy by day": (DAY, {"kmixd": 2, "kmix0": 10}),
    "Richardson number by night": (NIGHT, {"kmixd": 3, "kmix0": 10}),
    "Richardson number by day": (DAY, {"kmixd": 3}),
    "a constant, scaled": (DAY, {"kmixd": 700, "ziscale": [0.5, 2.0, 0.2]}),
    "scaled, then the meteorology's own": (DAY, {"ziscale": [1.5, -1.0]}),
    "the meteorology's own by one factor": (DAY, {"ziscale": [-1.0]}),
}


@pytest.fixture(scope="module")
def mountains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Weather("sigma", relief=1500.0).write(tmp_path_factory.mktemp("mixing") / "met")


@pytest.fixture(scope="module")
def fields(mountains: Path) -> Fields:
    return read_fields(mountains, TransportSettings().z_top)


def printed(met: Path, time: dt.datetime, settings: dict[str, Any]) -> tuple[Floats, Floats, Floats]:
    """Return where particles are at the beginning and at the end of each minute, and the heights of their minutes.

    Returns
    -------
    lon, lat : ndarray, shape (particles, minutes + 1)
    heights : ndarray, shape (particles, minutes)
    """
    rng = np.random.default_rng(1)
    start = np.round([rng.uniform(-113.0, -111.0, PLACES), rng.uniform(39.8, 41.6, PLACES)], 4)
    names = ["time", "indx", "long", "lati", "zagl", "foot", "mlht"]
    fixed = {"n_hours": -1, "numpar": PLACES, "nturb": 1, "hnf_plume": False, "varsiwant": names}
    receptor = Receptor(time, *(tuple(values.tolist()) for values in start), (40.0,) * PLACES)
    rows = Hysplit().run(receptor, TransportSettings(**fixed, **settings), met).columns
    order = np.lexsort((-rows["age"], rows["particle"]))
    lon, lat, heights = (rows[name][order].reshape(PLACES, -1) for name in ("lon", "lat", "mlht"))
    return np.column_stack([start[0], lon]), np.column_stack([start[1], lat]), heights


def native(fields: Fields, settings: TransportSettings, release: float) -> NDArray[np.float32]:
    """Return the heights of all grid points and hours."""
    heights = mixing_heights(fields, settings.kmixd)
    factors = scale_factors(fields.times, release, np.atleast_1d(settings.ziscale).astype(float))[:, None, None]
    return np.maximum(np.where(factors < 0, fields.pblh, heights * factors), least_heights(fields, settings.kmix0))


@pytest.mark.parametrize("case", CASES)
def test_heights_are_those_that_hycs_std_prints(case: str, mountains: Path, fields: Fields) -> None:
    time, settings = CASES[case]
    lon, lat, theirs = printed(mountains, time, settings)
    release = time.timestamp() / 60
    height = native(fields, TransportSettings(**settings), release)
    header = arl.read_header(mountains)
    x, y = header.grid.fractional_indices(lon, lat)
    i, j = np.rint(x).astype(int), np.rint(y).astype(int)
    hours = np.array([t.timestamp() / 60 for t in header.times])
    at = np.interp(release - np.arange(lon.shape[1]), hours, np.arange(len(hours)))
    before, share = np.minimum(at.astype(int), len(hours) - 2), at - np.minimum(at.astype(int), len(hours) - 2)
    there = height[before, j, i] * (1 - share) + height[before + 1, j, i] * share
    errors = np.abs(0.5 * (there[:, 1:] + there[:, :-1]) / theirs - 1)
    # Printed places are rounded: some are nearest to another grid point than the particle was.
    assert np.quantile(errors, 0.5) < 5e-4
    assert np.quantile(errors, 0.97) < 5e-3
    assert len(np.unique(theirs)) > 20
