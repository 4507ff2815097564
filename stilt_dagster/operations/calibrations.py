"""What the CPU of this store's scenes was, over what was predicted of it: ``costs/calibration.json``, by machine."""

from __future__ import annotations

import json
import logging
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.costs.spent import Spent, calibrate
from stilt_dagster.science.errors import FormatError, StoreError
from stilt_dagster.science.files.format_numbers import CALIBRATION_FORMAT, without_format
from stilt_dagster.science.scenes.engines.native import NATIVE_VERSION

_FOLDER, _FILE = "costs", "calibration.json"

_LOG = logging.getLogger("stilt_dagster")

#: Least CPU of a scene that says something of a machine, s.
_LEAST_CPU = 20.0


@dataclass(frozen=True)
class Measured:
    """What a scene's CPU was.

    Attributes
    ----------
    cpu : float
        CPU measured, over what was predicted.
    scene, engine : str
        Of which scene, and which build of hycs_std, or version of another engine.
    machine : str
        Model of the CPU.
    """

    cpu: float
    scene: str
    engine: str
    machine: str


def read_calibration(store: Store, engine: str = "hysplit") -> Measured | None:
    """Return what is known of an engine on this machine, or else on that which finished a scene last; None if nothing.

    Parameters
    ----------
    store : Store
        The store.
    engine : str
        ``hysplit`` or ``native``: what one takes says nothing of the other.
    """
    known = {name: m for name, m in _read(store).items() if (m.engine == NATIVE_VERSION) == (engine == "native")}
    return known.get(_place(engine)) or next(reversed(known.values()), None)


def record_calibration(scene: StoredScene, spent: Spent) -> None:
    """Keep what a finished scene took, for the plans of others; nothing of one that was too small to tell.

    Two that are recorded at the same time lose one of them, which is no loss; nor is one that the store does not take,
    so that no scene fails for it.
    """
    found = calibrate(scene.spec, spent, first=False)
    if found is None or (spent.cpu_seconds or 0.0) < _LEAST_CPU:
        return
    place = _place(scene.spec.transport.engine)
    try:
        known = {name: m for name, m in _read(scene.store).items() if name != place}
        known[place] = Measured(round(found.cpu, 4), scene.id, scene.engine, _machine())
        text = json.dumps({name: asdict(m) for name, m in known.items()}, indent=1)
        scene.store.folder(_FOLDER).write(_FILE, text)
    except (StoreError, FormatError) as error:
        _LOG.warning("what scene %s took calibrates no other plan: %s", scene.id, error)


def _read(store: Store) -> dict[str, Measured]:
    """Return what is kept, the last one last; nothing, if it is damaged."""
    with suppress(ValueError, TypeError, AttributeError):
        data = without_format(json.loads(store.folder(_FOLDER).read(_FILE) or "{}"), CALIBRATION_FORMAT, _FILE)
        kept = {str(k): Measured(**v) for k, v in data.items()}
        if all(isinstance(m.cpu, float) and 0.05 < m.cpu < 20 for m in kept.values()):
            return kept
    return {}


def _place(engine: str) -> str:
    """Return the name that what an engine took on this machine is kept by."""
    return _machine() if engine == "hysplit" else f"{_machine()}, {engine}"


def _machine() -> str:
    """Return the model of this machine's CPU."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()
