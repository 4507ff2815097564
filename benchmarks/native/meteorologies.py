"""The meteorologies engines are compared on: real HRRR, and generated files of three kinds of levels, flat and not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stilt_dagster.science.meteorology.arl import Box
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster_tests.conftest import SHARED
from stilt_dagster_tests.science.transport.native.weather import Vertical, Weather

#: Where real HRRR files of 2019-05-30, 00 to 11 UTC, around Salt Lake City are; what needs them is left out without.
HRRR = SHARED / "met" / "hrrr"


@dataclass(frozen=True)
class Meteorology:
    """One of them.

    Attributes
    ----------
    weather : Weather or None
        What a generated file is made of; None is real HRRR.
    box : Box
        Where receptors are: particles have some hours to go until they leave the file.
    grid : Grid
        What footprints are put on.
    times : mapping of str to datetime
        When particles are released, by what is special about it.
    """

    weather: Weather | None
    box: Box
    grid: Grid
    times: Mapping[str, dt.datetime]

    def path(self, folder: Path) -> Path:
        """Return the file, made in *folder* if it is not there: all hours in one, as an aggregate has them."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.weather is not None:
            w = self.weather
            return w.write(folder / f"{w.vertical}-{w.relief:g}-{w.wind:g}{'-friction' * w.friction}.arl")
        path = folder / "hrrr.arl"
        if not path.exists():
            part = path.with_name(".hrrr.arl.part")
            part.write_bytes(b"".join(p.read_bytes() for p in sorted(HRRR.glob("20190530_*_hrrr"))))
            part.replace(path)
        return path


def _made(weather: Weather) -> Meteorology:
    def at(hour: int, minute: int = 0) -> dt.datetime:
        return dt.datetime(2023, 7, 15, hour, minute, tzinfo=dt.UTC)

    times = {"night": at(10), "morning": at(17, 30), "day": at(21)}
    return Meteorology(weather, (-113.0, 39.8, -111.0, 41.6), Grid(-114.0, -110.0, 0.02, 39.0, 42.4, 0.02), times)


def _hrrr() -> Meteorology:
    def at(hour: int, minute: int = 0) -> dt.datetime:
        return dt.datetime(2019, 5, 30, hour, minute, tzinfo=dt.UTC)

    times = {"day": at(1, 30), "evening": at(4), "night": at(10)}
    return Meteorology(None, (-112.4, 40.4, -111.4, 41.1), Grid(-113.1, -110.9, 0.01, 40.1, 41.4, 0.01), times)


_GROUND = {"flat": 0.0, "mountains": 1200.0}

_KINDS: dict[str, Vertical] = {"sigma": "sigma", "pressure": "pressure", "hybrid": "hybrid", "gdas": "pressure"}

#: ``gdas`` is on pressure levels as ``pressure``, but says no friction velocity and roughness, as GDAS's files.
_MADE = {
    f"{name}-{ground}": _made(Weather(vertical, relief, friction=name in ("pressure", "hybrid")))
    for name, vertical in _KINDS.items()
    for ground, relief in _GROUND.items()
}

#: All there are here, by name.
METEOROLOGIES = ({"hrrr": _hrrr()} if HRRR.is_dir() else {}) | _MADE
