"""Read files of footprints with OpenGHG and openghg_inversions, in an environment that has them.

``python read_with_openghg.py DIRECTORY`` prints as JSON, of each species' folder, mol mol-1: the sum of ``fp_x_flux``,
what the boundary adds where its mole fraction is 1 everywhere, and, as an inversion is prepared, the observations and
the sum of ``H`` over regions, one a cell.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from openghg.dataobjects import ObsData
from openghg.retrieve import get_bc
from openghg.standardise import standardise_bc, standardise_flux, standardise_footprint
from openghg.util import create_config
from openghg_inversions.basis.basis_functions import BasisFunctions
from openghg_inversions.inversion_data import prepare_rhime_inputs_from_xarray
from openghg_inversions.inversion_data.getters import get_flux_data, get_footprint_data
from openghg_inversions.inversion_data.scenario import merged_scenario_data

#: Mole fraction along the boundary; another for each species, since OpenGHG knows files by their content.
BOUNDARY = {"ch4": 1.0, "co2": 2.0}


def read(folder: Path) -> dict[str, list[float]]:
    species = folder.name
    transported = "co2" if species == "co2" else "inert"
    given = np.load(folder / "flux.npz")
    axes = {"lat": given["lat"], "lon": given["lon"]}
    flux = xr.Dataset(
        {"flux": (("time", "lat", "lon"), given["flux"], {"units": "mol/m2/s"})}, {"time": given["time"], **axes}
    )
    flux.to_netcdf(folder / "flux.nc")
    sides = {
        f"vmr_{s}": (
            ("time", "height", "lon" if s in "ns" else "lat"),
            np.full((1, len(given["height"]), len(axes["lon" if s in "ns" else "lat"])), BOUNDARY[species]),
            {"units": "mol/mol"},
        )
        for s in "nesw"
    }
    start = np.array(["2023-01-01"], "datetime64[ns]")
    boundary = xr.Dataset(sides, {"time": start, "height": ("height", given["height"], {"units": "m"}), **axes})
    boundary.to_netcdf(folder / "boundary.nc")
    standardise_footprint(
        folder / "footprints.nc",
        model="STILT",
        domain="TEST",
        satellite="TROPOMI",
        obs_region="UTAH",
        inlet="column",
        species=transported,
        source_format="paris",
        continuous=False,
        time_resolved=species == "co2",
        store="user",
    )
    standardise_flux(folder / "flux.nc", species=species, source="all", domain="TEST", store="user")
    standardise_bc(
        folder / "boundary.nc", species=species, bc_input="one", domain="TEST", period="yearly", store="user"
    )
    period = {"start_date": "2023-07-01", "end_date": "2023-08-01"}
    footprints = get_footprint_data(
        domain="TEST",
        model="STILT",
        met_model=None,
        fp_species=transported,
        fp_height="column",
        site="TROPOMI-UTAH",
        platform="satellite",
        stores="user",
        **period,
    )
    observations = ObsData(
        data=xr.open_dataset(folder / "observations.nc"),
        metadata={"site": "TROPOMI-UTAH", "species": species, "platform": "satellite"},
    )
    merged = merged_scenario_data(
        observations,
        footprints,
        get_flux_data(["all"], species, "TEST", store="user", **period),
        get_bc(species=species, domain="TEST", bc_input="one", store="user"),
        platform="satellite",
        max_level=17,
    )
    basis = xr.DataArray(
        np.arange(1, flux["flux"][0].size + 1).reshape(flux["flux"].shape[1:]), dims=("lat", "lon"), coords=axes
    )
    site = xr.open_dataset(folder / "observations.nc")
    site["fp_x_flux"] = merged["fp_x_flux"].assign_attrs(units="mol/mol")
    prepared = prepare_rhime_inputs_from_xarray(
        {"UTAH": site},
        basis_functions=BasisFunctions.from_flat_basis(
            basis, flux["flux"][0].drop_vars("time"), operator_kwargs={"state_dim": "region"}
        ),
    )
    return {
        "prepared": prepared.inv_inputs["H"].sum("region").values.tolist(),
        "observed": prepared.inv_inputs["mf"].values.tolist(),
        "enhancement": merged["fp_x_flux"].sum(["lat", "lon"]).values.tolist(),
        "boundary": (merged["bc_mod"] / BOUNDARY[species]).values.tolist(),
    }


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    create_config(silent=True)
    print(json.dumps({name: read(Path(sys.argv[1]) / name) for name in BOUNDARY}))
