"""Footprints, CF NetCDF-4: ``footprints/<scene>/<shard>/part-00000.nc``, as written by ``science.footprints``."""

from stilt_dagster.io_managers.shards import ShardsIOManager


class FootprintIOManager(ShardsIOManager):
    """Part files of footprints, one a batch, outcomes as variables."""
