"""Run the STILT atmospheric transport model for whole satellite scenes, as Dagster assets.

For notebooks: :func:`open_jacobian`, :func:`open_footprints` and :func:`read_particles` read what scenes leave in the
store, :func:`concat_jacobians` joins matrices. Everything they read, plain xarray, scipy and pandas read too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

#: The only place that has it.
__version__ = "0.2.0"

__all__ = ["__version__", "concat_jacobians", "open_footprints", "open_jacobian", "read_particles"]

if TYPE_CHECKING:
    from stilt_dagster.operations.products.jacobians import open_jacobian
    from stilt_dagster.science.footprints.opening import open_footprints
    from stilt_dagster.science.jacobian.matrix.joining import concat_jacobians
    from stilt_dagster.science.transport.particle_files import read_particles

#: Where each public name is; imported when it is first used, since the command line needs none of them.
_WHERE = {
    "concat_jacobians": "stilt_dagster.science.jacobian.matrix.joining",
    "open_footprints": "stilt_dagster.science.footprints.opening",
    "open_jacobian": "stilt_dagster.operations.products.jacobians",
    "read_particles": "stilt_dagster.science.transport.particle_files",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
