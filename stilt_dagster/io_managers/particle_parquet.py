"""Particles, as Parquet: ``trajectories/<scene>/<shard>/part-00000.parquet``, as by ``science.particles``."""

from stilt_dagster.io_managers.shards import ShardsIOManager


class ParticleIOManager(ShardsIOManager):
    """Part files of particle tables, one a batch, outcomes in their metadata."""
