"""Run the STILT atmospheric transport model for whole satellite scenes, as Dagster assets."""

__version__ = "0.1.0"
