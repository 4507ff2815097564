"""What made a scene's jacobian, as a person reads it: versions, hashes, meteorology, settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from stilt_dagster import __version__
from stilt_dagster.science.meteorology.description import Description, GridDescription
from stilt_dagster.science.report.summary import Summary
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.validation import without_query

#: A table: its title, and what it names with what it is.
Table = tuple[str, list[tuple[str, str]]]

#: Source files of a grid that are named.
_SOURCES = 30


def made_by(summary: Summary, made: dt.datetime) -> Table:
    """Return versions and hashes."""
    known = summary.attributes
    names = (
        ("transport engine", "transport_engine"),
        ("matrix", "history"),
        ("format", "format"),
        ("meteorology, SHA-256", "meteorology_digest"),
        ("settings, hash", "settings_hash"),
        ("footprint files, hash", "stilt_key"),
        ("all it was made of, hash", "stilt_version"),
        ("retrieval", "retrieval"),
    )
    rows = [(label, without_query(known[name])) for label, name in names if name in known]
    rows += _check_of_engine(known)
    return "Versions", [*rows, ("this report", f"stilt_dagster {__version__}, {made:%Y-%m-%d %H:%M} UTC")]


def _check_of_engine(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return how the engine compares with hycs_std; nothing where that simulated."""
    if "engine_verdict" not in known:
        return []
    names = ("bias", "bias_error", "spread", "reference_spread", "distance_ratio", "distance_ratio_error")
    figures = [f"{name.replace('_', ' ')} {float(v):.3g}" for name in names if (v := known.get(f"engine_{name}"))]
    compared = f"{known['engine_verdict']}, {known.get('engine_compared', 0)} receptors compared"
    return [
        ("engine held against hycs_std", ", ".join([compared, *figures])),
        ("that hycs_std", known.get("engine_reference", "none")),
    ]


def meteorology_tables(description: Description | None) -> list[Table]:
    """Return what each grid of the meteorology is made of."""
    if description is None:
        return [("Meteorology", [("aggregate", "its description is not in the store any more")])]
    several = len(description.grids) > 1
    return [
        (f"Meteorology, grid {number} of {len(description.grids)}" if several else "Meteorology", _grid(grid))
        for number, grid in enumerate(description.grids, start=1)
    ]


def _grid(grid: GridDescription) -> list[tuple[str, str]]:
    west, south, east, north = grid.extent
    names = [without_query(source["name"]) for source in grid.sources]
    more = f" and {len(names) - _SOURCES} more" if len(names) > _SOURCES else ""
    levels = f"{len(grid.levels)}, {grid.levels[0]:g} to {grid.levels[-1]:g}" if grid.levels else "none"
    times = f"{len(grid.times)}, {_time(grid.times[0])} to {_time(grid.times[-1])}" if grid.times else "none"
    return [
        ("model", grid.model),
        ("files", ", ".join(names[:_SOURCES]) + more),
        ("extent", f"{west:.2f} to {east:.2f} °E, {south:.2f} to {north:.2f} °N"),
        ("grid", f"{grid.nx} x {grid.ny} points"),
        ("times", times),
        ("levels", f"{levels} (vertical coordinate of the files)"),
        ("SHA-256", grid.sha256),
        *((name.replace("_", " "), _plain(value)) for name, value in grid.kept.items()),
    ]


def settings_tables(scene: Scene) -> list[Table]:
    """Return every setting of a scene's transport, footprint, weighting, background, error and retrieval."""
    parts: list[tuple[str, Any]] = [
        ("Transport", scene.transport),
        ("Footprint", scene.footprint),
        ("Meteorology asked for", scene.meteorology),
        ("Weighting", scene.weighting),
        ("Background", scene.background),
        ("Transport error", scene.transport_error),
        ("Retrieval", scene.receptors.retrieval),
    ]
    return [
        (title, [(name, _plain(value)) for name, value in part.model_dump(mode="json", exclude_none=True).items()])
        for title, part in parts
        if part is not None
    ]


def _time(text: str) -> str:
    """Return a time of a description as the report has them all."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M") + " UTC"


def _plain(value: Any) -> str:
    """Return a setting as a line of text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(v)}" for name, v in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return without_query(str(value))
