"""HYSPLIT-STILT through pystilt: its settings, and one run of ``hycs_std``.

The only module that knows pystilt. What pystilt 0.1.0a25 does otherwise than a scene needs is put right here, each
with a contract test: it takes the output of a killed hycs_std for a whole one, needs absolute paths, calls a
receptor outside the meteorology a run without particles, and leaves hycs_std's unused second particle dump on disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import shutil
import subprocess
import tempfile
import threading
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from stilt.exceptions import HYSPLITNotFoundError
from stilt.receptors import ColumnReceptor, MultiPointReceptor, PointReceptor
from stilt.transport.hysplit import HysplitConfig, write_inputs
from stilt.transport.hysplit.driver import (
    HYCS_STD_FILE,
    LOG_FILE,
    PARTICLE_STILT_FILE,
    WARNING_FILE,
    _bundled_exe_dir,
)
from stilt.transport.hysplit.failures import failure_in

from stilt_dagster.science.errors import EngineError, Interrupted, Reason, SimulationFailed, StoreError
from stilt_dagster.science.particles import NEAR_FIELD_COLUMNS, Particles, correct_near_field, parse_particle_dat
from stilt_dagster.science.receptors import Receptor

#: Files hycs_std writes and nothing reads. ``PARTICLE.DAT`` alone is as large as the particle file that is read.
UNUSED_OUTPUT = ("PARTICLE.DAT", "cdump", "VMSDIST")

#: Measured on hycs_std v5.1.0: CPU seconds a particle-hour, and to start.
CPU_PER_PARTICLE_HOUR = 0.002
CPU_PER_START = 0.15

#: pystilt's fields that name files of the machine: an operator sets them on the engine, never a scene.
_NOT_OF_A_SCENE = ("exe_dir", "data_dir")

#: R STILT's particle columns, in its order.
VARSIWANT = ["time", "indx", "long", "lati", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr"]

_SAFE_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class TransportSettings(HysplitConfig):  # type: ignore[misc]
    """How particles move: every STILT transport parameter by its STILT name.

    Parameters and defaults are pystilt's (:class:`stilt.transport.hysplit.HysplitConfig` documents each with its
    unit), but for those below, which make a run the same each time it is done.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    krand: Literal[0, 1, 2, 3, 4, 10, 11, 12, 13] = Field(
        2, description="How HYSPLIT draws random numbers; 2 alone takes a seed, so that a re-run repeats its particles."
    )
    seed: int | Literal["receptor", "none"] = Field(
        "receptor",
        description="``receptor`` (from the receptor's id), an integer for all receptors, or ``none`` (HYSPLIT's own).",
    )
    kmsl: Literal[0, 1] = Field(0, description="Heights are above ground (0) or above sea level (1).")
    timeout: float = Field(3600.0, gt=0, description="Seconds one simulation may take. It changes no particle.")
    varsiwant: list[str] = Field(
        default_factory=lambda: list(VARSIWANT), description="Particle variables HYSPLIT writes."
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_stilt_spellings(cls, data: Any) -> Any:
        """Take what R STILT and stiltctl write: unset as null, several names in one string."""
        if not isinstance(data, dict):
            return data
        data = {k: v for k, v in data.items() if v is not None}
        for name in _NOT_OF_A_SCENE:
            if name in data:
                raise ValueError(f"{name} names files of the machine; an operator sets it on the transport engine")
        if isinstance(data.get("varsiwant"), str):
            data["varsiwant"] = [v for v in re.split(r"[\s,'\"]+", data["varsiwant"]) if v]
        # Only krand 2 takes a seed: asking for another mode is asking for its own random numbers.
        if data.get("krand", 2) != 2:
            data.setdefault("seed", "none")
        return data

    @field_validator("efile", "pinbc", "pinpf", "poutf")
    @classmethod
    def _stay_in_the_run_directory(cls, value: str) -> str:
        if value and not _SAFE_FILE_NAME.fullmatch(value):
            raise ValueError("must be a plain file name (letters, digits, '.', '_', '-')")
        return value

    @field_validator("n_hours")
    @classmethod
    def _backward(cls, value: int) -> int:
        if not -2400 <= value <= -1:
            raise ValueError(f"must be between -2400 and -1, since footprints look back in time (got {value})")
        return value

    @field_validator("varsiwant")
    @classmethod
    def _known_variables(cls, value: list[str]) -> list[str]:
        known = HysplitConfig.model_fields["varsiwant"].annotation.__args__[0].__args__
        if unknown := [v for v in value if v not in known]:
            raise ValueError(f"unknown variables {unknown}; HYSPLIT knows {', '.join(known)}")
        if len(set(value)) != len(value):
            raise ValueError("names a variable twice")
        if missing := [v for v in ("time", "indx", "long", "lati", "zagl", "foot") if v not in value]:
            raise ValueError(f"must include {', '.join(missing)}")
        return value

    @model_validator(mode="after")
    def _validate_seed(self) -> Self:
        if self.seed != "none" and self.krand != 2:
            raise ValueError(f"seed needs krand 2 (got krand {self.krand}): set krand: 2, or seed: none")
        return self

    @model_validator(mode="after")
    def _validate_hnf_plume(self) -> Self:
        if self.hnf_plume and (missing := sorted(set(NEAR_FIELD_COLUMNS) - set(self.varsiwant))):
            raise ValueError(f"hnf_plume needs varsiwant to include {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _validate_sizes(self) -> Self:
        if not 1 <= self.numpar <= 1_000_000:
            raise ValueError(f"numpar must be between 1 and 1000000 (got {self.numpar})")
        if self.outdt < 0:
            raise ValueError(f"outdt must be 0 or more, since a negative one writes no particles (got {self.outdt})")
        if not self.veght > 0:
            raise ValueError(f"veght must be above 0 (got {self.veght})")
        if not self.z_top > 0:
            raise ValueError(f"z_top must be above 0 m (got {self.z_top})")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What of the settings makes the particles."""
        return dict(self.model_dump(mode="json", exclude={*_NOT_OF_A_SCENE, "timeout"}))

    @property
    def predicted_cpu(self) -> float:
        """CPU seconds one receptor's simulation is expected to take."""
        return float(CPU_PER_START + CPU_PER_PARTICLE_HOUR * self.numpar * abs(self.n_hours))

    def for_receptor(self, receptor: Receptor, exe_dir: Path | None) -> HysplitConfig:
        """Return the settings pystilt writes for one receptor's run."""
        values = self.model_dump(exclude={"seed", "kmsl", "timeout", *_NOT_OF_A_SCENE})
        seed = self.seed if isinstance(self.seed, int) else seed_for(receptor.id) if self.seed == "receptor" else None
        # R STILT's maxpar; pystilt would add particles for the second end of a slanted column.
        values["maxpar"] = self.maxpar or self.numpar
        return HysplitConfig(**values, seed=seed, exe_dir=exe_dir)


def seed_for(receptor_id: str) -> int:
    """Return a receptor's seed: the same each time, and below 2**31, over which HYSPLIT's namelist fails."""
    return zlib.crc32(receptor_id.encode()) & 0x7FFFFFFF


def _release(receptor: Receptor, kmsl: int) -> PointReceptor | ColumnReceptor | MultiPointReceptor:
    """Return pystilt's receptor; two points on a slant are one line source to HYSPLIT, as in R STILT."""
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

    Raises
    ------
    EngineError
        If there is no ``hycs_std`` for this machine.
    """

    def __init__(self, exe_dir: Path | None = None, scratch: Path | None = None) -> None:
        self.exe_dir = exe_dir
        self._scratch = scratch
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # Ends hycs_std with the process that started it, even when that is killed.
        self._tie = [exe, "--pdeathsig", "KILL", "--"] if (exe := shutil.which("setpriv")) else []
        try:
            self._exe = Path(exe_dir or _bundled_exe_dir()) / HYCS_STD_FILE
        except HYSPLITNotFoundError as error:
            system = os.uname()
            raise EngineError(
                f"there is no hycs_std for {system.sysname} {system.machine}: run on x86-64 Linux, "
                "or set exe_dir of the transport engine to the directory of your own build"
            ) from error
        if not os.access(self._exe, os.X_OK):
            raise EngineError(
                f"no executable {HYCS_STD_FILE} in {self._exe.parent}: set exe_dir to the directory it is in"
            )

    @cached_property
    def version(self) -> str:
        """The build: the first 16 digits of the binary's SHA-256."""
        return "hycs_std-" + hashlib.sha256(self._exe.read_bytes()).hexdigest()[:16]

    def stop(self) -> None:
        """End every running hycs_std; runs under way, and later ones, raise :class:`Interrupted`."""
        self._stopped.set()
        with self._lock:
            for process in self._running:
                process.kill()

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Path) -> Particles:
        """Release particles at a receptor and follow them.

        Parameters
        ----------
        receptor : Receptor
            Where and when.
        settings : TransportSettings
            How.
        meteorology : Path
            One ARL file that covers the run.

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

    def _run_in(self, workdir: Path, receptor: Receptor, settings: TransportSettings, meteorology: Path) -> Particles:
        config = settings.for_receptor(receptor, self._exe.parent)
        # A short relative name: HYSPLIT cuts paths off at 80 characters.
        (workdir / "met.arl").symlink_to(meteorology.resolve())
        write_inputs(workdir, _release(receptor, settings.kmsl), config, [Path("met.arl")])
        for name in UNUSED_OUTPUT:
            (workdir / name).symlink_to(os.devnull)
        timed_out = self._execute(workdir, settings.timeout)
        log = (workdir / LOG_FILE).read_text(errors="replace")
        if self._stopped.is_set():
            raise Interrupted("stopped")
        if timed_out:
            raise SimulationFailed(Reason.TIMEOUT, f"hycs_std ran longer than {settings.timeout:g} s", log)
        warnings = workdir / WARNING_FILE
        _raise_failure(log, log + (warnings.read_text(errors="replace") if warnings.exists() else ""))
        try:
            particles = parse_particle_dat(workdir / PARTICLE_STILT_FILE, config.varsiwant)
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
                return not _wait(process, timeout)
            finally:
                process.kill()
                process.wait()
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
            "this hycs_std refuses forecast meteorology: use analysis files, or set exe_dir of the transport engine "
            "to a registered HYSPLIT build"
        )
    if "No space left on device" in messages:
        raise StoreError("hycs_std ran out of scratch space: free some, or set TMPDIR to a directory with room")
    if "all source points off all meteo grids" in messages:
        raise SimulationFailed(Reason.MET_COVERAGE, "the receptor lies outside the meteorology", log)
    if (found := failure_in(messages)) is not None:
        reason, line = found
        ours = Reason(reason) if reason in Reason.__members__ else Reason.HYSPLIT_ERROR
        raise SimulationFailed(ours, f"HYSPLIT: {line}", log)
    if "Complete Hysplit" not in log:
        raise SimulationFailed(Reason.INCOMPLETE, "hycs_std was killed or crashed before it finished", log)
