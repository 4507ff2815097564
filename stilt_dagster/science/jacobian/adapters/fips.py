"""For fips, the Flexible Inverse Problem Solver: the matrix as its forward operator.

fips (https://pypi.org/project/fips, 0.1.0b9) keeps a matrix as a pandas table with an index of observations and one of
the state, and aligns by labels what it multiplies.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stilt_dagster.science.errors import JacobianError
from stilt_dagster.science.jacobian.adapters.operator import Operator, require_finished
from stilt_dagster.science.scratch import whole, writing

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of a table without gaps above which none is made.
_MOST_BYTES = 8 * 2**30


def forward_operator(
    operator: Operator, *, observations: str = "concentration", state: str = "flux", sparse: bool = False
) -> Any:
    """Return a matrix as fips takes it.

    Parameters
    ----------
    operator : Operator
        Without failed rows.
    observations, state : str
        Names of fips' blocks; the defaults are those of ``fips.problems.flux.FluxProblem``.
    sparse : bool
        Keep the table in pandas' sparse columns: less memory where the matrix has few entries, and ten times slower to
        put together, since pandas treats each column by itself.

    Returns
    -------
    fips.ForwardOperator
        ppm (umol m-2 s-1)-1. Rows have the levels ``obs_location`` (the observation's id) and ``obs_time``, columns
        ``time`` (the start of the step of flux, UTC) and ``lat``, ``lon`` (``y``, ``x``; ``region``): multiplied with
        fluxes of umol m-2 s-1 it gives enhancements of ppm.

    Raises
    ------
    JacobianError
        If observations failed, the table would not fit memory, or fips is not installed.
    """
    try:
        import fips
    except ModuleNotFoundError:
        raise JacobianError("fips is not installed: pip install 'stilt_dagster[inversions]'") from None
    import pandas as pd
    import scipy.sparse

    require_finished(operator, "fips")
    rows, columns = operator.shape
    if not sparse and rows * columns * 8 > _MOST_BYTES:
        raise JacobianError(
            f"a table of {rows} by {columns} numbers takes {rows * columns * 8 / 2**30:.0f} GiB: coarsen the matrix "
            "first, or use sparse=True"
        )
    index = pd.MultiIndex.from_arrays(
        [operator.obs.index.to_numpy(), pd.DatetimeIndex(np.asarray(operator.obs["time"], "datetime64[ns]"))],
        names=["obs_location", "obs_time"],
    )
    if sparse:
        matrix = scipy.sparse.vstack([block for _, block in operator.iter_blocks()], format="csr")
        frame_of: Any = pd.DataFrame.sparse  # pandas-stubs know the class of its accessor only
        table = frame_of.from_spmatrix(matrix.astype(np.float64), index=index, columns=state_index(operator))
    else:
        values = np.zeros((rows, columns))
        for place, block in operator.iter_blocks():
            values[place] = block.toarray()
        table = pd.DataFrame(values, index=index, columns=state_index(operator), copy=False)
    return fips.ForwardOperator(fips.MatrixBlock(table, row_block=observations, col_block=state))


def write_operator(operator: Operator, path: Path) -> Path:
    """Write a matrix as the pickle that ``fips.ForwardOperator.from_file`` reads.

    Parameters
    ----------
    operator : Operator
        Without failed rows.
    path : Path
        The file, which fips wants to end in ``.pkl`` or ``.pickle``.

    Returns
    -------
    Path
        *path*.

    Raises
    ------
    JacobianError
        As :func:`forward_operator`, or of another ending.
    """
    if path.suffix not in (".pkl", ".pickle"):
        raise JacobianError(f"{path.name} must end in .pkl or .pickle: fips reads no others")
    made = forward_operator(operator)
    with writing(path), whole(path) as part:
        part.write_bytes(pickle.dumps(made))
    return path


def state_index(operator: Operator) -> pd.MultiIndex:
    """Return the labels of a matrix's columns, in its order."""
    import pandas as pd

    time = pd.DatetimeIndex(np.asarray(operator.flux_time_bounds, "datetime64[ns]")[:, 0])
    return pd.MultiIndex.from_product(
        [time, *operator.cells.coordinates.values()], names=["time", *operator.cells.dims]
    )
