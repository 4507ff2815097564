"""Jacobians of finished scenes as files of inversion codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.operations.products.export import jacobian_files
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.files.hdf5_checks import find_hostile_part
from stilt_dagster.science.jacobian.adapters.codes import Code

if TYPE_CHECKING:
    import xarray as xr

    from stilt_dagster.science.jacobian.matrix.jacobian import Jacobian


#: Options that one code alone has.
_OPTIONS_OF = {
    "time_resolved": Code.OPENGHG,
    "prior": Code.IMI,
    "state_vector": Code.IMI,
    "background": Code.IMI,
}


@dataclass(frozen=True)
class Options:
    """What is taken of the matrix, and what some codes ask for beside it.

    Parameters
    ----------
    without_failed : bool
        Leave out observations that failed.
    coarsen : int
        Cells of the grid that make one, along each axis.
    time_resolved : bool
        Of OpenGHG, hours back.
    prior, state_vector : Path, optional
        Of the IMI, NetCDF files of the prior flux, umol m-2 s-1, and of ``StateVector``.
    background : float, optional
        Of the IMI, ppm, where the scenes have none.
    """

    without_failed: bool = False
    coarsen: int = 1
    time_resolved: bool = False
    prior: Path | None = None
    state_vector: Path | None = None
    background: float | None = None


def convert_scenes(store: Store, scenes: Sequence[str], code: Code, output: Path, options: Options) -> list[Path]:
    """Write the rows of several scenes as an inversion code reads them.

    Parameters
    ----------
    store : Store
        Where their jacobians are.
    scenes : sequence of str
        The scenes, in the order their rows come in.
    code : Code
        The inversion code.
    output : Path
        Of fips a file, else a directory.
    options : Options
        What else is asked for.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    IncompleteError
        Naming the scene whose jacobian is not there.
    JacobianError
        If they cannot stand in one matrix, or the code does not take it.
    """
    from stilt_dagster.operations.products.jacobians import open_jacobian

    _require_options_of(code, options)
    matrix = open_jacobian(jacobian_files(store, scenes))
    if options.without_failed:
        matrix = matrix.without_failed()
    if options.coarsen != 1:
        matrix = matrix.coarsen(factor=options.coarsen)
    if code is Code.FIPS:
        from stilt_dagster.science.jacobian.adapters.fips import write_operator

        return [write_operator(matrix, output)]
    if code is Code.IMI:
        return list(_to_imi(matrix, output, options).values())
    if code is Code.OPENGHG:
        return list(matrix.to_openghg(output, time_resolved=options.time_resolved).values())
    return list(matrix.to_pystilt(output).values())


def _require_options_of(code: Code, options: Options) -> None:
    """Refuse what only another code asks for: who names it expects it to be used.

    Raises
    ------
    JacobianError
        Naming the option, and the code it is of.
    """
    for name, owner in _OPTIONS_OF.items():
        value = getattr(options, name)
        if value is not None and value is not False and code is not owner:
            raise JacobianError(f"--{name.replace('_', '-')} is of {owner}, and {code} has no use for it: leave it out")


def _to_imi(matrix: Jacobian, output: Path, options: Options) -> dict[str, Path]:
    if options.prior is None or options.state_vector is None:
        raise JacobianError(
            "the IMI's files hold influences of its state vector's elements: name --prior and --state-vector"
        )
    return matrix.to_imi(
        output,
        prior=_read_variable(options.prior, "flux"),
        state_vector=_read_variable(options.state_vector, "StateVector"),
        background=options.background,
    )


def _read_variable(path: Path, name: str) -> xr.DataArray:
    """Read a variable of a NetCDF of the user.

    Raises
    ------
    JacobianError
        Naming the file, if it cannot be read or has no such variable.
    """
    import xarray as xr

    try:
        if hostile := find_hostile_part(path):
            raise JacobianError(f"{path} is not read: {hostile}")
        with xr.open_dataset(path) as file:
            if name not in file:
                raise JacobianError(f"{path} has no variable {name}; it has {', '.join(map(str, file.data_vars))}")
            return file[name].load()
    except (OSError, ValueError, RuntimeError) as error:
        raise JacobianError(f"{path} cannot be read: {error}") from error
