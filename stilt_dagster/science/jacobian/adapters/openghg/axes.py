"""What files of OpenGHG have in common: times, and where observations are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5netcdf
import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd


def unique_times(times: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the order of rows by time, and their times in it, each a millisecond after the one before at least.

    Parameters
    ----------
    times : array_like of datetime64, shape (rows,)
        UTC.

    Returns
    -------
    order : ndarray of int, shape (rows,)
        Rows of one time keep their order.
    stamps : ndarray of int64, shape (rows,)
        Milliseconds since 1970, of the rows in that order.
    """
    milliseconds = np.asarray(times, "datetime64[ms]").astype(np.int64)
    order = np.argsort(milliseconds, kind="stable")
    place = np.arange(len(order))
    return order, np.maximum.accumulate(milliseconds[order] - place) + place


def write_axis(file: h5netcdf.File, obs: pd.DataFrame, stamps: NDArray[np.int64]) -> None:
    """Write the times of observations and where they are, both in the order of *stamps*."""
    file.dimensions["time"] = len(stamps)
    time = file.create_variable("time", ("time",), "i8", data=stamps)
    time.attrs.update(
        {
            "units": "milliseconds since 1970-01-01 00:00:00",
            "calendar": "proleptic_gregorian",
            "standard_name": "time",
        }
    )
    for name, column, units in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
        release = file.create_variable(f"release_{name}", ("time",), "f8", data=obs[column].to_numpy(np.float64))
        release.attrs.update({"long_name": f"{column} of the observation", "units": units})
