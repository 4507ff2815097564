"""How each asset's value becomes files of the store, and comes back: one module a format."""

from stilt_dagster.io_managers.arl import Aggregate, ArlIOManager
from stilt_dagster.io_managers.background_parquet import BackgroundIOManager
from stilt_dagster.io_managers.footprint_netcdf import FootprintIOManager
from stilt_dagster.io_managers.jacobian_netcdf import JacobianIOManager
from stilt_dagster.io_managers.particle_parquet import ParticleIOManager
from stilt_dagster.io_managers.receptor_parquet import ReceptorIOManager
from stilt_dagster.io_managers.report_html import ReportIOManager

__all__ = [
    "Aggregate",
    "ArlIOManager",
    "BackgroundIOManager",
    "FootprintIOManager",
    "JacobianIOManager",
    "ParticleIOManager",
    "ReceptorIOManager",
    "ReportIOManager",
]
