"""HYSPLIT-STILT: one run of ``hycs_std`` a receptor.

What pystilt 0.1.0a25 does otherwise than a scene needs is corrected here, each with a contract test: it takes the
output of a killed hycs_std for a whole one, needs absolute paths, calls a receptor outside the meteorology a run
without particles, and leaves hycs_std's unused second particle dump on disk.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stilt_dagster.science.errors import EngineError, Interrupted, Reason, SimulationFailed, StoreError
from stilt_dagster.science.meteorology.description import Meteorology, file_name
from stilt_dagster.science.pystilt import (
    HYCS_STD_FILE,
    LOG_FILE,
    PARTICLE_STILT_FILE,
    WARNING_FILE,
    ColumnReceptor,
    MultiPointReceptor,
    PointReceptor,
    declare_grids,
    engine_version,
    failure_in,
    find_hycs_std,
    write_inputs,
)
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.effort import reap
from stilt_dagster.science.transport.hysplit_output import parse_particle_dat
from stilt_dagster.science.transport.near_field import correct_near_field
from stilt_dagster.science.transport.particles import Particles

#: Files hycs_std writes and nothing reads. ``PARTICLE.DAT`` alone is as large as the particle file that is read.
UNUSED_OUTPUT = ("PARTICLE.DAT", "cdump", "VMSDIST")


def release(receptor: Receptor, kmsl: int, places: int = 2) -> PointReceptor | ColumnReceptor | MultiPointReceptor:
    """Return pystilt's receptor.

    hycs_std starts particles evenly over the height of an upright column, but of a slanted one at the places it is
    given, as many at each. Of two these are its ends, as in R STILT.

    Parameters
    ----------
    receptor : Receptor
        The receptor.
    kmsl : int
        1 if heights are above sea level.
    places : int
        How many places a slanted column has: two, or the middles of so many equal parts.
    """
    reference: Any = "msl" if kmsl else "agl"
    lons, lats, heights = receptor.longitudes, receptor.latitudes, receptor.heights
    time = receptor.time.replace(tzinfo=None)
    if len(heights) == 1:
        return PointReceptor(
            time=time, longitude=lons[0], latitude=lats[0], altitude=heights[0], altitude_ref=reference
        )
    if lons[0] == lons[1] and lats[0] == lats[1]:
        return ColumnReceptor(
            time=time, longitude=lons[0], latitude=lats[0], bottom=heights[0], top=heights[1], altitude_ref=reference
        )
    if places > 2:
        lons, lats, heights = receptor.along(places)
    return MultiPointReceptor(time=time, longitudes=lons, latitudes=lats, altitudes=heights, altitude_ref=reference)


class Hysplit:
    """The transport engine: runs ``hycs_std`` for one receptor at a time, from as many threads as there are cores.

    Parameters
    ----------
    exe_dir : Path, optional
        Directory of another ``hycs_std`` than the one in the pystilt wheel, such as a registered build, which alone
        reads forecast meteorology.
    scratch : Path, optional
        Where runs put their files, about 125 bytes a particle-minute each; the system's temporary directory by default.

    """

    def __init__(self, exe_dir: Path | None = None, scratch: Path | None = None) -> None:
        self.exe_dir = exe_dir
        self._scratch = scratch
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # Ends hycs_std with the process that started it, even when that is killed.
        self._tie = [exe, "--pdeathsig", "KILL", "--"] if (exe := shutil.which("setpriv")) else []

    @cached_property
    def executable(self) -> Path:
        """The ``hycs_std``, looked for when it is first needed: what is simulated already needs none.

        Raises
        ------
        EngineError
            If there is none for this machine, or in the directory.
        """
        return find_hycs_std(self.exe_dir)

    @cached_property
    def version(self) -> str:
        """The build, see :func:`stilt_dagster.science.pystilt.engine_version`."""
        return engine_version(self.executable)

    def stop(self) -> None:
        """End every running hycs_std; runs under way, and later ones, raise :class:`Interrupted`."""
        self._stopped.set()
        with self._lock:
            for process in self._running:
                process.kill()

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology) -> Particles:
        """Release particles at a receptor and follow them.

        Parameters
        ----------
        receptor : Receptor
            Where and when.
        settings : TransportSettings
            How.
        meteorology : Path or sequence of Path
            The ARL file that covers the run, or those of nested grids, each of all its hours, the finest first.

        Returns
        -------
        Particles
            With the near-field correction, if ``hnf_plume`` is on.

        Raises
        ------
        SimulationFailed
            If this receptor cannot be simulated.
        EngineError, StoreError
            If none can: forecast meteorology, or a full disk.
        Interrupted
            If :meth:`stop` was called.
        """
        try:
            workdir = Path(tempfile.mkdtemp(prefix="stilt-", dir=self._scratch)).resolve()
        except OSError as error:
            raise StoreError(
                f"cannot make a scratch directory: {error.strerror}; set TMPDIR to one with room"
            ) from error
        try:
            return self._run_in(workdir, receptor, settings, meteorology)
        except OSError as error:
            raise StoreError(f"scratch {workdir.parent}: {error.strerror}; set TMPDIR to one with room") from error
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def prepare(
        self, workdir: Path, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology
    ) -> Sequence[str]:
        """Write what ``./hycs_std`` in *workdir* reads to simulate a receptor; return the particle file's columns."""
        config = settings.for_receptor(receptor, self.executable.parent)
        grids = [meteorology] if isinstance(meteorology, Path) else meteorology
        # Short relative names: HYSPLIT cuts paths off at 80 characters.
        names = [Path(file_name("met", number)) for number in range(1, len(grids) + 1)]
        for name, grid in zip(names, grids, strict=True):
            (workdir / name).symlink_to(grid.resolve())
        write_inputs(workdir, release(receptor, settings.kmsl, settings.places_along), config, names)
        if len(names) > 1:
            declare_grids(workdir, len(names))
        for unused in UNUSED_OUTPUT:
            (workdir / unused).symlink_to(os.devnull)
        return list(config.varsiwant)

    def _run_in(
        self, workdir: Path, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology
    ) -> Particles:
        columns = self.prepare(workdir, receptor, settings, meteorology)
        timed_out = self._execute(workdir, settings.timeout)
        log = (workdir / LOG_FILE).read_text(errors="replace")
        if self._stopped.is_set():
            raise Interrupted("stopped")
        if timed_out:
            raise SimulationFailed(Reason.TIMEOUT, f"hycs_std ran longer than {settings.timeout:g} s", log)
        warnings = workdir / WARNING_FILE
        _raise_failure(log, log + (warnings.read_text(errors="replace") if warnings.exists() else ""))
        try:
            particles = parse_particle_dat(workdir / PARTICLE_STILT_FILE, columns)
        except SimulationFailed as failure:
            failure.log = log[-2000:]
            raise
        if settings.hnf_plume:
            particles = correct_near_field(particles, receptor.heights, settings.numpar, settings.veght)
        return particles

    def _execute(self, workdir: Path, timeout: float) -> bool:
        """Run hycs_std in *workdir*; return whether it had to be ended for taking too long."""
        with (workdir / LOG_FILE).open("wb") as log:
            with self._lock:
                if self._stopped.is_set():
                    raise Interrupted("stopped")
                process = subprocess.Popen(
                    [*self._tie, str(workdir / HYCS_STD_FILE)],
                    cwd=workdir,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
                self._running.add(process)
            try:
                ended = _wait(process, timeout)
                if not ended:
                    process.kill()
                return not ended
            finally:
                reap(process)
                with self._lock:
                    self._running.discard(process)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait for *process* without polling where the system can; return whether it ended in time."""
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            return bool(select.select([descriptor], [], [], timeout)[0])
        finally:
            os.close(descriptor)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _raise_failure(log: str, messages: str) -> None:
    """Raise what HYSPLIT's messages say went wrong, if anything did."""
    if "User registration" in messages:
        raise EngineError(
            "this hycs_std refuses forecast meteorology: use analysis files, or set STILT_EXE_DIR to the directory "
            "of a registered HYSPLIT build"
        )
    if "No space left on device" in messages:
        raise StoreError("hycs_std ran out of scratch space: free some, or set TMPDIR to a directory with room")
    if "all source points off all meteo grids" in messages:
        raise SimulationFailed(Reason.MET_COVERAGE, "the receptor lies outside the meteorology", log)
    if "Start height in extrapolation region" in messages or "Start height above mdl domain" in messages:
        raise SimulationFailed(Reason.MET_COVERAGE, "the receptor reaches above the meteorology's levels", log)
    if (found := failure_in(messages)) is not None:
        reason, line = found
        ours = Reason(reason) if reason in Reason.__members__ else Reason.HYSPLIT_ERROR
        raise SimulationFailed(ours, f"HYSPLIT: {line}", log)
    if "Complete Hysplit" not in log:
        raise SimulationFailed(Reason.INCOMPLETE, "hycs_std was killed or crashed before it finished", log)
