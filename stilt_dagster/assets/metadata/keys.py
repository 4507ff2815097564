"""The keys of what assets record with a materialization: one name for one thing, on every asset.

Numbers are recorded as numbers, so that the UI plots them over partitions and over time. ``stilt/`` is what a run found
or did; ``plan/`` and ``actual/`` are the cost before and after, of the same names; ``dagster/`` is Dagster's own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """A metadata key.

    Attributes
    ----------
    meaning : str
        What is recorded under it.
    units : str
        Units of a number; empty of text, tables and pictures.
    """

    meaning: str
    units: str = ""


#: What a scene costs, before and after.
_COST = {
    "receptors": Key("receptors", "1"),
    "particle_hours": Key("particles times hours they are followed", "h"),
    "cpu_hours": Key("CPU, all included", "h"),
    "pods": Key("pods the simulations spread over", "1"),
    "wall_hours": Key("duration at the configured concurrency", "h"),
    "bytes_meteorology_read": Key("meteorology read of archives", "byte"),
    "bytes_trajectories": Key("part files of trajectories", "byte"),
    "bytes_footprints": Key("part files of footprints", "byte"),
    "bytes_jacobian": Key("the jacobian", "byte"),
    "cost": Key("money, by the price table of the store"),
    "currency": Key("currency of the cost"),
}

KEYS: dict[str, Key] = {
    "dagster/row_count": Key("rows of the partition's table, or along the receptors of its NetCDF files", "1"),
    "dagster/uri": Key("where the partition's files are"),
    "stilt/location": Key("the same, to open: a path, or the bucket's page in the cloud console"),
    "stilt/report": Key("the scene's report, once it is made"),
    "stilt/runs": Key("every run of the scene"),
    "stilt/picture": Key("a map of receptors or influence, or a plume of particles"),
    "stilt/receptors": Key("receptors of the scene, or of the shards of the run", "1"),
    "stilt/receptors_ok": Key("receptors that were simulated, and feel fluxes on the grid", "1"),
    "stilt/receptors_empty": Key("receptors that feel nothing of the grid", "1"),
    "stilt/receptors_failed": Key("receptors whose simulation failed", "1"),
    "stilt/receptors_made": Key("receptors done by this run", "1"),
    "stilt/receptors_kept": Key("receptors found done", "1"),
    "stilt/receptors_outside": Key("receptors the meteorology does not reach, which will fail", "1"),
    "stilt/failures": Key("the first receptors that failed, with reason and message"),
    "stilt/hysplit_log": Key("the end of HYSPLIT's log of the first that failed"),
    "stilt/preview": Key("the first receptors' ids"),
    "stilt/first_time": Key("first release, UTC"),
    "stilt/last_time": Key("last release, UTC"),
    "stilt/soundings": Key("how many soundings each step of the selection left"),
    "stilt/cpu_seconds": Key("CPU of this run, hycs_std's included; under Slurm that of its parts", "s"),
    "stilt/wall_seconds": Key("duration of this run", "s"),
    "stilt/receptors_per_core_hour": Key("receptors done an hour of CPU", "h-1"),
    "stilt/files": Key("part files, or files", "1"),
    "stilt/bytes": Key("their size", "byte"),
    "stilt/particle_rows": Key("rows of particles of the run's shards: a particle a minute", "1"),
    "stilt/entries": Key("entries of the matrix that are not zero", "1"),
    "stilt/cells": Key("cells of the footprint's grid", "1"),
    "stilt/flux_hours": Key("hours of flux the matrix has columns for", "1"),
    "stilt/model": Key("meteorological model, of nested grids the finest first"),
    "stilt/times": Key("first and last time step of each grid, and how many"),
    "stilt/steps": Key("time steps of the finest grid", "1"),
    "stilt/levels": Key("levels kept of each grid, and why"),
    "stilt/grid": Key("columns and rows of each grid"),
    "stilt/extent": Key("west, south, east, north of each grid, degrees"),
    "stilt/crop": Key("why each grid is cut as it is"),
    "stilt/source": Key("which source was taken, and why"),
    "stilt/source_files": Key("files the aggregate was made of"),
    "stilt/records_repacked": Key("records packed anew, since a byte did not hold a step of theirs", "1"),
    "stilt/bytes_read": Key("bytes read of source files", "byte"),
    "stilt/bytes_of_files": Key("bytes these files have", "byte"),
    "stilt/sha256": Key("checksum of the aggregate"),
    "stilt/receptors_with_background": Key("receptors whose particles end inside the field", "1"),
    "stilt/background_mean": Key("mean over these", "ppm"),
    "stilt/boundary_inside": Key("share of particles' weight that never left the grid, mean over receptors", "1"),
    "stilt/background_least_sampled": Key("least share of a receptor's particles inside the field", "1"),
    "stilt/transport_error_median": Key("median of the errors of transport of observations", "ppm"),
    "stilt/transport_error_least_covered": Key("least share of an observation's influence inside the fluxes", "1"),
    "stilt/engine": Key("version of the engine that simulated"),
    "stilt/engine_verdict": Key("of a native engine, held against hycs_std: agrees, differs, or not checked"),
    "stilt/engine_compared": Key("receptors that ran through both", "1"),
    "stilt/engine_bias": Key("what its row sums are above hycs_std's, over these", "1"),
    "stilt/engine_bias_error": Key("standard error of that", "1"),
    "stilt/engine_distance_ratio": Key("distance of its footprints to hycs_std's, over that of two seeds of it", "1"),
    "stilt/warnings": Key("what the report says a person should look at", "1"),
    "stilt/scenes": Key("scenes of a campaign", "1"),
    "stilt/scenes_done": Key("those that are done", "1"),
    "stilt/scenes_failed": Key("those of which a run failed, and nothing was made of it since", "1"),
    "stilt/scenes_running": Key("those of which a run is queued or goes on", "1"),
    "stilt/scenes_waiting": Key("the others", "1"),
    "stilt/scenes_launched": Key("scenes of a campaign whose runs a person asked for", "1"),
    "stilt/launched": Key("which these are"),
    "stilt/receptors_done": Key("receptors of the scenes that are done, but for those that failed", "1"),
    "stilt/hours_left": Key("hours until the last scene of a campaign is done, if it goes on as before", "h"),
    "stilt/scenes_new": Key("scenes a scan of a source registered", "1"),
    "stilt/scenes_replaced": Key("scenes a scan registered again, from newer versions of granules", "1"),
    "stilt/granules_unchanged": Key("granules that changed nothing", "1"),
    "stilt/granules_skipped": Key("granules no scene was made of", "1"),
    "stilt/granules_waiting": Key("granules that are tried again later", "1"),
    "stilt/granules_given_up": Key("granules that were tried in vain", "1"),
    "stilt/newest_file": Key("when the file that changed last did"),
    "stilt/slurm_job": Key("Slurm's array jobs that did the run's shards"),
    "stilt/slurm_logs": Key("directory of their logs, a file a task"),
    "stilt/note": Key("why there is nothing to do"),
    **{f"plan/{name}": Key(f"planned: {key.meaning}", key.units) for name, key in _COST.items()},
    **{f"actual/{name}": Key(f"taken: {key.meaning}", key.units) for name, key in _COST.items()},
}
