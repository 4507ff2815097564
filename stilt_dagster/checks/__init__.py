"""Checks: what must hold of a scene's products, and what a person should look at; one module an asset.

Those of an asset are one step, which reads what they need once. They have no partitions: Dagster looks up the partition
of every verdict of a check, one by one, whenever a page shows the asset. A verdict names its scene.
"""

from stilt_dagster.checks.footprints import footprints_hold_all_influence
from stilt_dagster.checks.jacobian import jacobian_is_right
from stilt_dagster.checks.meteorology_aggregate import meteorology_is_complete
from stilt_dagster.checks.receptors import receptors_are_valid
from stilt_dagster.checks.trajectories import trajectories_are_complete

CHECKS = (
    receptors_are_valid,
    meteorology_is_complete,
    trajectories_are_complete,
    footprints_hold_all_influence,
    jacobian_is_right,
)
