"""What every file of the store holds: its columns or variables, their types, units and meaning, in one place.

The UI shows it as column schemas, the documentation as tables; tests hold the files to it.
"""

from stilt_dagster.science.formats.netcdf import FOOTPRINTS, JACOBIAN
from stilt_dagster.science.formats.tables import BACKGROUND, PARTICLES, RECEPTORS
from stilt_dagster.science.formats.variable import Variable

#: Every format by the asset whose files have it.
FORMATS: dict[str, tuple[Variable, ...]] = {
    "receptors": RECEPTORS,
    "trajectories": PARTICLES,
    "footprints": FOOTPRINTS,
    "background": BACKGROUND,
    "jacobian": JACOBIAN,
}

__all__ = ["BACKGROUND", "FOOTPRINTS", "FORMATS", "JACOBIAN", "PARTICLES", "RECEPTORS", "Variable"]
