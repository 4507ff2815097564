"""Footprints and observations, side by side."""

from __future__ import annotations

from pathlib import Path

import h5netcdf
import numpy as np

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.openghg.axes import unique_times, write_axis
from stilt_dagster.science.jacobian.adapters.openghg.boundary import Curtains
from stilt_dagster.science.jacobian.adapters.openghg.footprints import write_footprints
from stilt_dagster.science.jacobian.adapters.operator import Operator, require_finished
from stilt_dagster.science.scratch import whole, writing


def write_files(
    operator: Operator, directory: Path, *, time_resolved: bool = False, curtains: Curtains | None = None
) -> dict[str, Path]:
    """Write ``footprints.nc`` and, of a retrieval, ``observations.nc``, at the same times.

    Returns
    -------
    dict of str to Path
        Both files, by what they hold.
    """
    files = {
        "footprints": write_footprints(
            operator, directory / "footprints.nc", time_resolved=time_resolved, curtains=curtains
        )
    }
    if "value" in operator.obs:
        files["observations"] = write_observations(operator, directory / "observations.nc", time_resolved=time_resolved)
    return files


def write_observations(operator: Operator, path: Path, *, time_resolved: bool = False) -> Path:
    """Write observations at the times of the footprints, as openghg_inversions' xarray input names them.

    ``mf`` is the retrieved value less what the retrieval's prior adds, which is what flux and background make.

    Parameters
    ----------
    operator : Operator
        Of a retrieval, without failed rows.
    path : Path
        The NetCDF to write, all at once.
    time_resolved : bool
        The footprints are: their times are the starts of hours.

    Returns
    -------
    Path
        *path*.

    Raises
    ------
    JacobianError
        If observations failed or have no value.
    """
    require_finished(operator, "OpenGHG")
    obs = operator.obs
    if "value" not in obs:
        raise JacobianError("observations have no retrieved value: use scenes of a retrieval")
    times = np.asarray(obs["time"], "datetime64[ms]")
    order, stamps = unique_times(times.astype("datetime64[h]") if time_resolved else times)
    error = obs["uncertainty"].to_numpy(np.float64)
    rows = {
        "mf": (
            (obs["value"] - obs["prior_term"]).to_numpy(np.float64),
            "observed, less what the retrieval's prior adds",
        ),
        "mf_error": (error, "one standard deviation"),
        "mf_repeatability": (error, "one standard deviation of the retrieval"),
        "mf_variability": (np.zeros(len(obs)), "no spread within an observation is known"),
    }
    with writing(path), whole(path) as part, h5netcdf.File(part, "w") as file:
        write_axis(file, obs.iloc[order], stamps)
        for name, (values, long_name) in rows.items():
            variable = file.create_variable(name, ("time",), "f8", data=values[order] * 1e-6)
            variable.attrs.update({"long_name": long_name, "units": "mol/mol"})
        file.attrs.update({"Conventions": "CF-1.9", "title": "observations of the footprints beside it"})
    return path
