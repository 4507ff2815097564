"""How particles move: every STILT transport parameter by its STILT name."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from stilt_dagster.science.pystilt import HysplitConfig
from stilt_dagster.science.scenes.engines.check import DEFAULT_SHARE
from stilt_dagster.science.scenes.engines.costs import simulation_cpu
from stilt_dagster.science.scenes.engines.native import NATIVE_VERSION, require_known
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.validation import require_no_boolean

#: Columns the near-field correction reads.
NEAR_FIELD_COLUMNS = ("dens", "samt", "sigw", "tlgr", "foot", "mlht")

#: pystilt's fields that name files of the machine: an operator sets them on the engine, never a scene.
_NOT_OF_A_SCENE = ("exe_dir", "data_dir")

#: Settings that change no particle.
_NOT_OF_PARTICLES = ("timeout", "experimental", "engine_check")

#: Settings of an error run: of winds, and of the mixed layer; pystilt takes each group whole or not at all.
WIND_ERRORS = ("siguverr", "tluverr", "zcoruverr", "horcoruverr")
MIXING_ERRORS = ("sigzierr", "tlzierr", "horcorzierr")

#: Largest error of winds, m s-1: hycs_std moves particles by any, and these are off all maps within minutes.
MAX_WIND_ERROR = 50.0

#: Places hycs_std starts a particle each at without losing some: measured, 2000 are right and 4000 are not.
MAX_PLACES = 2000

#: R STILT's particle columns, in its order.
VARSIWANT = ["time", "indx", "long", "lati", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr"]

#: Raised when error runs, or columns with several particles a place, would come out otherwise: they are made anew.
_ERROR_RUN, _PLACES = 1, 2

_SAFE_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class TransportSettings(HysplitConfig):  # type: ignore[misc]
    """How particles move: every STILT transport parameter by its STILT name.

    Parameters and defaults are pystilt's (:class:`stilt.transport.hysplit.HysplitConfig` documents each with its
    unit), but for those below, which make a run the same each time it is done.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["hysplit", "native"] = Field(
        "hysplit",
        description="What simulates: ``hysplit`` (NOAA's hycs_std, the reference), or ``native``, this package's own.",
    )
    experimental: bool = Field(
        False, description="Says that particles may differ from hycs_std's; needed with ``engine: native``."
    )
    engine_check: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of receptors, three at least, that ``native`` is held against hycs_std at, by default 0.02; "
        "0: none. It changes no particle.",
    )
    krand: Literal[0, 1, 2, 3, 4, 10, 11, 12, 13] = Field(
        2, description="How HYSPLIT draws random numbers; 2 alone takes a seed, so that a re-run repeats its particles."
    )
    seed: int | Literal["receptor", "none"] = Field(
        "receptor",
        description="``receptor`` (from the receptor's id), an integer for all receptors, or ``none`` (HYSPLIT's own).",
    )
    slanted: Literal["ends", "line"] | None = Field(
        None,
        description="Where a slanted column's particles start: half of them at each end (``ends``), as R STILT's, or "
        "evenly along it (``line``). By default ``line`` for lines of sight of a retrieval, else ``ends``.",
    )
    kmsl: Literal[0, 1] = Field(0, description="Heights are above ground (0) or above sea level (1).")
    precision: float | None = Field(
        None, gt=0, lt=1, description="Relative Monte-Carlo error of a row at which no more particles are released."
    )
    max_numpar: int | None = Field(
        None,
        le=1_000_000,
        description="Most particles of a receptor; with ``precision``, and twice ``numpar`` or more.",
    )
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
        for group in (WIND_ERRORS, MIXING_ERRORS):
            given, missing = [n for n in group if n in data], [n for n in group if n not in data]
            if given and missing:
                raise ValueError(f"errors go together: with {', '.join(given)} set {', '.join(missing)} too")
        # Only krand 2 takes a seed: asking for another mode is asking for its own random numbers.
        if data.get("krand", 2) != 2:
            data.setdefault("seed", "none")
        if data.get("engine") == "native":
            data.setdefault("engine_check", DEFAULT_SHARE)
        return data

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return require_no_boolean(cls, str(info.field_name), value)

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

    @model_validator(mode="after")
    def _validate_errors(self) -> Self:
        """Refuse errors hycs_std has no use for: with siguverr 0 it takes every particle to no place at all."""
        for name in (*WIND_ERRORS, *MIXING_ERRORS):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0 (got {value}): leave the errors out for no error run")
        if self.siguverr is not None and self.siguverr > MAX_WIND_ERROR:
            raise ValueError(f"siguverr must be at most {MAX_WIND_ERROR:g} m/s (got {self.siguverr})")
        return self

    @model_validator(mode="after")
    def _validate_precision(self) -> Self:
        if (self.precision is None) != (self.max_numpar is None):
            raise ValueError("precision and max_numpar go together, such as precision: 0.1, max_numpar: 4000")
        if self.max_numpar is not None and self.max_numpar < 2 * self.numpar:
            raise ValueError(
                f"max_numpar must be at least twice numpar, which is {self.numpar} (got {self.max_numpar}): particles "
                "come numpar at a time"
            )
        if self.precision is not None and self.seed == "none":
            raise ValueError("precision needs seeds, so that ensembles differ: set seed: receptor, or an integer")
        return self

    @model_validator(mode="after")
    def _validate_engine(self) -> Self:
        if self.engine == "native":
            require_known(self)
        elif self.experimental or self.engine_check is not None:
            raise ValueError("experimental and engine_check are of engine: native: remove them, or set it")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what older specs do not have, so that hashes of theirs stay what they were."""
        fields: dict[str, Any] = handler(self)
        for name in ("precision", "max_numpar", "slanted", "engine_check"):
            if getattr(self, name) is None:
                fields.pop(name, None)
        if self.engine == "hysplit":
            fields.pop("engine", None)
            fields.pop("experimental", None)
        return fields

    @property
    def identity(self) -> dict[str, Any]:
        """What of the settings makes the particles."""
        made_of = dict(self.model_dump(mode="json", exclude={*_NOT_OF_A_SCENE, *_NOT_OF_PARTICLES}))
        if self.has_error_run:
            made_of["error_run"] = _ERROR_RUN
        if self.slanted == "line" and self.particles_a_place > 1:
            made_of["places"] = _PLACES
        return made_of

    @property
    def has_error_run(self) -> bool:
        """Whether each receptor has a second run, with errors of winds or of the mixed layer."""
        return self.siguverr is not None or self.sigzierr is not None

    @property
    def runs(self) -> int:
        """Runs of hycs_std a receptor."""
        return 1 + self.has_error_run

    @property
    def released(self) -> int:
        """Particles released a receptor, in all its runs; with ``precision`` at least."""
        return int(self.numpar) * self.runs

    @property
    def max_ensembles(self) -> int:
        """Most ensembles of ``numpar`` particles a receptor has in its own run."""
        return 1 if self.max_numpar is None else int(self.max_numpar // self.numpar)

    @property
    def at_most(self) -> Self:
        """The settings of a scene whose receptors all have the most particles they may have."""
        most = {"numpar": self.max_ensembles * self.numpar, "precision": None, "max_numpar": None}
        settings: Self = self.model_copy(update=most)
        return settings

    @property
    def predicted_cpu(self) -> float:
        """CPU seconds one receptor's simulation is expected to take, its error run included.

        With ``precision`` the geometric mean of the least and the most.
        """
        ensembles = self.runs - 1 + self.max_ensembles**0.5
        return float(ensembles * simulation_cpu(self.engine, self.numpar, self.n_hours))

    @property
    def model(self) -> str:
        """What files name as the source of their numbers."""
        return "STILT, native engine of stilt_dagster" if self.engine == "native" else "HYSPLIT-STILT"

    def engine_version(self, hycs_std: str | None) -> str | None:
        """Return the version of the engine that simulates, *hycs_std* being that of the one a machine has, if any."""
        return NATIVE_VERSION if self.engine == "native" else hycs_std

    def reference(self, receptor: Receptor, number: int) -> Self:
        """Return the settings with which hycs_std checks a receptor: its own seed, or another made of it."""
        seed = self._seed(receptor)
        own = seed_for(f"engine check {number} of {seed}") if number else seed
        plain = {"engine": "hysplit", "experimental": False, "engine_check": None, "precision": None}
        settings: Self = self.model_copy(update={**plain, "max_numpar": None, "seed": own})
        return settings

    def ensemble(self, receptor: Receptor, number: int) -> Self:
        """Return the settings of an ensemble of a receptor: the first has its seed, others each one made of that."""
        own = {"seed": seed_for(f"ensemble {number} of {self._seed(receptor)}")} if number else {}
        settings: Self = self.model_copy(update=own)
        return settings

    @property
    def unperturbed(self) -> Self:
        """The settings of a receptor's own run: without errors."""
        none: dict[str, Any] = dict.fromkeys((*WIND_ERRORS, *MIXING_ERRORS)) if self.has_error_run else {}
        unperturbed: Self = self.model_copy(update=none)
        return unperturbed

    def perturbed(self, receptor: Receptor) -> Self:
        """Return the settings of a receptor's error run: with the errors, and a seed of its own.

        The seed is made of that of the receptor's own run. A scene without seeds has none here either, as R STILT.
        """
        seed = self._seed(receptor)
        own = {} if seed is None else {"seed": seed_for(f"error run of {seed}")}
        perturbed: Self = self.model_copy(update=own)
        return perturbed

    def starts_at_ends(self, receptor: Receptor) -> bool:
        """Whether hycs_std starts one half of a receptor's particles at each of two places."""
        return receptor.slanted and self.slanted != "line"

    @property
    def particles_a_place(self) -> int:
        """Particles that start at each place along a slanted column: a power of two.

        Of other numbers hycs_std starts one more at each place, so that none are left for the last places: of 3 it
        makes 4, and a quarter of the column is without particles (found by counting them).
        """
        most = 1
        while self.numpar > most * MAX_PLACES:
            most *= 2
        return most

    @property
    def places_along(self) -> int:
        """At how many places along a slanted column particles start: its two ends, or so many that are evenly apart.

        The last of many may have fewer particles than the others.
        """
        return 2 if self.slanted != "line" else -(-int(self.numpar) // self.particles_a_place)

    def for_receptor(self, receptor: Receptor, exe_dir: Path | None) -> HysplitConfig:
        """Return the settings pystilt writes for one receptor's run."""
        ours = {"seed", "slanted", "kmsl", "precision", "max_numpar", "engine", *_NOT_OF_PARTICLES}
        values = self.model_dump(exclude={*ours, *_NOT_OF_A_SCENE})
        # R STILT's maxpar; pystilt would add particles for the second end of a slanted column.
        values["maxpar"] = self.maxpar or self.numpar
        if receptor.slanted and self.slanted == "line":
            values["numpar"] = self.places_along * self.particles_a_place
        return HysplitConfig(**values, seed=self._seed(receptor), exe_dir=exe_dir)

    def _seed(self, receptor: Receptor) -> int | None:
        """Return the seed of a receptor's run; None for HYSPLIT's own."""
        if isinstance(self.seed, int):
            return self.seed
        return seed_for(receptor.id) if self.seed == "receptor" else None


def seed_for(name: str) -> int:
    """Return the seed of a receptor's id, or another name: the same each time, and below 2**31.

    HYSPLIT's namelist fails over that.
    """
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
