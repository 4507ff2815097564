"""CPU that each engine is expected to take of a receptor."""

from __future__ import annotations

from stilt_dagster.science.scenes.engines.check import CHECK_RUNS

#: CPU seconds to start, and a particle-hour: of hycs_std v5.1.0 as measured, and of the native engine.
_CPU = {"hysplit": (0.15, 0.002), "native": (0.02, 0.00008)}


def simulation_cpu(engine: str, numpar: int, n_hours: int) -> float:
    """Return the CPU seconds an engine is expected to take for one ensemble."""
    start, particle_hour = _CPU[engine]
    return start + particle_hour * numpar * abs(n_hours)


def check_cpu(numpar: int, n_hours: int) -> float:
    """Return the CPU seconds hycs_std is expected to take at a receptor the native engine is held against it at."""
    return CHECK_RUNS * simulation_cpu("hysplit", numpar, n_hours)
