"""Checks: what must hold of a scene's products, and what a person should look at; one module an asset."""

from stilt_dagster.checks.jacobian import every_receptor_succeeded, jacobian_is_valid
from stilt_dagster.checks.receptors import receptors_are_valid

CHECKS = (receptors_are_valid, every_receptor_succeeded, jacobian_is_valid)
