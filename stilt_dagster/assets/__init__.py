"""The assets of a scene, one module each: inputs, science, output, metadata."""

from stilt_dagster.assets.background import background
from stilt_dagster.assets.footprints import footprints
from stilt_dagster.assets.jacobian import jacobian
from stilt_dagster.assets.meteorology_aggregate import meteorology_aggregate
from stilt_dagster.assets.receptors import receptors
from stilt_dagster.assets.report import report
from stilt_dagster.assets.trajectories import trajectories

ASSETS = (receptors, meteorology_aggregate, trajectories, footprints, background, jacobian, report)

__all__ = [
    "ASSETS",
    "background",
    "footprints",
    "jacobian",
    "meteorology_aggregate",
    "receptors",
    "report",
    "trajectories",
]
