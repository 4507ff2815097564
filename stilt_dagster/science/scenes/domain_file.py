"""stiltctl domain files, read as scenes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from stilt_dagster.science.errors import SceneError

#: stiltctl's names of the footprint's grid.
_FOOTPRINT = {
    "xmn": "xmin",
    "xmx": "xmax",
    "xres": "xres",
    "ymn": "ymin",
    "ymx": "ymax",
    "yres": "yres",
    "smooth_factor": "smooth_factor",
    "time_integrate": "time_integrate",
    "projection": "projection",
}

#: Housekeeping of R STILT that changes no number: which files it keeps, and how many meteorology files it expects.
_HOUSEKEEPING = ("rm_dat", "n_met_min")

_NAMES = {"receptor_grid", "simulation_config", "meteorology_model", "time"}


def is_domain(data: dict[str, Any]) -> bool:
    """Return whether *data* is laid out as a stiltctl domain file."""
    return "receptor_grid" in data or "simulation_config" in data


def scene_from_domain(data: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return a stiltctl domain as a scene's spec, with the same receptors.

    Parameters
    ----------
    data : dict
        ``receptor_grid``, ``simulation_config``, ``meteorology_model`` and ``time`` (the last full hour by default,
        as in stiltctl).
    name : str
        Name of the scene: a domain file's own name.
    where : str
        What errors call the file.

    Raises
    ------
    SceneError
        If a part is missing or unknown.
    """
    if unknown := sorted(set(data) - _NAMES):
        raise SceneError(
            f"{where}: unknown in a stiltctl domain: {', '.join(unknown)}; allowed are {', '.join(_NAMES)}"
        )
    for part in ("receptor_grid", "simulation_config"):
        if not isinstance(data.get(part), dict):
            raise SceneError(f"{where}: {part} is missing, or not a mapping")
    if "meteorology_model" not in data:
        raise SceneError(f"{where}: meteorology_model is missing")
    config = {k: v for k, v in data["simulation_config"].items() if v is not None and k not in _HOUSEKEEPING}
    # HYSPLIT's switch of ziscale, which pystilt sets.
    if not config.get("zicontroltf") or "ziscale" in config:
        config.pop("zicontroltf", None)
    footprint = {ours: config.pop(theirs) for theirs, ours in _FOOTPRINT.items() if theirs in config}
    footprint.setdefault("time_integrate", True)
    now = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    return {
        "name": name,
        "time": data.get("time") or now.isoformat(),
        "receptors": {"grid": data["receptor_grid"]},
        "transport": config,
        "footprint": footprint,
        "meteorology": {"source": data["meteorology_model"]},
    }
