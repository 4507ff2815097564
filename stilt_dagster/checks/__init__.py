"""Checks: what must hold of a scene's products, and what a person should look at; one module an asset."""

from stilt_dagster.checks.jacobian import every_receptor_succeeded, jacobian_is_valid
from stilt_dagster.checks.receptors import receptors_are_valid
from stilt_dagster.checks.trajectories import particles_stay_in_meteorology

CHECKS = (receptors_are_valid, particles_stay_in_meteorology, every_receptor_succeeded, jacobian_is_valid)
