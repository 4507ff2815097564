"""The native engine: follows a receptor's particles through meteorology in memory."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import EngineError, Interrupted, Reason, SimulationFailed
from stilt_dagster.science.meteorology.description import Meteorology as MeteorologyFiles
from stilt_dagster.science.scenes.engines.native import NATIVE_VERSION
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.native.meteorology.prepared import Meteorology, prepare
from stilt_dagster.science.transport.native.particle_loop import COLUMNS, Release, follow, on_grid_at
from stilt_dagster.science.transport.native.random_numbers import random_state
from stilt_dagster.science.transport.native.release import start_positions
from stilt_dagster.science.transport.near_field import correct_near_field
from stilt_dagster.science.transport.particles import COLUMN_NAMES, Particles


class NativeEngine:
    """A transport engine in this process: STILT's physics as compiled loops, for as many threads as there are.

    Its particles follow from receptor, settings and meteorology alone, whatever runs beside.
    """

    version = NATIVE_VERSION

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Raise :class:`Interrupted` in later runs; one under way takes no longer than a receptor."""
        self._stopped.set()

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: MeteorologyFiles) -> Particles:
        """Release particles at a receptor and follow them.

        Parameters
        ----------
        receptor : Receptor
            Where and when.
        settings : TransportSettings
            How.
        meteorology : Path or sequence of Path
            The ARL file that covers the run.

        Returns
        -------
        Particles
            With the near-field correction, if ``hnf_plume`` is on. Values have the digits that hycs_std prints.

        Raises
        ------
        SimulationFailed
            If this receptor cannot be simulated.
        MeteorologyError, EngineError
            If none can: the file lacks something, or grids are nested.
        Interrupted
            If :meth:`stop` was called.
        """
        if self._stopped.is_set():
            raise Interrupted("stopped")
        path = _one_file(meteorology)
        release = receptor.time.timestamp() // 60
        met = prepare(path, settings, release)
        _require_coverage(met, receptor, release)
        seed = settings.for_receptor(receptor, None).seed
        random = random_state(0 if seed is None else seed)
        lon, lat, height = start_positions(receptor, settings, random)
        minutes = 60 * abs(settings.n_hours)
        released = Release(
            lon, lat, height, bool(settings.kmsl), release, minutes, settings.veght, settings.tlfrac, settings.hscale
        )
        rows, kept = follow(met, released, *random)
        if np.any(kept == release - met.wind.times[0]) and release - minutes < met.wind.times[0]:
            raise SimulationFailed(Reason.MET_COVERAGE, "the meteorology ends before the run does")
        particles = _particles(rows, kept, settings)
        if settings.hnf_plume:
            particles = correct_near_field(particles, receptor.heights, settings.numpar, settings.veght)
        return particles


def _one_file(meteorology: MeteorologyFiles) -> Path:
    if isinstance(meteorology, Path):
        return meteorology
    if len(meteorology) > 1:
        raise EngineError("the native engine reads no nested meteorology: use engine: hysplit, or one source")
    return meteorology[0]


def _require_coverage(met: Meteorology, receptor: Receptor, release: float) -> None:
    """Raise what hycs_std says of a receptor outside the meteorology, in space or time."""
    times = met.wind.times
    if not times[0] < release <= times[-1]:
        raise SimulationFailed(Reason.MET_COVERAGE, "the meteorology does not cover the time of the receptor")
    if not any(on_grid_at(met, lon, lat) for lon, lat in zip(receptor.longitudes, receptor.latitudes, strict=True)):
        raise SimulationFailed(Reason.MET_COVERAGE, "the receptor lies outside the meteorology")
    if max(receptor.heights) > met.highest_start:
        raise SimulationFailed(Reason.MET_COVERAGE, "the receptor reaches above the meteorology's levels")


#: Digits of each column, as hycs_std prints it.
DECIMALS = {
    "lon": 4, "lat": 4, "zagl": 4, "foot": 7, "mlht": 4, "dens": 5, "samt": 4, "sigw": 3, "tlgr": 4, "zsfc": 4,
}  # fmt: skip


def _particles(rows: NDArray[np.float64], kept: NDArray[np.int64], settings: TransportSettings) -> Particles:
    """Return the table of what :func:`follow` filled in: the columns of ``varsiwant``, without minutes off the grid."""
    inside: Any = np.arange(rows.shape[2]) < kept[:, None]
    if inside.all():
        inside = ...  # a view, where a mask would copy
    index = np.indices(rows.shape[1:], np.int32)
    number, minute = index[0][inside].ravel(), index[1][inside].ravel()
    columns: dict[str, NDArray[Any]] = {}
    for name in settings.varsiwant:
        column = COLUMN_NAMES.get(name, name)
        if column == "particle":
            columns[column] = number + 1
        elif column == "age":
            columns[column] = -1 - minute
        else:
            columns[column] = np.round(rows[COLUMNS.index(column)][inside].ravel(), DECIMALS[column])
    return Particles(columns, {name: DECIMALS[name] for name in columns if name in DECIMALS})
